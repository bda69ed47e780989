// Takes over the server's state as a whole: when a database is connected for the first time, and when the feed no longer
// reaches back to its cursor. Pages come into the bases first; entities are put in place parents first when all are
// there, and the cursor is set last, so that a kill at any instant lets it go on where it was.
import { type SnapshotResponse, snapshotEntitySchema } from '../protocol/sync.ts';
import { laneOf } from '../db/change-row.ts';
import { type EntityBase, type EntityName, feedVersion, moveBases, pinMadeOn } from '../db/entity-bases.ts';
import type { EntityType, EntityTypes } from '../db/entity-types.ts';
import {
  RETRY_START,
  type RemoteContext,
  type RetryFrom,
  type Strange,
  nameOf,
  problemOf,
  putOnBases,
  recordSetAside,
  recordStrange,
  retrySetAside,
} from './apply-feed.ts';
import { meetAgain } from './missing-entities.ts';
import { UnknownType } from './put-entities.ts';
import { type Binding, setBinding } from './sync-binding.ts';
import { type TypeShape, setShape, shapeOf } from './type-standing.ts';

/** Keeps one page. What cannot be read of it is set aside, and taken to be there. */
export async function keepSnapshotPage(
  context: RemoteContext,
  binding: Binding,
  page: SnapshotResponse,
): Promise<void> {
  const { understood, strange } = readEntities(page.entities);
  await moveBases(context.session, understood, binding.snapshot);
  await keepStrange(context, binding, strange);
  await setBinding(context.session, {
    snapshot_page: page.next,
    snapshot_cursor: page.cursor,
    snapshot_version: page.version,
    snapshot_total: page.total,
    ...(page.next === null ? { phase: 'applying' } : {}),
  });
}

function readEntities(values: readonly unknown[]): { understood: EntityBase[]; strange: Strange[] } {
  const understood: EntityBase[] = [];
  const strange: Strange[] = [];
  for (const value of values) {
    const read = snapshotEntitySchema.safeParse(value);
    if (!read.success) strange.push({ what: 'an entity', value, problem: problemOf(read.error) });
    else {
      const { entityType, entityId, version, timestamp, entity } = read.data;
      understood.push({ entityType, entityId, version, timestamp, data: entity });
    }
  }
  return { understood, strange };
}

/** The server has them, if not so that they could be read: they are not taken for deleted. */
async function keepStrange(context: RemoteContext, binding: Binding, strange: readonly Strange[]): Promise<void> {
  if (strange.length === 0) return;
  for (const one of strange) await recordStrange(context, one);
  await context.session.run(
    `UPDATE local_data.entity_bases b SET snapshot = $2
     FROM jsonb_to_recordset($1::jsonb) AS n("entityType" text, "entityId" text)
     WHERE b.entity_type = n."entityType" AND b.entity_id = n."entityId"`,
    [JSON.stringify(strange.map(({ value }) => nameOf(value))), binding.snapshot],
  );
}

/** Where putting in place has come: the type, and the entity after which it goes on. */
export interface ApplyingFrom {
  readonly step: 'put' | 'gone' | 'again';
  /** Those that were in step when it began, parents first, with the tables they had. */
  readonly types: readonly { readonly entityType: string; readonly shape: TypeShape }[];
  readonly at: number;
  readonly after: string;
  /** Of what was set aside. */
  readonly again: RetryFrom;
}

export function applyingStart(entityTypes: EntityTypes, isLocalOnly: (entityType: string) => boolean): ApplyingFrom {
  const types = entityTypes.parentsFirst().filter(({ entityType }) => !isLocalOnly(entityType));
  return {
    step: 'put',
    types: types.map((type) => ({ entityType: type.entityType, shape: shapeOf(type) })),
    at: 0,
    after: '',
    again: RETRY_START,
  };
}

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
  if (from.step === 'again') return tryAgain(context, binding, from);
  const ordered = from.step === 'put' ? from.types : from.types.toReversed();
  const type = ordered[from.at];
  if (type === undefined) return { ...from, step: from.step === 'put' ? 'gone' : 'again', at: 0, after: '' };
  const bases = await nextBases(context, binding, from, type.entityType);
  if (bases.length > 0) await putSnapshot(context, binding, from, bases);
  const last = bases.at(-1);
  const isDone = bases.length < CHUNK || last === undefined;
  if (isDone && from.step === 'gone') await takeAwayUnseen(context, binding, type.entityType);
  return isDone ? { ...from, at: from.at + 1, after: '' } : { ...from, after: last.entityId };
}

/** Of a type that refers to itself, a child may have come before its parent. */
async function tryAgain(
  context: RemoteContext,
  binding: Binding,
  from: ApplyingFrom,
): Promise<ApplyingFrom | undefined> {
  const version = binding.snapshot_version ?? 0;
  const again = context.setAside === 0 ? undefined : await retrySetAside(context, version, from.again);
  if (again !== undefined) return { ...from, again };
  await finish(context, binding, from);
  return undefined;
}

async function putSnapshot(
  context: RemoteContext,
  binding: Binding,
  { step }: ApplyingFrom,
  bases: readonly EntityBase[],
): Promise<void> {
  // What was recorded while the snapshot was received was made on what the feed had brought before.
  await pinMadeOn(context.session, bases, binding.version);
  // What the snapshot lacks was deleted at some version that nobody told.
  if (step === 'gone') await markDeleted(context, binding, bases);
  else await meetAgain(context, bases);
  const put = step === 'gone' ? bases.map((base) => ({ ...base, data: null })) : bases;
  await putInBulk(context, put, binding.snapshot_version ?? 0);
}

async function putInBulk(context: RemoteContext, bases: readonly EntityBase[], version: number): Promise<void> {
  await recordSetAside(context, bases, await putOnBases(context, bases, version, true));
}

/**
 * What came here by a change of our own that the server accepted, and was deleted there before the feed had brought it back:
 * there is no base of it, and the snapshot lacks it.
 */
async function takeAwayUnseen(context: RemoteContext, binding: Binding, entityType: string): Promise<void> {
  const version = binding.snapshot_version ?? 0;
  const names = await context.session.runList<EntityName>(
    `SELECT json_agg(json_build_object('entityType', $1::text, 'entityId', n.entity_id)) AS rows
     FROM (SELECT DISTINCT c.entity_id FROM local_changes c
       WHERE c.entity_type = $1 AND c.origin <> 'remote' AND c.accepted_version <= $2 AND c.discarded_at IS NULL
         AND NOT EXISTS (SELECT FROM local_data.entity_bases b WHERE b.entity_type = $1 AND b.entity_id = c.entity_id)) n`,
    [entityType, version],
  );
  for (let start = 0; start < names.length; start += CHUNK) {
    const gone = names.slice(start, start + CHUNK).map((name) => ({ ...name, version, timestamp: 0, data: null }));
    await putInBulk(context, gone, version);
  }
}

function nextBases(
  { session }: RemoteContext,
  binding: Binding,
  from: ApplyingFrom,
  entityType: string,
): Promise<EntityBase[]> {
  const which = from.step === 'put' ? 'b.snapshot = $3' : 'b.snapshot < $3 AND NOT b.deleted';
  return session.runList<EntityBase>(nextOfType(which), [entityType, from.after, binding.snapshot]);
}

/** `$1` entity type, `$2` the entity id after which it goes on. */
function nextOfType(which: string): string {
  return `SELECT json_agg(json_build_object('entityType', b.entity_type, 'entityId', b.entity_id, 'version', b.version,
      'timestamp', b.timestamp, 'data', CASE WHEN b.deleted THEN NULL ELSE b.data END) ORDER BY b.entity_id) AS rows
    FROM (SELECT * FROM local_data.entity_bases b WHERE b.entity_type = $1 AND b.entity_id > $2 AND ${which}
      ORDER BY b.entity_id LIMIT ${CHUNK}) b`;
}

async function markDeleted({ session }: RemoteContext, binding: Binding, bases: readonly EntityBase[]): Promise<void> {
  const version = binding.snapshot_version ?? 0;
  await moveBases(
    session,
    bases.map((base) => ({ ...base, version: Math.max(version, base.version + 1), data: null })),
  );
}

async function finish(context: RemoteContext, binding: Binding, { types }: ApplyingFrom): Promise<void> {
  const { session, now } = context;
  await markRestDeleted(context, binding);
  await setAsideUnknown(context);
  for (const { entityType, shape } of types) await setShape(session, entityType, shape);
  await setBinding(session, {
    phase: 'linked',
    cursor: binding.snapshot_cursor,
    version: binding.snapshot_version,
    snapshot_page: null,
    snapshot_cursor: null,
    last_pull_at: now,
  });
}

/** Of types that are not in step, or not known here. */
async function markRestDeleted({ session }: RemoteContext, binding: Binding): Promise<void> {
  await session.run(
    `UPDATE local_data.entity_bases SET deleted = true, data = NULL, version = greatest($2, version + 1)
     WHERE snapshot < $1 AND NOT deleted`,
    [binding.snapshot, binding.snapshot_version ?? 0],
  );
}

/** Entities of types that are not registered here stay in the bases; one change a type says that they are there. */
async function setAsideUnknown(context: RemoteContext): Promise<void> {
  const known = context.entityTypes.all().map((type) => type.entityType);
  const rows = await context.session.run<{ entity_type: string; entity_id: string; version: number }>(
    `SELECT DISTINCT ON (b.entity_type) b.entity_type, b.entity_id, b.version FROM local_data.entity_bases b
     WHERE NOT b.deleted AND NOT b.entity_type IN (SELECT jsonb_array_elements_text($1::jsonb))
       AND NOT EXISTS (SELECT FROM local_changes c WHERE c.origin = 'remote' AND c.entity_type = b.entity_type AND c.status = 'failed')
     ORDER BY b.entity_type, b.entity_id`,
    [JSON.stringify(known)],
  );
  const unknown = rows.filter((row) => !context.isLocalOnly(row.entity_type));
  const bases = unknown.map((row) => ({
    entityType: row.entity_type,
    entityId: row.entity_id,
    version: row.version,
    timestamp: 0,
    data: {},
  }));
  const refused = new Map(bases.map((base) => [laneOf(base), new UnknownType(base.entityType)]));
  await recordSetAside(context, bases, refused);
}

/**
 * Puts the next bases of a type in place, from the entity id on; gives the one after which it goes on, or undefined when
 * all is done.
 */
export async function putBasesOf(context: RemoteContext, type: EntityType, after: string): Promise<string | undefined> {
  const bases = await context.session.runList<EntityBase>(nextOfType('true'), [type.entityType, after]);
  const version = await feedVersion(context.session);
  if (bases.length > 0) await putInBulk(context, bases, version);
  const last: EntityName | undefined = bases.at(-1);
  if (last !== undefined && bases.length === CHUNK) return last.entityId;
  if (context.setAside === 0) return undefined;
  for (let from: RetryFrom | undefined = RETRY_START; from !== undefined;)
    from = await retrySetAside(context, version, from);
  return undefined;
}
