// Writes down what the server answered to a push, in the caller's one transaction, and only for what was sent. An
// acknowledgement never moves a base: the change stays part of the overlay until the feed has brought it.
import type { Change, ChangeStatus, Entity, Failure, JsonObject } from '../protocol/changes.ts';
import { sameJson } from '../protocol/canonical-json.ts';
import { SYNC_LIMITS, type PushResponse, type PushResult } from '../protocol/sync.ts';
import type { Conflict, ConflictPolicy, Resolve } from '../protocol/sync-state.ts';
import { LocalDataError } from '../protocol/errors.ts';
import {
  type ChangeRow,
  type Rebased,
  allColumns,
  isPushStage,
  laneOf,
  lightColumns,
  toChange,
} from '../db/change-row.ts';
import { releaseBlocked } from '../db/apply-changes.ts';
import { checkInput, requireChange } from '../db/changes-table.ts';
import { effectOf, feedVersion, readBases, without } from '../db/entity-bases.ts';
import { settleDoubt } from '../db/in-doubt.ts';
import { entityAsJson } from '../db/entity-types.ts';
import { checkPayload } from '../db/failures.ts';
import { moveChanges } from '../db/move-changes.ts';
import { SqlError } from '../db/sql-error.ts';
import { type RemoteContext, putOrSetAside } from './apply-feed.ts';
import {
  type ConflictingChange,
  type Settled,
  describeConflict,
  mergeValues,
  settleByPerson,
  settleByPolicy,
} from './conflicts.ts';
import { type Hold, type QueuedChange, hold } from './push-batch.ts';

export interface SettleContext extends RemoteContext {
  readonly policyOf: (entityType: string) => ConflictPolicy;
  /** Where the feed has come. */
  readonly version: number;
  /** Changes the server did not take, and what waits behind them: while there are none, nothing is looked for. */
  readonly stuck: number;
}

export interface PushOutcome {
  readonly accepted: number;
  readonly refused: number;
  /** Settled by policy: something else is to be sent for them. */
  readonly rebased: number;
  /** The lowest `seq` from which the queue must be looked at again; undefined when all was accepted. */
  readonly lowestLeft: number | undefined;
}

export async function settlePush(
  context: SettleContext,
  queued: readonly QueuedChange[],
  sent: readonly { readonly timestamp: number }[],
  response: PushResponse,
): Promise<PushOutcome> {
  const results = response.results.slice(0, queued.length);
  const pairs = results.flatMap((result, index) => {
    const change = queued[index];
    const timestamp = sent[index]?.timestamp;
    // An answer that speaks of something else than what was sent settles nothing.
    if (change === undefined || timestamp === undefined) return [];
    return result.id === change.id || result.outcome === 'rejected' ? [{ change, result, timestamp }] : [];
  });
  await accept(context, pairs);
  let refused = 0;
  let rebased = 0;
  const waiting = new Map<string, QueuedChange>();
  for (const { change, result, timestamp } of pairs) {
    if (result.outcome === 'rejected') {
      await refuse(context, change, result);
      waiting.set(change.id, change);
      refused += 1;
    }
    if (result.outcome === 'conflict') {
      if (await settleConflict(context, change, timestamp, result)) rebased += 1;
      else {
        waiting.set(change.id, change);
        refused += 1;
      }
    }
  }
  await holdBehind(context, pairs, waiting);
  const left = pairs.filter(({ result }) => result.outcome !== 'applied' && result.outcome !== 'duplicate');
  await settleDoubt(
    context.session,
    pairs.map(({ change }) => change.seq),
  );
  const lowest = left.reduce((least, { change }) => Math.min(least, change.seq), Infinity);
  return {
    accepted: pairs.length - left.length,
    refused,
    rebased,
    lowestLeft: left.length === 0 ? undefined : lowest,
  };
}

/** What the server held waits here too for the change that a person must look at. */
async function holdBehind(
  { session, draft, now }: SettleContext,
  pairs: readonly Pair[],
  waiting: ReadonlyMap<string, QueuedChange>,
): Promise<void> {
  const holds = new Map<number, Hold>();
  for (const { change, result } of pairs) {
    const head = result.outcome === 'held' ? waiting.get(result.by) : undefined;
    if (head === undefined || head.seq === change.seq) continue;
    holds.set(change.seq, { head: head.seq, because: whyHeld(change, head) });
  }
  if (holds.size > 0) await hold(session, holds, draft, now);
}

function whyHeld(change: QueuedChange, head: QueuedChange): Hold['because'] {
  if (laneOf(change) === laneOf(head)) return 'lane';
  return change.transactionId !== null && change.transactionId === head.transactionId ? 'transaction' : 'parent';
}

type Pair = { readonly change: QueuedChange; readonly result: PushResult };

async function accept(context: SettleContext, pairs: readonly Pair[]): Promise<void> {
  const { session, draft, now } = context;
  const accepted = pairs.flatMap(({ change, result }) =>
    result.outcome === 'applied' || result.outcome === 'duplicate' ? [{ s: change.seq, v: result.version }] : [],
  );
  if (accepted.length === 0) return;
  const rows = await session.runList<ChangeRow & { was: ChangeStatus }>(
    `WITH accepted AS (
       UPDATE local_changes c SET processed_sync = true, accepted_version = i.v, accepted_at = $2, error = NULL,
         failure = NULL, next_attempt_at = NULL, blocked_by = NULL
       FROM jsonb_to_recordset($1::jsonb) AS i(s bigint, v bigint)
       WHERE c.seq = ANY ($3::bigint[]) AND c.seq = i.s AND NOT c.processed_sync
       RETURNING ${lightColumns('c')}, old.status AS was)
     SELECT json_agg(accepted) AS rows FROM accepted`,
    [JSON.stringify(accepted), now, `{${accepted.map(({ s }) => s).join(',')}}`],
  );
  const changes = rows.map((row) => ({ was: row.was, change: toChange(row, { now, paused: false }) }));
  for (const { was, change } of changes) draft.moved(was, change);
  if (context.stuck > 0) {
    await releaseBlocked(
      session,
      accepted.map(({ s }) => s),
      draft,
      now,
    );
  }
  await putCovered(
    context,
    changes.map(({ change }) => change),
  );
}

/**
 * What the feed was already past when it was accepted stood on top of the base until now, and does no longer: a delete of
 * what was not there, whose first answer was lost, would else hide what others made since.
 */
async function putCovered(context: SettleContext, accepted: readonly Change[]): Promise<void> {
  const version = await feedVersion(context.session);
  const covered = accepted.filter(({ acceptedVersion }) => (acceptedVersion ?? Infinity) <= version);
  if (covered.length === 0) return;
  const lanes = new Map(
    covered.map(({ entityType, entityId }) => [laneOf({ entityType, entityId }), { entityType, entityId }]),
  );
  const bases = await readBases(context.session, [...lanes.values()]);
  await putOrSetAside(context, [...bases.values()], version);
}

async function refuse(
  context: SettleContext,
  change: QueuedChange,
  result: Extract<PushResult, { outcome: 'rejected' }>,
): Promise<void> {
  const failure: Failure = {
    stage: 'push',
    kind: 'permanent',
    code: result.code,
    message: `The server refused it: ${result.message}`,
    ...(result.field === undefined ? {} : { column: result.field }),
    at: context.now,
  };
  await failPush(context, change.seq, failure, 1);
}

/** Its lane waits with it, once those behind it come to be sent. */
export async function failPush(
  context: Pick<SettleContext, 'session' | 'draft' | 'now'>,
  seq: number,
  failure: Failure,
  attempts: number,
  nextAttemptAt: number | null = null,
): Promise<void> {
  for (const from of ['applied', 'retrying'] as const) {
    await moveChanges(
      context.session,
      {
        from,
        set: 'error = $2, failure = $3::jsonb, attempts = $4, next_attempt_at = $5',
        where: 'c.seq = $1 AND c.processed_local AND NOT c.processed_sync',
        params: [seq, failure.message, { ...failure }, attempts, nextAttemptAt],
      },
      context.draft,
      { now: context.now, paused: false },
    );
  }
}

/** False where a person is asked. */
async function settleConflict(
  context: SettleContext,
  queued: QueuedChange,
  timestamp: number,
  result: Extract<PushResult, { outcome: 'conflict' }>,
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
  // Without a base there is nothing to put the change on but what is here already.
  if (bases.size > 0) await putOrSetAside(context, [base], context.version);
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
  let beneath = conflict.mine ?? {};
  let settled: Entity = without({ ...conflict.theirs, ...rebased?.data }, rebased?.removed);
  for (const row of rows) {
    const effect = effectOf({ ...row, previous: row.previous ?? null, result: row.result ?? null });
    const data = effect.operation === 'update' ? onSettled(effect.data ?? {}, beneath, settled, conflict) : effect.data;
    const isSame = effect.operation !== 'update' || sameJson(data, effect.data);
    await session.run(
      `UPDATE local_changes SET rebased = coalesce($2::jsonb, rebased), base_timestamp = greatest(base_timestamp, $3)
       WHERE seq = $1`,
      [row.seq, isSame ? null : JSON.stringify({ ...effect, data }), decidedAt],
    );
    if (effect.operation !== 'update') return;
    beneath = without({ ...beneath, ...effect.data }, effect.removed);
    settled = without({ ...settled, ...data }, effect.removed);
  }
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
function latestOf({ fields }: Extract<PushResult, { outcome: 'conflict' }>): number {
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
  if ('data' in resolve) requireAcceptable(context, change, resolve.data);
  const [row] = await session.run<{ rebased: Rebased | null }>(`SELECT rebased FROM local_changes WHERE id = $1`, [id]);
  const { operation, data, removed = [] } = effectOf({ ...change, rebased: row?.rebased ?? null });
  const { previous, timestamp, conflict } = change;
  const settled = settleByPerson(
    { operation, data, removed, previous, inserted: insertedBy(change), timestamp, clientId: context.clientId },
    conflict,
    'data' in resolve ? { data: await asStored(context, change, resolve.data) } : resolve,
    now,
  );
  // A decision is newer than all that it decides about.
  const decidedAt = Object.values(conflict.fields).reduce((latest, one) => Math.max(latest, one.theirTimestamp), now);
  await writeSettled(context, change, settled, decidedAt);
  return requireChange(session, id, reasons);
}

/** What a person put together goes to the server: it must be such an entity. */
function requireAcceptable({ entityTypes }: SettleContext, change: Change, data: JsonObject): void {
  const type = entityTypes.require(change.entityType);
  checkInput({ maxPayloadBytes: SYNC_LIMITS.changeBytes }, { ...change, operation: 'update', data });
  const failure = checkPayload(type, change.entityId, data);
  if (failure !== undefined) throw new LocalDataError('INVALID_PAYLOAD', failure.message, { id: change.id });
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
