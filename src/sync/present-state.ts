// Sends entities as they are: where the server does not know them, or knows others of the same name, one insert of the
// present state says more than the changes that led to it, and stands for them.
import type { Entity } from '../protocol/changes.ts';
import { sameJson } from '../protocol/canonical-json.ts';
import { releaseBlocked } from '../db/apply-changes.ts';
import { type ChangeRow, isPushStage, lightColumns, toChange } from '../db/change-row.ts';
import type { Session } from '../db/database.ts';
import { type EntityType, entityAsJson, keyColumn } from '../db/entity-types.ts';
import { CARRIED_CHANGES, moveChanges } from '../db/move-changes.ts';
import { quoteLiteral } from '../db/sql-values.ts';
import type { RemoteContext } from './apply-feed.ts';

export interface PresentEntity {
  readonly id: string;
  readonly entity: Entity;
  /** When it was written, where that is known to be earlier than now. */
  readonly timestamp?: number;
}

const CHUNK = 1_000;

/** Records inserts that have still to be sent, made on nothing that the server has. */
export async function recordPresent(
  { session, draft, now, newId }: RemoteContext,
  type: EntityType,
  entities: readonly PresentEntity[],
  note: string,
): Promise<void> {
  for (let start = 0; start < entities.length; start += CHUNK) {
    const rows = entities
      .slice(start, start + CHUNK)
      .map(({ id, entity, timestamp }) => ({ id: newId(), e: id, d: entity, h: timestamp ?? now }));
    const recorded = await session.run<ChangeRow>(
      `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, data, timestamp, processed_local, applied_at,
         base_version, base_timestamp, note)
       SELECT r.id, $2, r.e, 'insert', r.d, r.h, true, $3, 0, 0, $4
       FROM jsonb_to_recordset($1::jsonb) AS r(id text, e text, d jsonb, h bigint) RETURNING ${lightColumns('c')}`,
      [JSON.stringify(rows), type.entityType, now, note],
    );
    for (const row of recorded) {
      const change = toChange(row, { now, paused: false });
      if (draft.changes.size < CARRIED_CHANGES) draft.recorded(change);
      else draft.count(null, change.status, 1);
    }
  }
}

export interface Superseding {
  /** All entities of the type, or those that have no base. */
  readonly entities: 'all' | 'without-base';
  /** A waiting delete of what is not here any more stays: the server may have it. */
  readonly keepsDeletes?: boolean;
  /** What it is about, such as `the first connect`. */
  readonly occasion: string;
}

/**
 * Each of the entities becomes one insert of its present state; what waited for it is superseded, and says so. A lane whose
 * one change is that insert already stays as it is, and so does what a person is asked about.
 */
export async function supersedeType(
  context: RemoteContext,
  type: EntityType,
  { entities, keepsDeletes = false, occasion }: Superseding,
): Promise<void> {
  const { session } = context;
  const [mark] = await session.run<{ last: number | null }>(`SELECT max(seq) AS last FROM local_changes`);
  for await (const present of presentStates(session, type, entities))
    await recordPresent(context, type, present, `the state at ${occasion}`);
  await supersedeWaiting(context, type, { entities, keepsDeletes, occasion, last: mark?.last ?? 0 });
}

/** Changes that the server does not have, whether it refused them or was not asked. */
const UNSENT = `${isPushStage('c')} AND c.origin <> 'remote' AND c.discarded_at IS NULL`;

function aloneLanes(type: EntityType): string {
  return `SELECT c.entity_id FROM local_changes c WHERE c.entity_type = ${quoteLiteral(type.entityType)} AND ${UNSENT}
    GROUP BY c.entity_id HAVING count(*) = 1 AND bool_and(c.operation = 'insert' AND c.status = 'applied')`;
}

interface PresentRow {
  readonly id: string;
  /** Null where nothing is to be said of it. */
  readonly entity: Entity | null;
  readonly base: Entity | null;
  readonly waits: boolean;
}

/** Page by page, in the order of the key: what is recorded of one says nothing about the next. */
async function* presentStates(
  session: Session,
  type: EntityType,
  which: Superseding['entities'],
): AsyncGenerator<PresentEntity[]> {
  for (let last: string | undefined, isFirst = true; isFirst || last !== undefined; isFirst = false) {
    const rows: PresentRow[] = await session.runList<PresentRow>(
      presentPage(type, which, isFirst),
      last === undefined ? [] : [last],
    );
    yield rows.flatMap(({ id, entity, base, waits }) =>
      entity !== null && (waits || base === null || saysMore(type, entity, base)) ? [{ id, entity }] : [],
    );
    last = rows.length === CHUNK ? rows.at(-1)?.id : undefined;
  }
}

/** `$1` the key after which it goes on. */
function presentPage(type: EntityType, which: Superseding['entities'], isFirst: boolean): string {
  const name = quoteLiteral(type.entityType);
  const key = keyColumn(type);
  const id = `t.${key}::text`;
  const isSaid = [
    `NOT (w.number = 1 AND w.is_insert)`,
    ...(which === 'all' ? [] : ['b.entity_id IS NULL']),
    `NOT EXISTS (SELECT FROM local_data.missing_entities m WHERE m.entity_type = ${name} AND m.entity_id = ${id})`,
  ].join(' AND ');
  return `SELECT json_agg(json_build_object('id', ${id}, 'entity', CASE WHEN ${isSaid} THEN ${entityAsJson(type, 't')} END,
      'base', b.data, 'waits', w.number > 0) ORDER BY t.${key}) AS rows
    FROM (SELECT * FROM ${type.sqlTable} e ${isFirst ? '' : `WHERE e.${key} > $1::${type.keyType}`} ORDER BY e.${key} LIMIT ${CHUNK}) t
    LEFT JOIN LATERAL (SELECT * FROM local_data.entity_bases b
      WHERE b.entity_type = ${name} AND b.entity_id = ${id} OFFSET 0) b ON true
    CROSS JOIN LATERAL (SELECT count(*) AS number, bool_and(c.operation = 'insert' AND c.status = 'applied') AS is_insert
      FROM local_changes c WHERE c.entity_type = ${name} AND c.entity_id = ${id} AND ${UNSENT}) w`;
}

/** Whether an entity has a value that the base has not. What the table computes by itself does not count. */
export function saysMore(type: EntityType, entity: Entity, base: Entity): boolean {
  const computed = new Set(type.columns.filter((column) => column.generated).map((column) => column.name));
  return Object.entries(entity).some(([field, value]) => !computed.has(field) && !sameJson(value, base[field]));
}

async function supersedeWaiting(
  { session, draft, now }: RemoteContext,
  type: EntityType,
  { entities, keepsDeletes, occasion, last }: Superseding & { readonly last: number },
): Promise<void> {
  const isHere = `EXISTS (SELECT FROM ${type.sqlTable} t WHERE t.${keyColumn(type)}::text = c.entity_id)`;
  const hasBase = `EXISTS (SELECT FROM local_data.entity_bases b WHERE b.entity_type = c.entity_type AND b.entity_id = c.entity_id)`;
  const where = [
    'c.entity_type = $1 AND c.seq <= $2',
    UNSENT,
    `c.entity_id NOT IN (${aloneLanes(type)} AND bool_and(c.seq <= $2))`,
    ...(entities === 'all' ? [] : [`NOT ${hasBase}`]),
    ...(keepsDeletes ? [`NOT (c.operation = 'delete' AND NOT ${isHere})`] : []),
  ].join(' AND ');
  const set = `processed_sync = true, error = NULL, failure = NULL, blocked_by = NULL, next_attempt_at = NULL,
    note = 'superseded by the state at ${occasion}'`;
  const heads = await session.run<{ seq: number }>(
    `SELECT c.seq FROM local_changes c WHERE c.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${where}`,
    [type.entityType, last],
  );
  for (const from of ['applied', 'retrying', 'failed', 'conflicted', 'blocked'] as const) {
    await moveChanges(session, { from, set, where, params: [type.entityType, last] }, draft, { now, paused: false });
  }
  await releaseBlocked(
    session,
    heads.map(({ seq }) => seq),
    draft,
    now,
  );
}
