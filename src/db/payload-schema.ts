// Describes what a change's payload may be, as JSON Schema (draft 7), from what the catalog says of the table: editors
// complete and check against it. It never says less is allowed than Postgres allows; Postgres has the last word.
import type { JsonObject, JsonValue, Operation } from '../protocol/changes.ts';
import type { ColumnInfo, EntityTypeInfo } from '../protocol/engine.ts';

export function payloadSchema(info: EntityTypeInfo, operation: Operation): JsonObject {
  const title = `${info.entityType}: ${operation}`;
  const $schema = 'http://json-schema.org/draft-07/schema#';
  if (operation === 'delete') return { $schema, title, type: ['object', 'null'], maxProperties: 0 };
  if (info.kind === 'document') return { $schema, title, ...documentSchema(info) };
  const writable = info.columns.filter((column) => !column.generated);
  const properties: JsonObject = {};
  for (const column of writable) properties[column.name] = columnSchema(column, info, operation);
  const schema: JsonObject = { $schema, title, type: 'object', properties, additionalProperties: false };
  const required = operation === 'insert' ? requiredColumns(writable, info) : [];
  return required.length === 0 ? schema : { ...schema, required };
}

/** Any fields; the key, where it is given, is the entity's id. */
function documentSchema(info: EntityTypeInfo): JsonObject {
  const key: JsonObject = { type: ['string', 'number'], description: `The id of this ${info.entityType}.` };
  return { type: 'object', properties: { [info.key]: key }, additionalProperties: true };
}

/** The key comes from the change's entity id, so that a payload may leave it out. */
function requiredColumns(columns: readonly ColumnInfo[], info: EntityTypeInfo): string[] {
  return columns
    .filter((column) => column.notNull && !column.hasDefault && column.name !== info.key)
    .map((column) => column.name);
}

function columnSchema(column: ColumnInfo, info: EntityTypeInfo, operation: Operation): JsonObject {
  const shape = { ...typeSchema(column), ...limitsFromChecks(column) };
  const description = describe(column, info, operation);
  return { ...(column.notNull ? shape : orNull(shape)), description };
}

function typeSchema(column: ColumnInfo): JsonObject {
  if (column.enumValues !== undefined) return { type: 'string', enum: [...column.enumValues] };
  if (column.type.endsWith('[]')) return { type: ['array', 'string'] };
  const base = column.type.replace(/\(.*\)/, '').trim();
  const known = TYPES[base];
  if (known === undefined) return base === 'json' || base === 'jsonb' ? {} : { type: ['string', 'number', 'boolean'] };
  return { ...known, ...lengthOf(column.type, base) };
}

const NUMBER_AS_TEXT = '^\\s*[+-]?(\\d+\\.?\\d*|\\.\\d+)([eE][+-]?\\d+)?\\s*$|^\\s*([+-]?[Ii]nfinity|[Nn]a[Nn])\\s*$';

/** int8 and numeric are given as text by the engine and taken as either. */
const TYPES: Readonly<Record<string, JsonObject>> = {
  text: { type: 'string' },
  'character varying': { type: 'string' },
  character: { type: 'string' },
  boolean: { type: 'boolean' },
  smallint: { type: 'integer', minimum: -32768, maximum: 32767 },
  integer: { type: 'integer', minimum: -2147483648, maximum: 2147483647 },
  bigint: { type: ['string', 'integer'], pattern: '^\\s*[+-]?\\d+\\s*$' },
  numeric: { type: ['string', 'number'], pattern: NUMBER_AS_TEXT },
  real: { type: ['number', 'string'], pattern: NUMBER_AS_TEXT },
  'double precision': { type: ['number', 'string'], pattern: NUMBER_AS_TEXT },
  uuid: { type: 'string', format: 'uuid' },
  // No formats for times: Postgres takes more ways to write one than the formats allow.
  date: { type: 'string' },
  'timestamp with time zone': { type: 'string' },
  'timestamp without time zone': { type: 'string' },
  'time without time zone': { type: 'string' },
  interval: { type: 'string' },
  bytea: { type: 'string', contentEncoding: 'base64' },
};

function lengthOf(type: string, base: string): JsonObject {
  const length = /\((\d+)\)/.exec(type)?.[1];
  return base.startsWith('character') && length !== undefined ? { maxLength: Number(length) } : {};
}

function orNull(shape: JsonObject): JsonObject {
  const { type, enum: values } = shape;
  if (type === undefined && values === undefined) return shape;
  const types: JsonValue[] = Array.isArray(type) ? type : type === undefined ? [] : [type];
  const withNull = { ...shape, ...(types.length === 0 ? {} : { type: [...types, 'null'] }) };
  return Array.isArray(values) ? { ...withNull, enum: [...values, null] } : withNull;
}

/** Simple CHECKs become enum, minimum and maximum; of the others the description gives the SQL. */
function limitsFromChecks(column: ColumnInfo): JsonObject {
  const limits: JsonObject = {};
  for (const check of column.checks ?? []) Object.assign(limits, limitsFromCheck(check, column));
  return limits;
}

function limitsFromCheck(check: string, column: ColumnInfo): JsonObject {
  const name = `"?${column.name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')}"?`;
  const body = stripCasts(check.replace(/^CHECK\s*/i, '')).replaceAll(
    new RegExp(`(?<![\\w"])\\((${name})\\)`, 'g'),
    '$1',
  );
  const enumeration = new RegExp(`^\\(+${name} = ANY \\(+ARRAY\\[(.*)\\]\\)+$`).exec(body);
  if (enumeration !== null) return enumFrom(enumeration[1] ?? '');
  const comparison = new RegExp(`\\(${name} (>=|<=|>|<) \\(?'?(-?\\d+(?:\\.\\d+)?)'?\\)?\\)`, 'g');
  // Beside comparisons joined by AND there may be nothing: any other part could make them mean something else.
  if (!/^(?:[()\s]|AND)*$/.test(body.replaceAll(comparison, ''))) return {};
  const limits: JsonObject = {};
  for (const [, operator, value] of body.matchAll(comparison))
    Object.assign(limits, limitFrom(String(operator), Number(value)));
  return limits;
}

function limitFrom(operator: string, value: number): JsonObject {
  switch (operator) {
    case '>=':
      return { minimum: value };
    case '<=':
      return { maximum: value };
    case '>':
      return { exclusiveMinimum: value };
    default:
      return { exclusiveMaximum: value };
  }
}

function enumFrom(list: string): JsonObject {
  const texts = [...list.matchAll(/'((?:[^']|'')*)'/g)].map(([, text]) => (text ?? '').replaceAll("''", "'"));
  if (texts.length > 0) return { enum: texts };
  const numbers = list.split(',').map((part) => Number(part.trim()));
  return numbers.every((number) => Number.isFinite(number)) ? { enum: numbers } : {};
}

function stripCasts(sql: string): string {
  return sql.replaceAll(/::[a-z][a-z0-9_ ]*(\(\d+(,\d+)?\))?(\[\])?/gi, '');
}

function describe(column: ColumnInfo, info: EntityTypeInfo, operation: Operation): string {
  const parts = [column.type];
  if (column.name === info.key) parts.push(`the id of this ${info.entityType}`);
  if (column.references !== undefined) {
    const { table, column: referenced, entityType } = column.references;
    parts.push(`refers to ${entityType === undefined ? '' : `${entityType}, `}${table} (${referenced})`);
  }
  if (column.notNull) parts.push('not null');
  if (column.hasDefault && operation === 'insert') parts.push('has a default');
  return `${[...parts, ...(column.checks ?? [])].join('; ')}.`;
}
