// The last state of each entity that the server is known to have, and the local changes that it does not cover yet: the
// overlay. An entity that takes part in synchronisation is base + overlay at every moment. Only the feed and snapshots
// move a base; an answer to a push never does.
import type { Entity, JsonObject, Operation } from '../protocol/changes.ts';
import { type Rebased, laneOf } from './change-row.ts';
import type { Session } from './database.ts';

export interface EntityName {
  readonly entityType: string;
  readonly entityId: string;
}

export interface EntityBase extends EntityName {
  readonly version: number;
  /** Hybrid logical clock of the last write. */
  readonly timestamp: number;
  /** Null where the server has deleted it. */
  readonly data: Entity | null;
}

/** A local change as the overlay needs it. */
export interface OverlayChange extends EntityName {
  readonly seq: number;
  readonly id: string;
  readonly operation: Operation;
  readonly data: JsonObject | null;
  readonly previous: Entity | null;
  readonly result: Entity | null;
  readonly rebased: Rebased | null;
}

/**
 * Bases are looked up one by one (`OFFSET 0` keeps it so): a plan that joins them as a whole, made while there are none,
 * would cost the square of their number.
 */
const NAMES = `jsonb_to_recordset($1::jsonb) AS n(t text, e text)`;

/** Changes `c` which the base does not cover: not accepted, or accepted beyond where the feed has come. */
const IN_OVERLAY = `c.processed_local AND c.discarded_at IS NULL AND c.origin <> 'remote'
  AND (NOT c.processed_sync OR c.accepted_version > $2)`;

export async function readBase(session: Session, name: EntityName): Promise<EntityBase | undefined> {
  return (await readBases(session, [name])).get(laneOf(name));
}

export async function readBases(session: Session, names: readonly EntityName[]): Promise<Map<string, EntityBase>> {
  if (names.length === 0) return new Map();
  const bases = await session.runList<EntityBase>(
    `SELECT json_agg(json_build_object('entityType', b.entity_type, 'entityId', b.entity_id, 'version', b.version,
       'timestamp', b.timestamp, 'data', CASE WHEN b.deleted THEN NULL ELSE b.data END)) AS rows
     FROM ${NAMES} CROSS JOIN LATERAL (SELECT * FROM local_data.entity_bases b
       WHERE b.entity_type = n.t AND b.entity_id = n.e OFFSET 0) b`,
    [names.map(shortName)],
  );
  return new Map(bases.map((base) => [laneOf(base), base]));
}

/** The overlay of each lane that has one, in `seq` order; `version` is where the feed has come, default as stored. */
export async function readOverlay(
  session: Session,
  names: readonly EntityName[],
  version?: number,
): Promise<Map<string, OverlayChange[]>> {
  const overlay = new Map<string, OverlayChange[]>();
  if (names.length === 0) return overlay;
  const changes = await session.runList<OverlayChange>(
    `SELECT json_agg(json_build_object('seq', c.seq, 'id', c.id, 'entityType', c.entity_type, 'entityId', c.entity_id,
       'operation', c.operation, 'data', c.data, 'previous', c.previous, 'result', c.result, 'rebased', c.rebased)
       ORDER BY c.seq) AS rows
     FROM ${NAMES} CROSS JOIN LATERAL (SELECT * FROM local_changes c
       WHERE c.entity_type = n.t AND c.entity_id = n.e AND ${IN_OVERLAY} OFFSET 0) c`,
    [names.map(shortName), version ?? (await feedVersion(session))],
  );
  for (const change of changes) {
    const lane = laneOf(change);
    const known = overlay.get(lane);
    if (known === undefined) overlay.set(lane, [change]);
    else known.push(change);
  }
  return overlay;
}

/**
 * The entity as it is here: its base with the waiting changes on top. An update whose entity the server has deleted keeps
 * the entity in view until the conflict is settled.
 */
export function replayOverlay(base: Entity | null, overlay: readonly OverlayChange[]): Entity | null {
  let state = base;
  for (const change of overlay) {
    const { operation, data, removed } = effectOf(change);
    if (operation === 'delete') state = null;
    else if (operation === 'insert') state = { ...state, ...data };
    else state = without({ ...(state ?? change.previous), ...data }, removed);
  }
  return state;
}

export function without(entity: JsonObject, fields: readonly string[] | undefined): JsonObject {
  if (fields === undefined || fields.length === 0) return entity;
  return Object.fromEntries(Object.entries(entity).filter(([field]) => !fields.includes(field)));
}

/**
 * What a change does, with what defaults and triggers made of it: the whole entity for an insert, the fields that changed
 * for an update.
 */
export function effectOf(
  change: Pick<OverlayChange, 'operation' | 'data' | 'previous' | 'result' | 'rebased'>,
): Rebased {
  if (change.rebased !== null) return change.rebased;
  const { operation, data, result } = change;
  if (operation === 'delete') return { operation, data: null };
  if (operation === 'insert') return { operation, data: result ?? data ?? {} };
  if (result === null) return { operation, data: data ?? {} };
  const previous = change.previous ?? {};
  const written = writtenFields(data ?? {}, previous, result);
  const removed = Object.keys(previous).filter((field) => !(field in result));
  return { operation, data: written, ...(removed.length === 0 ? {} : { removed }) };
}

function writtenFields(data: JsonObject, previous: Entity, result: Entity): JsonObject {
  const written: JsonObject = {};
  for (const [field, value] of Object.entries(result)) {
    const before = previous[field];
    const isSame = before !== undefined && JSON.stringify(before) === JSON.stringify(value);
    if (field in data || !isSame) written[field] = value;
  }
  return written;
}

/** The version of the space that bases stand for; 0 without a server. */
export async function feedVersion(session: Session): Promise<number> {
  const [binding] = await session.run<{ version: number }>(`SELECT version FROM local_data.sync_binding`);
  return binding?.version ?? 0;
}

/**
 * Moves bases to what the server has; a row that is not newer than the base is left alone. Local changes that wait in
 * these lanes keep the version they were made on: it is written down now, because the base no longer says it. A row that
 * is an echo (`isEcho`) takes nothing from under the changes behind it.
 */
export async function moveBases(
  session: Session,
  rows: readonly (EntityBase & { readonly isEcho?: boolean })[],
  snapshot = 0,
): Promise<void> {
  await writeBases(session, rows, snapshot, 'excluded.version > b.version');
}

/** The same, also where a base has the version already and yet not what the server has. */
export async function replaceBases(session: Session, rows: readonly EntityBase[]): Promise<void> {
  await writeBases(session, rows, 0, 'true');
}

async function writeBases(
  session: Session,
  rows: readonly (EntityBase & { readonly isEcho?: boolean })[],
  snapshot: number,
  isTaken: string,
): Promise<void> {
  if (rows.length === 0) return;
  const input = rows.map((row) => ({ ...shortName(row), v: row.version, h: row.timestamp, d: row.data }));
  const foreign = rows.filter((row) => row.isEcho !== true).map((row) => ({ ...shortName(row), v: row.version }));
  if (foreign.length > 0) await fixBaseVersions(session, foreign);
  await session.run(
    `INSERT INTO local_data.entity_bases AS b (entity_type, entity_id, version, timestamp, deleted, data, snapshot)
     SELECT r.t, r.e, r.v, r.h, r.d IS NULL OR r.d = 'null', NULLIF(r.d, 'null'), $2
     FROM jsonb_to_recordset($1::jsonb) AS r(t text, e text, v bigint, h bigint, d jsonb)
     ON CONFLICT (entity_type, entity_id) DO UPDATE SET
       version = greatest(b.version, excluded.version),
       timestamp = CASE WHEN ${isTaken} THEN excluded.timestamp ELSE b.timestamp END,
       deleted = CASE WHEN ${isTaken} THEN excluded.deleted ELSE b.deleted END,
       data = CASE WHEN ${isTaken} THEN excluded.data ELSE b.data END,
       snapshot = greatest(b.snapshot, excluded.snapshot)`,
    [JSON.stringify(input), snapshot],
  );
}

async function fixBaseVersions(
  session: Session,
  rows: readonly { readonly t: string; readonly e: string; readonly v: number }[],
): Promise<void> {
  await session.run(
    `UPDATE local_changes c SET base_version = coalesce(b.version, 0), base_timestamp = coalesce(b.timestamp, 0)
     FROM jsonb_to_recordset($1::jsonb) AS n(t text, e text, v bigint)
       LEFT JOIN LATERAL (SELECT version, timestamp FROM local_data.entity_bases b
         WHERE b.entity_type = n.t AND b.entity_id = n.e OFFSET 0) b ON true
     WHERE c.entity_id = ANY (ARRAY(SELECT r->>'e' FROM jsonb_array_elements($1::jsonb) r))
       AND c.entity_type = ANY (ARRAY(SELECT DISTINCT r->>'t' FROM jsonb_array_elements($1::jsonb) r))
       AND c.entity_type = n.t AND c.entity_id = n.e AND c.base_version IS NULL AND NOT c.processed_sync
       AND c.discarded_at IS NULL AND c.origin <> 'remote' AND n.v > coalesce(b.version, 0)`,
    [JSON.stringify(rows)],
  );
}

/**
 * Changes that wait for entities whose bases were moved without being put in place: they were made on what the feed had
 * brought up to `seen`, whatever their bases say by now. What a person has decided in a conflict stays as it was decided.
 */
export async function pinMadeOn(session: Session, names: readonly EntityName[], seen: number): Promise<void> {
  await session.run(
    `UPDATE local_changes c SET base_version = $2, base_timestamp = 0
     FROM ${NAMES} CROSS JOIN LATERAL (SELECT version FROM local_data.entity_bases b
       WHERE b.entity_type = n.t AND b.entity_id = n.e OFFSET 0) b
     WHERE c.entity_id = ANY (ARRAY(SELECT r->>'e' FROM jsonb_array_elements($1::jsonb) r))
       AND c.entity_type = ANY (ARRAY(SELECT DISTINCT r->>'t' FROM jsonb_array_elements($1::jsonb) r))
       AND c.entity_type = n.t AND c.entity_id = n.e AND ${UNPINNED} AND coalesce(c.base_version, b.version) > $2`,
    [names.map(shortName), seen],
  );
}

/** The same for all entities of a type. */
export async function pinTypeMadeOn(session: Session, entityType: string, seen: number): Promise<void> {
  await session.run(
    `UPDATE local_changes c SET base_version = $2, base_timestamp = 0 FROM local_data.entity_bases b
     WHERE c.entity_type = $1 AND ${UNPINNED} AND b.entity_type = c.entity_type AND b.entity_id = c.entity_id
       AND coalesce(c.base_version, b.version) > $2`,
    [entityType, seen],
  );
}

const UNPINNED = `NOT c.processed_sync AND c.discarded_at IS NULL AND c.origin <> 'remote' AND c.conflict IS NULL`;

function shortName({ entityType, entityId }: EntityName): { readonly t: string; readonly e: string } {
  return { t: entityType, e: entityId };
}
