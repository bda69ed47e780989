// How Postgres values become JSON: int8 and numeric as strings, timestamps as UTC ISO with microseconds, bytea as
// base64. The same form in the face, in `previous` and `result`, and later on the wire.
import type { JsonValue } from '../protocol/changes.ts';

export interface BackendField {
  readonly name: string;
  readonly dataTypeID: number;
}

export type ValueReader = (text: string, dataTypeId: number) => unknown;

const OID = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  json: 114,
  float4: 700,
  float8: 701,
  timestamp: 1114,
  timestamptz: 1184,
  jsonb: 3802,
} as const;

/** For the engine's own statements: int8 columns of ours stay below 2^53. */
export function readInternalValue(text: string, dataTypeId: number): unknown {
  switch (dataTypeId) {
    case OID.int8:
      return Number(text);
    default:
      return readPublicValue(text, dataTypeId);
  }
}

/** For rows given to callers of `query` and `exec`. */
export function readPublicValue(text: string, dataTypeId: number): JsonValue {
  switch (dataTypeId) {
    case OID.bool:
      return text === 't';
    case OID.int2:
    case OID.int4:
      return Number(text);
    case OID.float4:
    case OID.float8:
      return Number.isFinite(Number(text)) ? Number(text) : text;
    case OID.json:
    case OID.jsonb:
      return JSON.parse(text) as JsonValue;
    case OID.bytea:
      return Buffer.from(text.slice(2), 'hex').toString('base64');
    case OID.timestamp:
      return isoTimestamp(text, '');
    case OID.timestamptz:
      return isoTimestamp(text.replace(/\+00(:00)?$/, ''), 'Z');
    default:
      return text;
  }
}

function isoTimestamp(text: string, zone: string): string {
  const match = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?$/.exec(text);
  if (match === null) return text;
  return `${match[1]}T${match[2]}.${(match[3] ?? '').padEnd(6, '0')}${zone}`;
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}

/** A bigint[] parameter. */
export function asArray(seqs: readonly number[]): string {
  return `{${seqs.join(',')}}`;
}

/** SQL that turns a column into its JSON form. */
export function columnAsJson(reference: string, type: string): string {
  switch (type) {
    case 'bigint':
    case 'money':
      return `(${reference})::text`;
    case 'bytea':
      return `translate(encode(${reference}, 'base64'), E'\\n', '')`;
    case 'bigint[]':
    case 'numeric[]':
      return `(${reference})::text[]`;
    default:
      if (type.startsWith('numeric')) return `(${reference})::text`;
      if (type.startsWith('timestamp') && !type.endsWith('[]')) return timestampAsJson(reference, type);
      return reference;
  }
}

function timestampAsJson(reference: string, type: string): string {
  const withZone = type.includes('with time zone');
  const local = withZone ? `(${reference} AT TIME ZONE 'UTC')` : reference;
  const format = withZone ? 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"' : 'YYYY-MM-DD"T"HH24:MI:SS.US';
  return `CASE WHEN isfinite(${reference}) THEN to_char(${local}, '${format}') ELSE (${reference})::text END`;
}
