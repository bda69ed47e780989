// Finds entities that are not what they should be, compared by the types of their columns. Reads only.
import type { Entity } from '../protocol/changes.ts';
import type { Session } from './database.ts';
import { rowFromEntity, rowFromPatch } from './entity-statements.ts';
import { type EntityType, entityAsJson, keyColumn } from './entity-types.ts';
import { isRefusal } from './sql-error.ts';

export interface Expected {
  readonly id: string;
  /** Null where it should not be here. A column that it does not name may have any value. */
  readonly entity: Entity | null;
}

export interface Stray extends Expected {
  readonly here: Entity | null;
}

/** Values that do not fit into the columns are found by halving: what cannot be here is not what is here. */
export async function findStrays(session: Session, type: EntityType, expected: readonly Expected[]): Promise<Stray[]> {
  if (expected.length === 0) return [];
  try {
    return await compare(session, type, expected);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const [only] = expected;
    if (only !== undefined && expected.length === 1) return [{ ...only, here: null }];
    const middle = Math.ceil(expected.length / 2);
    return [
      ...(await findStrays(session, type, expected.slice(0, middle))),
      ...(await findStrays(session, type, expected.slice(middle))),
    ];
  }
}

async function compare(session: Session, type: EntityType, expected: readonly Expected[]): Promise<Stray[]> {
  const given = new Map(expected.map(({ id, entity }) => [id, entity]));
  const strays = await session.runList<{ id: string; here: Entity | null }>(straysOf(type), [
    expected.map(({ id, entity }) => ({ e: id, d: entity })),
  ]);
  return strays.map(({ id, here }) => ({ id, here, entity: given.get(id) ?? null }));
}

/** `$1` list of { e: entity id, d: the entity as it should be, or null }. One list of { id, here } of those that are not so. */
function straysOf(type: EntityType): string {
  // What the table computes by itself may differ from machine to machine.
  const written = { ...type, columns: type.columns.filter(({ name, generated }) => !generated || name === type.key) };
  const row = type.kind === 'document' ? rowFromEntity(type, 'i.d', 'i.e') : rowFromPatch(type, 't', 'i.d');
  const key = `t.${keyColumn(type)}`;
  return `WITH given AS MATERIALIZED (
      SELECT g.e, NULLIF(g.d, 'null') AS d FROM jsonb_to_recordset($1::jsonb) AS g(e text, d jsonb)),
    compared AS MATERIALIZED (
      SELECT i.e, i.d, ${key} IS NOT NULL AS is_here,
        CASE WHEN ${key} IS NOT NULL THEN ${entityAsJson(type, 't')} END AS here,
        CASE WHEN ${key} IS NOT NULL THEN ${entityAsJson(written, 't')} END AS own,
        CASE WHEN ${key} IS NOT NULL AND i.d IS NOT NULL THEN ${row} END AS r
      FROM given i LEFT JOIN ${type.sqlTable} t ON ${key} = i.e::${type.keyType})
    SELECT json_agg(json_build_object('id', c.e, 'here', c.here)) AS rows FROM compared c
    WHERE c.is_here <> (c.d IS NOT NULL)
      OR (c.is_here AND c.d IS NOT NULL AND c.own IS DISTINCT FROM ${entityAsJson(written, '(c.r)')})`;
}
