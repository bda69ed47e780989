// Reads entities in pages: conditions, free text, a total order, keyset paging. Every value is a parameter; field names
// are checked against the table.
import type { Entity, JsonObject, JsonValue } from '../protocol/changes.ts';
import type { Condition, EntityPage, QueryEntitiesOptions } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { Parameter, Session } from '../db/database.ts';
import { type EntityType, entityAsJson, keyColumn } from '../db/entity-types.ts';
import { pageLimit } from '../db/page-limit.ts';
import { SqlError } from '../db/sql-error.ts';
import { quoteIdentifier, quoteLiteral } from '../db/sql-values.ts';

export async function queryEntities(
  session: Session,
  type: EntityType,
  options: QueryEntitiesOptions,
): Promise<EntityPage> {
  const limit = pageLimit(options.limit);
  const params: Parameter[] = [];
  const order = readOrder(type, options.orderBy);
  const where = conditionsSql(type, options, params);
  if (options.after !== undefined) where.push(afterSql(type, order, options.after, params));
  const offset = options.offset === undefined ? '' : ` OFFSET ${Math.max(0, Math.trunc(options.offset))}`;
  const sql = `SELECT ${entityAsJson(type, 't')} AS entity, jsonb_build_array(${order.map(({ sql: key }) => `(${key})::text`).join(', ')}) AS place
    FROM ${type.sqlTable} t ${where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`}
    ORDER BY ${order.map(({ sql: key, descending }) => `${key} ${descending ? 'DESC NULLS LAST' : 'ASC NULLS FIRST'}`).join(', ')}
    LIMIT ${limit + 1}${offset}`;
  const rows = await runQuery<{ entity: Entity; place: JsonValue }>(session, sql, params, type);
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const next = rows.length > limit && last !== undefined ? JSON.stringify(last.place) : null;
  return { rows: page.map((row) => row.entity), next };
}

export async function countEntities(
  session: Session,
  type: EntityType,
  options: Pick<QueryEntitiesOptions, 'where' | 'search'>,
): Promise<number> {
  const params: Parameter[] = [];
  const where = conditionsSql(type, options, params);
  const sql = `SELECT count(*) AS count FROM ${type.sqlTable} t ${where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`}`;
  const [row] = await runQuery<{ count: number }>(session, sql, params, type);
  return row?.count ?? 0;
}

interface OrderKey {
  readonly sql: string;
  readonly sqlType: string;
  readonly descending: boolean;
}

function readOrder(type: EntityType, orderBy: QueryEntitiesOptions['orderBy']): OrderKey[] {
  const fields = orderBy === undefined ? [] : typeof orderBy === 'string' ? [orderBy] : orderBy;
  const keys = fields.map((field) => {
    const descending = field.startsWith('-');
    const { sql, sqlType } = fieldSql(type, descending ? field.slice(1) : field);
    return { sql, sqlType, descending };
  });
  return [...keys, { sql: `t.${keyColumn(type)}`, sqlType: type.keyType, descending: false }];
}

/** Rows after a place in a mixed-direction order, with nulls first when ascending and last when descending. */
function afterSql(type: EntityType, order: readonly OrderKey[], after: string, params: Parameter[]): string {
  const place = parsePlace(type, after, order.length);
  const alternatives = order.map((key, index) => {
    const equal = order
      .slice(0, index)
      .map((earlier, at) => `${earlier.sql} IS NOT DISTINCT FROM ${bind(params, place[at], earlier.sqlType)}`);
    return `(${[...equal, beyond(key, place[index] ?? null, params)].join(' AND ')})`;
  });
  return `(${alternatives.join(' OR ')})`;
}

function beyond(key: OrderKey, value: string | null, params: Parameter[]): string {
  if (value === null) return key.descending ? 'false' : `${key.sql} IS NOT NULL`;
  const bound = bind(params, value, key.sqlType);
  return key.descending ? `(${key.sql} < ${bound} OR ${key.sql} IS NULL)` : `${key.sql} > ${bound}`;
}

function bind(params: Parameter[], value: string | null | undefined, sqlType: string): string {
  params.push(value ?? null);
  return `$${params.length}::${sqlType}`;
}

function parsePlace(type: EntityType, after: string, length: number): (string | null)[] {
  try {
    const place: unknown = JSON.parse(after);
    if (Array.isArray(place) && place.length === length)
      return place.map((value) => (value === null ? null : String(value)));
  } catch {
    // Falls through: what is no JSON is no place either.
  }
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    `"${after}" is no place in a page of ${type.entityType}. Pass the "next" of the page before, with the same order.`,
    { field: 'after', value: after },
  );
}

function conditionsSql(
  type: EntityType,
  { where, search }: Pick<QueryEntitiesOptions, 'where' | 'search'>,
  params: Parameter[],
): string[] {
  const conditions = asConditions(where).map((condition) => conditionSql(type, condition, params));
  if (search !== undefined && search !== '') {
    params.push(`%${search.replace(/[\\%_]/g, '\\$&')}%`);
    conditions.push(`${searchable(type)} ILIKE $${params.length}`);
  }
  return conditions;
}

function searchable(type: EntityType): string {
  if (type.kind === 'document') return `(t."id" || ' ' || t."data"::text)`;
  return `concat_ws(' ', ${type.columns
    .filter(({ type: sqlType }) => sqlType !== 'bytea')
    .map(({ name }) => `t.${quoteIdentifier(name)}::text`)
    .join(', ')})`;
}

function asConditions(where: QueryEntitiesOptions['where']): Condition[] {
  if (where === undefined) return [];
  if (isConditionList(where)) return [...where];
  return Object.entries(where).map(([field, value]) =>
    value === null ? { field, op: 'isNull' } : { field, op: '=', value },
  );
}

function isConditionList(where: JsonObject | readonly Condition[]): where is readonly Condition[] {
  return Array.isArray(where);
}

function conditionSql(type: EntityType, condition: Condition, params: Parameter[]): string {
  const { sql, sqlType } = fieldSql(type, condition.field);
  const { op, value } = condition;
  const text = (): string => (typeof value === 'object' ? JSON.stringify(value) : String(value));
  switch (op) {
    case 'isNull':
      return `${sql} IS NULL`;
    case 'isNotNull':
      return `${sql} IS NOT NULL`;
    case '!=':
      return `${sql} IS DISTINCT FROM ${bind(params, value === null ? null : text(), sqlType)}`;
    case '=':
      return value === null ? `${sql} IS NULL` : `${sql} = ${bind(params, text(), sqlType)}`;
    case '<':
    case '<=':
    case '>':
    case '>=':
      return `${sql} ${op} ${bind(params, text(), sqlType)}`;
    case 'in':
      params.push(Array.isArray(value) ? value : [value ?? null]);
      return `${sql} IN (SELECT e::${sqlType} FROM jsonb_array_elements_text($${params.length}::jsonb) e)`;
    case 'contains':
    case 'startsWith':
      params.push(`${op === 'contains' ? '%' : ''}${text().replace(/[\\%_]/g, '\\$&')}%`);
      return `(${sql})::text ILIKE $${params.length}`;
    default:
      throw new LocalDataError(
        'INVALID_ARGUMENT',
        `"${String(op)}" is no comparison. Use =, !=, <, <=, >, >=, in, contains, startsWith, isNull or isNotNull.`,
        { field: 'op', value: String(op) },
      );
  }
}

function fieldSql(type: EntityType, field: string): { readonly sql: string; readonly sqlType: string } {
  if (type.kind === 'document') {
    return { sql: field === type.key ? `t."id"` : `(t."data"->>${quoteLiteral(field)})`, sqlType: 'text' };
  }
  const column = type.columns.find((candidate) => candidate.name === field);
  if (column !== undefined) return { sql: `t.${quoteIdentifier(field)}`, sqlType: column.type };
  const names = type.columns.map(({ name }) => name).join(', ');
  throw new LocalDataError(
    'UNKNOWN_COLUMN',
    `"${field}" is no column of table "${type.table}" (columns: ${names}). Correct the name.`,
    {
      entityType: type.entityType,
      table: type.table,
      column: field,
    },
  );
}

async function runQuery<T extends Record<string, unknown>>(
  session: Session,
  sql: string,
  params: readonly Parameter[],
  type: EntityType,
): Promise<T[]> {
  try {
    return await session.run<T>(sql, params);
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    throw new LocalDataError(
      'INVALID_ARGUMENT',
      `The query on ${type.entityType} was refused: ${error.message}. Compare fields with values of their type.`,
      { entityType: type.entityType, sqlState: error.sqlState },
      { cause: error },
    );
  }
}
