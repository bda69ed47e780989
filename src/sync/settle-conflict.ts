// What a conflict comes to, written down: by the type's policy or by a person's answer, in the caller's one transaction. A
// resolution stays in the change it resolves, and goes beneath the later ones of its lane.
import type { Change, Entity, Failure, JsonObject } from '../protocol/changes.ts';
import { sameJson } from '../protocol/canonical-json.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { SYNC_LIMITS } from '../protocol/sync.ts';
import type { Conflict, Resolve } from '../protocol/sync-state.ts';
import { releaseBlocked } from '../db/apply-changes.ts';
import { type ChangeRow, type Rebased, allColumns, isPushStage, laneOf } from '../db/change-row.ts';
import { checkInput, requireChange } from '../db/changes-table.ts';
import { effectOf, readBases, without } from '../db/entity-bases.ts';
import { entityAsJson } from '../db/entity-types.ts';
import { checkPayload } from '../db/failures.ts';
import { readInDoubt, settleDoubt } from '../db/in-doubt.ts';
import { moveChanges } from '../db/move-changes.ts';
import { SqlError } from '../db/sql-error.ts';
import { putOrSetAside } from './apply-feed.ts';
import {
  type ConflictingChange,
  type ServerConflict,
  type Settled,
  describeConflict,
  mergeValues,
  settleByPerson,
  settleByPolicy,
} from './conflicts.ts';
import type { QueuedChange } from './push-batch.ts';
import type { SettleContext } from './settle-push.ts';

/** False where a person is asked. */
export async function settleConflict(
  context: SettleContext,
  queued: QueuedChange,
  timestamp: number,
  result: ServerConflict,
): Promise<boolean> {
  const { now } = context;
  const policy = context.policyOf(queued.entityType);
  const change = asConflicting(queued, timestamp, context.clientId);
  const settled = settleByPolicy(change, result, policy, now);
  if (settled !== undefined) {
    await writeSettled(context, queued, settled, latestOf(result));
    return true;
  }
  const conflict = describeConflict(change, result, policy, now);
  const names = Object.keys(conflict.fields);
  const what = names.length === 0 ? 'a delete stands against a change' : `both sides wrote ${names.join(', ')}`;
  const message = `It conflicts with what the server has: ${what}. Keep yours, take theirs, or merge.`;
  const failure: Failure = { stage: 'push', kind: 'permanent', code: 'CONFLICT', message, at: now };
  await moveChanges(
    context.session,
    {
      from: 'applied',
      set: 'error = $2, failure = $3::jsonb, conflict = $4::jsonb, attempts = 0, next_attempt_at = NULL',
      where: 'c.seq = $1',
      params: [queued.seq, message, { ...failure }, JSON.stringify(conflict)],
    },
    context.draft,
    { now, paused: false },
  );
  return false;
}

function asConflicting(queued: QueuedChange, timestamp: number, clientId: string): ConflictingChange {
  const { operation, data, removed = [] } = effectOf(queued);
  return { operation, data, removed, previous: queued.previous, inserted: insertedBy(queued), timestamp, clientId };
}

function insertedBy({ operation, data, result }: Pick<Change, 'operation' | 'data' | 'result'>): Entity | null {
  return operation === 'insert' ? (result ?? data) : null;
}

/**
 * A resolution is written into the change it resolves, because order demands its place in the lane; what it said before
 * stays in `data`, and all that was given up in `conflict`.
 */
async function writeSettled(
  context: SettleContext,
  change: LaneMember,
  { conflict, rebased }: Settled,
  decidedAt: number,
): Promise<void> {
  const { session, draft, now } = context;
  const done = 'conflict = $2::jsonb, error = NULL, failure = NULL, next_attempt_at = NULL';
  const move =
    rebased === null
      ? {
          set: `${done}, rebased = NULL, processed_sync = true, accepted_version = $3, note = 'what the server has was taken instead'`,
          params: [change.seq, JSON.stringify(conflict), conflict.version],
        }
      : {
          set: `${done}, attempts = 0, base_version = $3, base_timestamp = $5, rebased = $4::jsonb`,
          params: [change.seq, JSON.stringify(conflict), conflict.version, JSON.stringify(rebased), decidedAt],
        };
  for (const from of ['applied', 'conflicted', 'retrying'] as const) {
    await moveChanges(session, { from, where: 'c.seq = $1', ...move }, draft, { now, paused: false });
  }
  await rebaseLater(context, change, { conflict, rebased }, decidedAt);
  await releaseBlocked(session, [change.seq], draft, now);
  const bases = await readBases(session, [change]);
  const base = bases.get(laneOf(change)) ?? { ...change, version: 0, timestamp: 0, data: null };
  // Without a base there is nothing to put the change on but what is here already, unless that was given up.
  const isGivenUp = rebased === null && conflict.theirs === null;
  if (bases.size > 0 || isGivenUp) await putOrSetAside(context, [base], context.version);
}

type LaneMember = Pick<Change, 'seq' | 'entityType' | 'entityId'>;

/**
 * What waits behind it in its lane was made on mine as it was. What was settled goes beneath it, field by field, or a later
 * edit of the same object would take back what the merge brought in; and it counts as made after the decision.
 */
async function rebaseLater(
  { session }: SettleContext,
  change: LaneMember,
  { conflict, rebased }: Settled,
  decidedAt: number,
): Promise<void> {
  const rows = await session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c
     WHERE c.entity_type = $1 AND c.entity_id = $2 AND c.seq > $3 AND ${isPushStage('c')}
       AND c.discarded_at IS NULL AND c.origin <> 'remote' ORDER BY c.seq`,
    [change.entityType, change.entityId, change.seq],
  );
  if (rows.length === 0) return;
  const later = rows.map((row) => {
    const effect = effectOf({ ...row, previous: row.previous ?? null, result: row.result ?? null });
    return { seq: row.seq, effect };
  });
  await session.run(
    `UPDATE local_changes c SET rebased = coalesce(NULLIF(r.d, 'null'), c.rebased),
       base_timestamp = greatest(c.base_timestamp, $2)
     FROM jsonb_to_recordset($1::jsonb) AS r(s bigint, d jsonb) WHERE c.seq = r.s`,
    [JSON.stringify(onSettledLane(later, { conflict, rebased })), decidedAt],
  );
}

/** What the later changes of a lane say instead, up to the first that writes the entity as a whole; null: what they said. */
function onSettledLane(
  later: readonly { readonly seq: number; readonly effect: Rebased }[],
  { conflict, rebased }: Settled,
): { readonly s: number; readonly d: Rebased | null }[] {
  let beneath: Entity = conflict.mine ?? {};
  let settled: Entity = without({ ...conflict.theirs, ...rebased?.data }, rebased?.removed);
  let isOnTop = true;
  return later.map(({ seq, effect }) => {
    isOnTop &&= effect.operation === 'update';
    if (!isOnTop) return { s: seq, d: null };
    const data = onSettled(effect.data ?? {}, beneath, settled, conflict);
    beneath = without({ ...beneath, ...effect.data }, effect.removed);
    settled = without({ ...settled, ...data }, effect.removed);
    return { s: seq, d: sameJson(data, effect.data ?? {}) ? null : { ...effect, data } };
  });
}

/** Fields the conflict is about, as they are when what was settled is beneath them. */
function onSettled(data: JsonObject, beneath: Entity, settled: Entity, conflict: Conflict): JsonObject {
  const merged: JsonObject = { ...data };
  for (const [field, value] of Object.entries(data)) {
    if (conflict.fields[field] === undefined) continue;
    // Written here last, it cannot come out as gone.
    merged[field] = mergeValues(beneath[field], value, settled[field], true) ?? value;
  }
  return merged;
}

/** By the hybrid clock, when the newest of what it conflicts with was written. */
function latestOf({ fields }: ServerConflict): number {
  return Object.values(fields).reduce((latest, { timestamp }) => Math.max(latest, timestamp), 0);
}

/** A person's answer. */
export async function resolveConflict(context: SettleContext, id: string, resolve: Resolve): Promise<Change> {
  const { session, now } = context;
  const reasons = { now, paused: false };
  const change = await requireChange(session, id, reasons);
  if (change.status !== 'conflicted' || change.conflict === null) {
    throw new LocalDataError(
      'CHANGE_NOT_ALLOWED',
      `Change ${change.seq} (${change.operation} of ${change.entityType} "${change.entityId}") is ${change.status}: it has no conflict to resolve.`,
      { id, status: change.status },
    );
  }
  if ('data' in resolve) requireAcceptable(context, change, resolve);
  const [row] = await session.run<{ rebased: Rebased | null }>(`SELECT rebased FROM local_changes WHERE id = $1`, [id]);
  const { operation, data, removed = [] } = effectOf({ ...change, rebased: row?.rebased ?? null });
  const { previous, timestamp, conflict } = change;
  const settled = settleByPerson(
    { operation, data, removed, previous, inserted: insertedBy(change), timestamp, clientId: context.clientId },
    conflict,
    'data' in resolve ? { ...resolve, data: await asStored(context, change, resolve.data) } : resolve,
    now,
  );
  // A decision is newer than all that it decides about.
  const decidedAt = Object.values(conflict.fields).reduce((latest, one) => Math.max(latest, one.theirTimestamp), now);
  // Where what was sent may still be answered, the answer must not be taken for one to the resolution.
  const decided = (await readInDoubt(session)).has(change.seq) ? await underNewId(context, change) : id;
  await writeSettled(context, change, settled, decidedAt);
  return requireChange(session, decided, reasons);
}

async function underNewId({ session, newId }: SettleContext, { seq }: Change): Promise<string> {
  const id = newId();
  await session.run(`UPDATE local_changes SET id = $2 WHERE seq = $1`, [seq, id]);
  await settleDoubt(session, [seq]);
  return id;
}

/** What a person put together goes to the server: it must be such an entity. */
function requireAcceptable(
  { entityTypes }: SettleContext,
  change: Change,
  { data, removed = [] }: Extract<Resolve, { readonly data: JsonObject }>,
): void {
  const type = entityTypes.require(change.entityType);
  checkInput({ maxPayloadBytes: SYNC_LIMITS.changeBytes }, { ...change, operation: 'update', data });
  const failure = checkPayload(type, change.entityId, data);
  if (failure !== undefined) throw new LocalDataError('INVALID_PAYLOAD', failure.message, { id: change.id });
  const stays = removed.find((field) => type.kind === 'table' || field === type.key);
  if (stays === undefined) return;
  const message = `"${stays}" of ${change.entityType} "${change.entityId}" cannot be taken out: it is a column. Give it a value, or null.`;
  throw new LocalDataError('INVALID_PAYLOAD', message, { id: change.id, field: stays });
}

/** Its values as the table's columns have them, such as numerics as text. */
async function asStored(
  { session, entityTypes }: SettleContext,
  change: Change,
  data: JsonObject,
): Promise<JsonObject> {
  const type = entityTypes.require(change.entityType);
  if (type.kind === 'document') return data;
  try {
    const [row] = await session.savepoint(() =>
      session.run<{ entity: Entity }>(
        `SELECT ${entityAsJson(type, 't')} AS entity FROM jsonb_populate_record(NULL::${type.sqlTable}, $1::jsonb) t`,
        [data],
      ),
    );
    return Object.fromEntries(Object.keys(data).map((field) => [field, row?.entity[field] ?? null]));
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    const message = `${change.entityType} "${change.entityId}" cannot be like that: ${error.message}. Correct the value.`;
    throw new LocalDataError('INVALID_PAYLOAD', message, { id: change.id, sqlState: error.sqlState }, { cause: error });
  }
}
