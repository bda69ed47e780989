// Takes over the server's state as a whole: when a database is connected for the first time, and when the feed no longer
// reaches back to its cursor. Pages come into the bases first; entities are put in place parents first when all are
// there, and the cursor is set last, so that a kill at any instant lets it go on where it was.
import { type SnapshotResponse, snapshotEntitySchema } from '../protocol/sync.ts';
import { type ChangeRow, laneOf, lightColumns, toChange } from '../db/change-row.ts';
import { type EntityBase, moveBases } from '../db/entity-bases.ts';
import { type EntityType, keyColumn, entityAsJson } from '../db/entity-types.ts';
import { moveChanges } from '../db/move-changes.ts';
import { quoteLiteral } from '../db/sql-values.ts';
import { type RemoteContext, putOnBases } from './apply-feed.ts';
import { parentsFirst } from './put-entities.ts';
import { type Binding, setBinding } from './sync-binding.ts';

/** Keeps one page; gives true when it was the last. */
export async function keepSnapshotPage(
  context: RemoteContext,
  binding: Binding,
  page: SnapshotResponse,
): Promise<boolean> {
  const entities = page.entities.flatMap((value): EntityBase[] => {
    const read = snapshotEntitySchema.safeParse(value);
    if (!read.success) return [];
    const { entityType, entityId, version, timestamp, entity } = read.data;
    return [{ entityType, entityId, version, timestamp, data: entity }];
  });
  await moveBases(context.session, entities, binding.snapshot);
  await setBinding(context.session, {
    snapshot_page: page.next,
    snapshot_cursor: page.cursor,
    snapshot_version: page.version,
    snapshot_total: page.total,
    ...(page.next === null ? { phase: 'applying' } : {}),
  });
  return page.next === null;
}

/** Where putting in place has come: the entity after which it goes on. */
export interface ApplyingFrom {
  readonly step: 'put' | 'missing';
  readonly type: number;
  readonly after: string;
}

export const APPLYING_START: ApplyingFrom = { step: 'put', type: 0, after: '' };

const CHUNK = 1_000;

/**
 * Puts the next entities of the snapshot in place, in its own transaction each time; undefined when all is done. Doing a
 * part twice changes nothing, so that it begins anew after a kill.
 */
export async function applySnapshotChunk(
  context: RemoteContext,
  binding: Binding,
  from: ApplyingFrom,
): Promise<ApplyingFrom | undefined> {
  const types = parentsFirst(context.entityTypes);
  const ordered = from.step === 'put' ? types : types.toReversed();
  const type = ordered[from.type];
  if (type === undefined) {
    if (from.step === 'put') return { step: 'missing', type: 0, after: '' };
    await setAsideUnknown(context, types);
    await finish(context, binding);
    return undefined;
  }
  const bases = await nextBases(context, binding, from, type);
  if (bases.length > 0) {
    // What the snapshot lacks was deleted at some version that nobody told.
    if (from.step === 'missing') await markDeleted(context, binding, bases);
    const version = binding.snapshot_version ?? 0;
    const gone = bases.map((base) => (from.step === 'missing' ? { ...base, data: null } : base));
    const refused = await putOnBases(context, gone, version, true);
    await recordSetAside(
      context,
      gone.filter((base) => refused.has(laneOf(base))),
      refused,
    );
  }
  const last = bases.at(-1);
  return bases.length < CHUNK || last === undefined
    ? { step: from.step, type: from.type + 1, after: '' }
    : { ...from, after: last.entityId };
}

function nextBases(
  { session }: RemoteContext,
  binding: Binding,
  from: ApplyingFrom,
  type: EntityType,
): Promise<EntityBase[]> {
  const which = from.step === 'put' ? 'b.snapshot = $3' : 'b.snapshot < $3 AND NOT b.deleted';
  return session.runList<EntityBase>(
    `SELECT json_agg(json_build_object('entityType', b.entity_type, 'entityId', b.entity_id, 'version', b.version,
       'timestamp', b.timestamp, 'data', CASE WHEN b.deleted THEN NULL ELSE b.data END) ORDER BY b.entity_id) AS rows
     FROM (SELECT * FROM local_data.entity_bases b WHERE b.entity_type = $1 AND b.entity_id > $2 AND ${which}
       ORDER BY b.entity_id LIMIT ${CHUNK}) b`,
    [type.entityType, from.after, binding.snapshot],
  );
}

async function markDeleted({ session }: RemoteContext, binding: Binding, bases: readonly EntityBase[]): Promise<void> {
  const version = binding.snapshot_version ?? 0;
  await moveBases(
    session,
    bases.map((base) => ({ ...base, version: Math.max(version, base.version + 1), data: null })),
  );
}

async function finish({ session, now }: RemoteContext, binding: Binding): Promise<void> {
  await setBinding(session, {
    phase: 'linked',
    cursor: binding.snapshot_cursor,
    version: binding.snapshot_version,
    snapshot_page: null,
    snapshot_cursor: null,
    last_pull_at: now,
  });
}

/** Entities of types that are not registered here stay in the bases; one change a type says that they are there. */
async function setAsideUnknown(context: RemoteContext, types: readonly EntityType[]): Promise<void> {
  const known = types.map((type) => type.entityType);
  const rows = await context.session.run<{ entity_type: string; entity_id: string; version: number }>(
    `SELECT DISTINCT ON (b.entity_type) b.entity_type, b.entity_id, b.version FROM local_data.entity_bases b
     WHERE NOT b.deleted AND NOT b.entity_type IN (SELECT jsonb_array_elements_text($1::jsonb))
       AND NOT EXISTS (SELECT FROM local_changes c WHERE c.origin = 'remote' AND c.entity_type = b.entity_type AND c.status = 'failed')
     ORDER BY b.entity_type, b.entity_id`,
    [JSON.stringify(known)],
  );
  const bases = rows.map((row) => ({
    entityType: row.entity_type,
    entityId: row.entity_id,
    version: row.version,
    timestamp: 0,
    data: {},
  }));
  const refused = new Map(
    bases.map((base) => [
      laneOf(base),
      `Entity type "${base.entityType}" is not registered here; its entities wait until it is.`,
    ]),
  );
  await recordSetAside(context, bases, refused, 'UNKNOWN_ENTITY_TYPE');
}

async function recordSetAside(
  context: RemoteContext,
  bases: readonly EntityBase[],
  refused: ReadonlyMap<string, unknown>,
  code = 'CONSTRAINT_VIOLATION',
): Promise<void> {
  if (bases.length === 0) return;
  const { session, draft, now, newId } = context;
  const rows = bases.map((base) => {
    const error = refused.get(laneOf(base));
    const message = error instanceof Error ? error.message : String(error);
    const failure = { stage: 'pull', kind: 'permanent', code, message, at: now };
    return {
      id: newId(),
      t: base.entityType,
      e: base.entityId,
      o: base.data === null ? 'delete' : 'insert',
      d: base.data,
      v: base.version,
      failure,
      message,
    };
  });
  const recorded = await session.run<ChangeRow>(
    `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, data, timestamp, processed_local, processed_sync,
       origin, accepted_version, accepted_at, error, failure)
     SELECT r.id, r.t, r.e, r.o, NULLIF(r.d, 'null'), $2, false, true, 'remote', r.v, $2, r.message, r.failure
     FROM jsonb_to_recordset($1::jsonb) AS r(id text, t text, e text, o text, d jsonb, v bigint, message text, failure jsonb)
     RETURNING ${lightColumns('c')}`,
    [JSON.stringify(rows), now],
  );
  for (const row of recorded) draft.recorded(toChange(row, { now, paused: false }));
}

/** Puts in place what waited for its type to be registered. */
export async function putRegistered(context: RemoteContext, entityType: string, version: number): Promise<void> {
  for (let after = ''; ;) {
    const bases = await context.session.runList<EntityBase>(
      `SELECT json_agg(json_build_object('entityType', b.entity_type, 'entityId', b.entity_id, 'version', b.version,
         'timestamp', b.timestamp, 'data', b.data) ORDER BY b.entity_id) AS rows
       FROM (SELECT * FROM local_data.entity_bases b WHERE b.entity_type = $1 AND b.entity_id > $2 AND NOT b.deleted
         ORDER BY b.entity_id LIMIT ${CHUNK}) b`,
      [entityType, after],
    );
    if (bases.length > 0) await putOnBases(context, bases, version, true);
    const last = bases.at(-1);
    if (last === undefined || bases.length < CHUNK) return;
    after = last.entityId;
  }
}

/**
 * Before the first snapshot: each entity that is here and unknown to the server becomes one insert of its present state.
 * What waited for it is superseded, and says so. A lane whose one change is that insert already stays as it is.
 */
export async function supersedeLocal(context: RemoteContext, localOnly: ReadonlySet<string>): Promise<void> {
  for (const type of parentsFirst(context.entityTypes)) {
    if (!localOnly.has(type.entityType)) await supersedeType(context, type);
  }
}

async function supersedeType({ session, draft, now, newId }: RemoteContext, type: EntityType): Promise<void> {
  const name = quoteLiteral(type.entityType);
  const [mark] = await session.run<{ last: number | null }>(`SELECT max(seq) AS last FROM local_changes`);
  const last = mark?.last ?? 0;
  const waiting = `SELECT c.entity_id FROM local_changes c WHERE c.entity_type = ${name} AND c.status = 'applied' AND c.origin <> 'remote'`;
  const alone = `${waiting} GROUP BY c.entity_id HAVING count(*) = 1 AND bool_and(c.operation = 'insert')`;
  const entities = await session.runList<{ e: string; d: unknown }>(
    `SELECT json_agg(json_build_object('e', t.${keyColumn(type)}::text, 'd', ${entityAsJson(type, 't')})) AS rows
     FROM ${type.sqlTable} t WHERE t.${keyColumn(type)}::text NOT IN (${alone})
       AND NOT EXISTS (SELECT FROM local_data.entity_bases b WHERE b.entity_type = ${name} AND b.entity_id = t.${keyColumn(type)}::text)`,
  );
  for (let start = 0; start < entities.length; start += CHUNK) {
    const rows = entities.slice(start, start + CHUNK).map((entity) => ({ id: newId(), ...entity }));
    const recorded = await session.run<ChangeRow>(
      `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, data, timestamp, processed_local, applied_at, note)
       SELECT r.id, ${name}, r.e, 'insert', r.d, $2, true, $2, 'the state at the first connect'
       FROM jsonb_to_recordset($1::jsonb) AS r(id text, e text, d jsonb) RETURNING ${lightColumns('c')}`,
      [JSON.stringify(rows), now],
    );
    for (const row of recorded) draft.recorded(toChange(row, { now, paused: false }));
  }
  await moveChanges(
    session,
    {
      from: 'applied',
      set: `processed_sync = true, note = 'superseded by the state at the first connect'`,
      where: `c.entity_type = $1 AND c.seq <= $2 AND c.origin <> 'remote' AND c.entity_id NOT IN (
        SELECT i.entity_id FROM local_changes i WHERE i.entity_type = $1 AND i.status = 'applied' AND i.origin <> 'remote'
          GROUP BY i.entity_id HAVING count(*) = 1 AND bool_and(i.operation = 'insert' AND i.seq <= $2))`,
      params: [type.entityType, last],
    },
    draft,
    { now, paused: false },
  );
}
