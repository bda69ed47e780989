// Makes the insert change of an imported row, or says why the row is refused. What can be known to be wrong is refused
// here, before it becomes a change; what only the database can know (a missing parent, a CHECK) becomes a failed change.
import type { ChangeInput, JsonObject, JsonValue } from '../../protocol/changes.ts';
import type { ColumnInfo, EntityTypeInfo, ImportFormat } from '../../protocol/engine.ts';
import { parseJson } from './parse-json.ts';

export interface RowConversion {
  readonly type: EntityTypeInfo;
  readonly format: ImportFormat;
  /** The field that was asked for; undefined: the type's key. */
  readonly idField: string | undefined;
  readonly maxPayloadBytes: number;
  readonly newId: () => string;
  /** An id as the key's type writes it. */
  readonly canonicalId: (id: string) => string;
}

export type Conversion = { readonly input: ChangeInput } | { readonly refused: string };

/** Makes a converter that remembers the ids it has seen: one file has an id once. */
export function rowConverter(conversion: RowConversion): (value: JsonObject) => Conversion {
  const columns = new Map(conversion.type.columns.map((column) => [column.name, column]));
  const seen = new Set<string>();
  return (value) => {
    try {
      const input = convert(conversion, columns, value);
      if (seen.has(input.entityId)) return { refused: `The id "${input.entityId}" stands in the file already.` };
      seen.add(input.entityId);
      return { input };
    } catch (error) {
      if (error instanceof RowRefused) return { refused: error.message };
      throw error;
    }
  };
}

class RowRefused extends Error {}

function convert(conversion: RowConversion, columns: ReadonlyMap<string, ColumnInfo>, value: JsonObject): ChangeInput {
  const { type } = conversion;
  const entityId = conversion.canonicalId(idOf(conversion, columns, value));
  const data =
    type.kind === 'document'
      ? toDocument(conversion, value, entityId)
      : toColumns(conversion, columns, value, entityId);
  const text = JSON.stringify(data);
  refuseUnstorable(text, data, entityId);
  const bytes = Buffer.byteLength(text);
  if (bytes > conversion.maxPayloadBytes) {
    throw new RowRefused(`It takes ${bytes} bytes, more than the ${conversion.maxPayloadBytes} a change may carry.`);
  }
  return { entityType: type.entityType, entityId, operation: 'insert', data };
}

function idOf(conversion: RowConversion, columns: ReadonlyMap<string, ColumnInfo>, value: JsonObject): string {
  const { type, idField } = conversion;
  const field = idField ?? type.key;
  const id = Object.hasOwn(value, field) ? value[field] : undefined;
  if (typeof id === 'string' && id.trim() !== '') return id;
  if (typeof id === 'number') return String(id);
  if (id !== undefined && id !== null && id !== '') {
    throw new RowRefused(
      `Its id, the field "${field}", is ${JSON.stringify(id).slice(0, 60)}: neither text nor a number.`,
    );
  }
  const mayBeMade = type.kind === 'document' || columns.get(type.key)?.type === 'uuid';
  if (mayBeMade && idField === undefined) return conversion.newId();
  throw new RowRefused(`It has no id: the field "${field}" is missing or empty.`);
}

/** A document is kept as it is; the cells of a CSV stay text, since nothing says what else they are. */
function toDocument(conversion: RowConversion, value: JsonObject, entityId: string): JsonObject {
  const { key } = conversion.type;
  if (!Object.hasOwn(value, key)) return value;
  const own = value[key];
  if (own === null || own === '') {
    return Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));
  }
  refuseOtherKey(conversion, own, entityId);
  return value;
}

function toColumns(
  conversion: RowConversion,
  columns: ReadonlyMap<string, ColumnInfo>,
  value: JsonObject,
  entityId: string,
): JsonObject {
  const { type, idField, format } = conversion;
  const data: JsonObject = {};
  for (const [name, given] of Object.entries(value)) {
    const column = columns.get(name);
    if (column === undefined && name === idField) continue;
    if (column === undefined) throw new RowRefused(unknownColumn(type, name));
    // The database computes it; what the file says of it is another database's result.
    if (column.generated) continue;
    if (name === type.key && (given === null || given === '')) continue;
    if (name === type.key) refuseOtherKey(conversion, given, entityId);
    const cell = format === 'csv' && typeof given === 'string' ? fromCell(type, column, given) : given;
    if (cell !== undefined) data[name] = cell;
  }
  return data;
}

function unknownColumn(type: EntityTypeInfo, name: string): string {
  const known = type.columns.filter((column) => !column.generated).map((column) => column.name);
  return `"${name}" is no column of table "${type.table}" (columns: ${known.join(', ')}).`;
}

function refuseOtherKey(conversion: RowConversion, own: JsonValue | undefined, entityId: string): void {
  const { key } = conversion.type;
  if (typeof own !== 'object' && conversion.canonicalId(String(own)) === entityId) return;
  throw new RowRefused(
    `Its "${key}" is ${JSON.stringify(own)}, but "${conversion.idField ?? key}" makes its id "${entityId}".`,
  );
}

/** A cell as its column's type wants it; undefined leaves the column to its default. An empty cell is null. */
function fromCell(type: EntityTypeInfo, column: ColumnInfo, cell: string): JsonValue | undefined {
  if (cell === '') return column.notNull ? undefined : null;
  const base = column.type.replace(/\(.*\)/, '');
  const isNot = (kind: string): RowRefused =>
    new RowRefused(`"${cell.slice(0, 60)}" in column "${column.name}" of table "${type.table}" is no ${kind}.`);
  switch (base) {
    case 'boolean':
      return toBoolean(cell) ?? raise(isNot('boolean (true or false)'));
    case 'smallint':
    case 'integer':
      return /^\s*[+-]?\d+\s*$/.test(cell) ? Number(cell) : raise(isNot('whole number'));
    case 'bigint':
      return /^\s*[+-]?\d+\s*$/.test(cell) ? cell.trim() : raise(isNot('whole number'));
    case 'numeric':
    case 'real':
    case 'double precision':
      return isNumber(cell) ? cell.trim() : raise(isNot('number'));
    case 'json':
    case 'jsonb':
      return toJson(cell, isNot('JSON'));
    default:
      return cell;
  }
}

function raise(error: Error): never {
  throw error;
}

/** Numbers stay text: Postgres reads them without the rounding of a JavaScript number. */
function isNumber(cell: string): boolean {
  return /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(cell) || /^\s*([+-]?infinity|nan)\s*$/i.test(cell);
}

function toBoolean(cell: string): boolean | undefined {
  const word = cell.trim().toLowerCase();
  if (['true', 't', 'yes', 'y', 'on', '1'].includes(word)) return true;
  return ['false', 'f', 'no', 'n', 'off', '0'].includes(word) ? false : undefined;
}

function toJson(cell: string, otherwise: Error): JsonValue {
  try {
    return parseJson(cell);
  } catch {
    throw otherwise;
  }
}

/** Postgres stores neither U+0000 nor half of a surrogate pair. */
function refuseUnstorable(text: string, data: JsonObject, entityId: string): void {
  if (!text.includes('\\u') && !entityId.includes('\0') && entityId.isWellFormed()) return;
  const strings = [entityId, ...stringsIn(data)];
  if (strings.some((one) => one.includes('\0'))) {
    throw new RowRefused('It holds the character U+0000, which Postgres cannot store. Remove it from the file.');
  }
  if (strings.some((one) => !one.isWellFormed())) {
    throw new RowRefused('It holds half of a surrogate pair, which is no text. Correct it in the file.');
  }
}

function stringsIn(value: JsonValue): string[] {
  if (typeof value === 'string') return [value];
  if (Array.isArray(value)) return value.flatMap(stringsIn);
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value).flatMap(([key, inner]) => [key, ...stringsIn(inner)]);
}
