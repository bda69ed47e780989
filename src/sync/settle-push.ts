// Writes down what the server answered to a push, in the caller's one transaction, and only for what was sent. An
// acknowledgement never moves a base: the change stays part of the overlay until the feed has brought it.
import type { Change, ChangeStatus, Failure } from '../protocol/changes.ts';
import type { PushResponse, PushResult } from '../protocol/sync.ts';
import type { Conflict, ConflictPolicy, Resolve } from '../protocol/sync-state.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { type ChangeRow, type Rebased, laneOf, lightColumns, toChange } from '../db/change-row.ts';
import { requireChange } from '../db/changes-table.ts';
import { effectOf, readBases, feedVersion } from '../db/entity-bases.ts';
import { settleDoubt } from '../db/in-doubt.ts';
import { moveChanges } from '../db/move-changes.ts';
import { type RemoteContext, putOrSetAside } from './apply-feed.ts';
import { type ConflictingChange, type Settled, describeConflict, settleByPerson, settleByPolicy } from './conflicts.ts';
import type { QueuedChange } from './push-batch.ts';

export interface SettleContext extends RemoteContext {
  readonly policyOf: (entityType: string) => ConflictPolicy;
  /** Where the feed has come. */
  readonly version: number;
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
  const waiting = new Map<string, number>();
  for (const { change, result, timestamp } of pairs) {
    if (result.outcome === 'rejected') {
      await refuse(context, change, result);
      waiting.set(change.id, change.seq);
      refused += 1;
    }
    if (result.outcome === 'conflict') {
      if (await settleConflict(context, change, timestamp, result)) rebased += 1;
      else {
        waiting.set(change.id, change.seq);
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
  waiting: ReadonlyMap<string, number>,
): Promise<void> {
  const held = pairs.flatMap(({ change, result }) => {
    const head = result.outcome === 'held' ? waiting.get(result.by) : undefined;
    return head === undefined || head === change.seq ? [] : [{ s: change.seq, h: head }];
  });
  if (held.length === 0) return;
  await moveChanges(
    session,
    {
      from: 'applied',
      set: 'blocked_by = h.h',
      using: 'jsonb_to_recordset($1::jsonb) AS h(s bigint, h bigint)',
      where: 'c.seq = h.s',
      params: [JSON.stringify(held)],
    },
    draft,
    { now, paused: false },
  );
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
    await writeSettled(context, queued, settled);
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
  const { operation, data } = effectOf(queued);
  const inserted = queued.operation === 'insert' ? queued.result : null;
  return { operation, data, previous: queued.previous, inserted, timestamp, clientId };
}

/**
 * A resolution is written into the change it resolves, because order demands its place in the lane; what it said before
 * stays in `data`, and all that was given up in `conflict`.
 */
async function writeSettled(
  context: SettleContext,
  change: { readonly seq: number; readonly entityType: string; readonly entityId: string },
  { conflict, rebased }: Settled,
): Promise<void> {
  const { session, draft, now } = context;
  const given = rebased === null;
  const set = given
    ? `conflict = $2::jsonb, error = NULL, failure = NULL, next_attempt_at = NULL, rebased = NULL, processed_sync = true,
       accepted_version = $3, note = 'what the server has was taken instead'`
    : `conflict = $2::jsonb, error = NULL, failure = NULL, next_attempt_at = NULL, attempts = 0, base_version = $3, rebased = $4::jsonb`;
  const params = [change.seq, JSON.stringify(conflict), conflict.version, ...(given ? [] : [{ ...rebased }])];
  for (const from of ['applied', 'conflicted', 'retrying'] as const) {
    await moveChanges(session, { from, set, where: 'c.seq = $1', params }, draft, { now, paused: false });
  }
  await releaseLane(context, change.seq);
  const bases = await readBases(session, [change]);
  const base = bases.get(laneOf(change)) ?? { ...change, version: 0, timestamp: 0, data: null };
  // Without a base there is nothing to put the change on but what is here already.
  if (bases.size > 0) await putOrSetAside(context, [base], context.version);
}

async function releaseLane({ session, draft, now }: SettleContext, head: number): Promise<void> {
  const move = { from: 'blocked' as const, set: 'blocked_by = NULL', where: 'c.blocked_by = $1', params: [head] };
  await moveChanges(session, move, draft, { now, paused: false });
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
  const [row] = await session.run<{ rebased: Rebased | null }>(`SELECT rebased FROM local_changes WHERE id = $1`, [id]);
  const { operation, data } = effectOf({ ...change, rebased: row?.rebased ?? null });
  const { previous, timestamp } = change;
  const conflict: Conflict = change.conflict;
  const settled = settleByPerson(
    { operation, data, previous, inserted: null, timestamp, clientId: context.clientId },
    conflict,
    resolve,
    now,
  );
  await writeSettled(context, change, settled);
  return requireChange(session, id, reasons);
}
