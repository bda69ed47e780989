// Writes down what the server answered to a push, in the caller's one transaction, and only for what was sent. An
// acknowledgement never moves a base: the change stays part of the overlay until the feed has brought it.
import type { Change, ChangeStatus, Failure } from '../protocol/changes.ts';
import type { PushResponse, PushResult } from '../protocol/sync.ts';
import type { ConflictPolicy } from '../protocol/sync-state.ts';
import { releaseBlocked } from '../db/apply-changes.ts';
import { type ChangeRow, laneOf, lightColumns, toChange } from '../db/change-row.ts';
import { readBases } from '../db/entity-bases.ts';
import { settleDoubt } from '../db/in-doubt.ts';
import { moveChanges } from '../db/move-changes.ts';
import { asArray } from '../db/sql-values.ts';
import { type RemoteContext, putOrSetAside } from './apply-feed.ts';
import { type Hold, hold } from './hold-changes.ts';
import type { QueuedChange } from './push-batch.ts';
import { settleConflict } from './settle-conflict.ts';

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
  const answered = results.flatMap((result, index) => {
    const change = queued[index];
    const timestamp = sent[index]?.timestamp;
    // An answer that speaks of something else than what was sent settles nothing.
    if (change === undefined || timestamp === undefined) return [];
    return result.id === change.id || result.outcome === 'rejected' ? [{ change, result, timestamp }] : [];
  });
  const pairs = answered.every(({ result }) => isAccepted(result)) ? answered : await unchanged(context, answered);
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
  const left = pairs.filter(({ result }) => !isAccepted(result));
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

type Accepted = Extract<PushResult, { readonly outcome: 'applied' | 'duplicate' }>;

export function isAccepted(result: PushResult): result is Accepted {
  return result.outcome === 'applied' || result.outcome === 'duplicate';
}

/** Those that still stand for what was sent: one that was corrected meanwhile has another id, and is sent anew. */
async function unchanged<T extends Pair>({ session }: SettleContext, pairs: readonly T[]): Promise<T[]> {
  const rows = await session.run<{ id: string }>(`SELECT c.id FROM local_changes c WHERE c.seq = ANY ($1::bigint[])`, [
    asArray(pairs.map(({ change }) => change.seq)),
  ]);
  const ids = new Set(rows.map(({ id }) => id));
  return pairs.filter(({ change }) => ids.has(change.id));
}

/** What the server held waits here too for the change that a person must look at. */
async function holdBehind(
  { session, draft, now, isLocalOnly }: SettleContext,
  pairs: readonly Pair[],
  waiting: ReadonlyMap<string, QueuedChange>,
): Promise<void> {
  const holds = new Map<number, Hold>();
  for (const { change, result } of pairs) {
    const head = result.outcome === 'held' ? waiting.get(result.by) : undefined;
    // Of a type that stays here by now nothing more becomes of the head.
    if (head === undefined || head.seq === change.seq || isLocalOnly(head.entityType)) continue;
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
    isAccepted(result) ? [{ s: change.seq, id: change.id, v: result.version }] : [],
  );
  if (accepted.length === 0) return;
  const rows = await session.runList<ChangeRow & { was: ChangeStatus }>(
    `WITH accepted AS (
       UPDATE local_changes c SET processed_sync = true, accepted_version = i.v, accepted_at = $2, error = NULL,
         failure = NULL, next_attempt_at = NULL, blocked_by = NULL
       FROM jsonb_to_recordset($1::jsonb) AS i(s bigint, id text, v bigint)
       WHERE c.seq = ANY ($3::bigint[]) AND c.seq = i.s AND c.id = i.id AND NOT c.processed_sync
       RETURNING ${lightColumns('c')}, old.status AS was)
     SELECT json_agg(accepted) AS rows FROM accepted`,
    [JSON.stringify(accepted), now, asArray(accepted.map(({ s }) => s))],
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
  const { version } = context;
  const covered = accepted.filter(({ acceptedVersion }) => (acceptedVersion ?? Infinity) <= version);
  if (covered.length === 0) return;
  const lanes = new Map(
    covered.map(({ entityType, entityId }) => [laneOf({ entityType, entityId }), { entityType, entityId }]),
  );
  const bases = await readBases(context.session, [...lanes.values()]);
  // Without a base it was deleted before the feed had brought it.
  const present = [...lanes].map(
    ([lane, name]) => bases.get(lane) ?? { ...name, version: 0, timestamp: 0, data: null },
  );
  await putOrSetAside(context, present, version);
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
