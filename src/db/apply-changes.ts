// Applies waiting changes in bulk with the outcome of one by one, and marks them in the same transaction. A list that
// fails is halved in `seq` order until the change at fault stands alone; that one gets its failure, its lane waits, and
// everything else goes on.
import type { Change, ChangeStatus, Entity, Failure } from '../protocol/changes.ts';
import type { RetrySchedule } from './retry-schedule.ts';
import { aimAt } from './capture.ts';
import { isLocalStage, isPushStage, laneOf, reasonFor } from './change-row.ts';
import { CommitDraft } from './commit-log.ts';
import type { Session } from './database.ts';
import { bulkDelete, bulkInsert, bulkUpdate } from './entity-statements.ts';
import type { EntityTypes } from './entity-types.ts';
import { moveChanges } from './move-changes.ts';
import { ChangeFailure, checkApplicable, describeFailure, describeMissing, missingParent } from './failures.ts';
import { type Step, planSteps } from './plan-steps.ts';
import { SqlError, isTransient } from './sql-error.ts';
import { asArray } from './sql-values.ts';

export interface ApplyContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly schedule: RetrySchedule;
  /** Milliseconds since epoch. */
  readonly now: number;
  /** How many changes were stuck before this batch: while there are none, nothing waits to be let go. */
  readonly stuck: number;
}

/** Lanes that may not go on, each with the `seq` of the change it waits for. */
type StuckLanes = Map<string, number>;

/**
 * Applies changes given in `seq` order within the caller's transaction. Changes of one transaction are applied together
 * or not at all.
 */
export async function applyChanges(context: ApplyContext, changes: readonly Change[]): Promise<CommitDraft> {
  const draft = new CommitDraft();
  const stuck: StuckLanes = new Map();
  for (const part of splitAtTransactions(changes)) {
    if (part.together) await applyTogether(context, part.changes, stuck, draft);
    else await applyOrNarrow(context, part.changes, stuck, draft);
  }
  await releaseWaiting(context, draft);
  return draft;
}

interface Part {
  readonly together: boolean;
  readonly changes: Change[];
}

/** A transaction stands at the place of its first change; the rest lies between transactions. */
function splitAtTransactions(changes: readonly Change[]): Part[] {
  const parts: Part[] = [];
  const transactions = new Map<string, Part>();
  for (const change of changes) {
    const { transactionId } = change;
    if (transactionId === null) {
      const last = parts.at(-1);
      if (last !== undefined && !last.together) last.changes.push(change);
      else parts.push({ together: false, changes: [change] });
      continue;
    }
    const known = transactions.get(transactionId);
    if (known !== undefined) {
      known.changes.push(change);
      continue;
    }
    const part = { together: true, changes: [change] };
    transactions.set(transactionId, part);
    parts.push(part);
  }
  return parts;
}

async function applyOrNarrow(
  context: ApplyContext,
  changes: readonly Change[],
  stuck: StuckLanes,
  draft: CommitDraft,
): Promise<void> {
  const runnable = await setAside(context, changes, stuck, draft);
  if (runnable.length === 0) return;
  const error = await attempt(context, runnable, stuck, draft);
  if (error === undefined) return;
  const [only] = runnable;
  if (runnable.length === 1 && only !== undefined) {
    await fail(context, only, error.thrown, stuck, draft);
    return;
  }
  const middle = Math.ceil(runnable.length / 2);
  await applyOrNarrow(context, runnable.slice(0, middle), stuck, draft);
  await applyOrNarrow(context, runnable.slice(middle), stuck, draft);
}

async function applyTogether(
  context: ApplyContext,
  members: readonly Change[],
  stuck: StuckLanes,
  draft: CommitDraft,
): Promise<void> {
  const behind = members.find((member) => stuck.has(laneOf(member)));
  if (behind !== undefined) {
    const blockedBy = stuck.get(laneOf(behind));
    for (const member of members) await block(context, member, blockedBy ?? member.seq, null, stuck, draft);
    return;
  }
  const unfit = members
    .map((member) => checkApplicable(member, context.entityTypes))
    .find((failure) => failure !== undefined);
  const error = unfit === undefined ? await attempt(context, members, stuck, draft, true) : { thrown: unfit };
  if (error === undefined) return;
  for (const member of members) await fail(context, member, error.thrown, stuck, draft);
}

/** Takes out what cannot be applied as it stands; what follows it in its lane waits. */
async function setAside(
  context: ApplyContext,
  changes: readonly Change[],
  stuck: StuckLanes,
  draft: CommitDraft,
): Promise<Change[]> {
  const runnable: Change[] = [];
  for (const change of changes) {
    const blockedBy = stuck.get(laneOf(change));
    const unfit = blockedBy === undefined ? checkApplicable(change, context.entityTypes) : undefined;
    // An unfit change behind others of its lane comes to stand alone by narrowing, when those have been tried.
    const isFirst = unfit !== undefined && !runnable.some((earlier) => laneOf(earlier) === laneOf(change));
    if (blockedBy !== undefined) await block(context, change, blockedBy, null, stuck, draft);
    else if (unfit !== undefined && isFirst) await fail(context, change, unfit, stuck, draft);
    else runnable.push(change);
  }
  return runnable;
}

/** Applies all or nothing of a list; gives what was thrown. `whole` also fails when one entity to update is missing. */
async function attempt(
  context: ApplyContext,
  changes: readonly Change[],
  stuck: StuckLanes,
  draft: CommitDraft,
  whole = false,
): Promise<{ readonly thrown: unknown } | undefined> {
  const tried = new CommitDraft();
  const missing: Change[] = [];
  const stuckHere: StuckLanes = new Map(stuck);
  try {
    await context.session.savepoint(async () => {
      for (const step of stepsOf(changes, context.entityTypes)) {
        const notThere = await runStep(context, step, stuckHere, tried);
        if (whole && notThere[0] !== undefined) throw missingEntity(notThere[0]);
        for (const change of notThere) stuckHere.set(laneOf(change), change.seq);
        missing.push(...notThere);
      }
      if (missing.length === 0) await context.session.run('SET CONSTRAINTS ALL IMMEDIATE');
    });
  } catch (thrown) {
    return { thrown };
  }
  draft.include(tried);
  for (const change of missing) await fail(context, change, missingEntity(change), stuck, draft);
  for (const change of changes) {
    const blockedBy = stuck.get(laneOf(change));
    const done = tried.changes.has(change.seq) || missing.includes(change);
    if (!done && blockedBy !== undefined) await block(context, change, blockedBy, null, stuck, draft);
  }
  return undefined;
}

/** A list with a change that is unfit is never tried in bulk: the one at fault must come to stand alone. */
function stepsOf(changes: readonly Change[], entityTypes: EntityTypes): Step[] {
  for (const change of changes) {
    const unfit = checkApplicable(change, entityTypes);
    if (unfit !== undefined) throw unfit;
  }
  return planSteps(changes, entityTypes);
}

/** Runs one statement; gives the changes whose entity to update is not there. */
async function runStep(context: ApplyContext, step: Step, stuck: StuckLanes, draft: CommitDraft): Promise<Change[]> {
  const changes = step.changes.filter((change) => !stuck.has(laneOf(change)));
  if (changes.length === 0) return [];
  const { type } = step;
  const bySeq = new Map(changes.map((change) => [change.seq, change]));
  const seqs = `{${changes.map((change) => change.seq).join(',')}}`;
  const ids = changes.map((change) => change.entityId);
  switch (step.operation) {
    case 'insert': {
      const sql = bulkInsert(type, step.keys);
      const rows = await context.session.runList<InsertedRow>(sql, [seqs, aimAt(type, 'INSERT', ids), context.now]);
      for (const { seq, result } of rows) {
        const change = markApplied(context, bySeq, seq, draft);
        const entity = result ?? change?.data ?? {};
        draft.entityInserted(type.entityType, String(entity[type.key]), entity);
      }
      break;
    }
    case 'update': {
      const rows = await context.session.runList<[seq: number, entity: Entity]>(bulkUpdate(type), [
        seqs,
        aimAt(type, 'UPDATE', ids),
        context.now,
      ]);
      for (const [seq, entity] of rows) {
        draft.entityUpdated(type.entityType, String(entity[type.key]), entity);
        markApplied(context, bySeq, seq, draft);
      }
      break;
    }
    case 'delete': {
      const rows = await context.session.runList<DeletedRow>(bulkDelete(type), [
        seqs,
        aimAt(type, 'DELETE', ids),
        context.now,
      ]);
      for (const { seq, deleted } of rows) {
        const change = markApplied(context, bySeq, seq, draft);
        if (deleted && change !== undefined) draft.entityDeleted(type.entityType, change.entityId);
      }
      break;
    }
  }
  return [...bySeq.values()];
}

interface InsertedRow {
  readonly [column: string]: unknown;
  readonly seq: number;
  /** The entity, where it is not what the change's data says. */
  readonly result: Entity | null;
}

interface DeletedRow {
  readonly [column: string]: unknown;
  readonly seq: number;
  readonly deleted: boolean;
}

function markApplied(
  context: ApplyContext,
  bySeq: Map<number, Change>,
  seq: number,
  draft: CommitDraft,
): Change | undefined {
  const change = bySeq.get(seq);
  if (change === undefined) return undefined;
  bySeq.delete(seq);
  draft.moved(change.status, {
    ...change,
    status: 'applied',
    processedLocal: true,
    appliedAt: context.now,
    error: null,
    failure: null,
    blockedBy: null,
    nextAttemptAt: null,
    reason: null,
  });
  return change;
}

function missingEntity(change: Change): ChangeFailure {
  return new ChangeFailure(
    'MISSING_ENTITY',
    `There is no ${change.entityType} "${change.entityId}" to update. Insert it first, or discard this change.`,
  );
}

/** Writes down why one change was not applied, and lets its lane wait. */
async function fail(
  context: ApplyContext,
  change: Change,
  thrown: unknown,
  stuck: StuckLanes,
  draft: CommitDraft,
): Promise<void> {
  if (thrown instanceof SqlError && isTransient(thrown.sqlState) && isWholeDatabase(thrown)) throw thrown;
  const parent = missingParent(change, context.entityTypes, thrown);
  const described = describeFailure(change, context.entityTypes.get(change.entityType), thrown, context.now);
  const failure: Failure =
    parent === undefined
      ? described
      : {
          ...described,
          message: describeMissing(change, parent),
          column: parent.column,
          awaits: { entityType: parent.entityType, entityId: parent.entityId },
        };
  const waitingParent = parent === undefined ? undefined : await findWaitingInsert(context.session, parent);
  if (waitingParent !== undefined && waitingParent !== change.seq) {
    await block(context, change, waitingParent, { ...failure, kind: 'blocked' }, stuck, draft);
    return;
  }
  const attempts = change.attempts + 1;
  const retryAt = failure.kind === 'transient' ? context.schedule.nextAttemptAt(attempts, context.now) : null;
  const settled: Failure =
    retryAt === null && failure.kind === 'transient' ? { ...failure, kind: 'permanent' } : failure;
  const [row] = await context.session.run<{ was: ChangeStatus }>(
    `UPDATE local_changes SET error = $2, failure = $3::jsonb, attempts = $4, next_attempt_at = $5, blocked_by = NULL
     WHERE seq = $1 RETURNING old.status AS was`,
    [change.seq, failure.message, { ...settled }, attempts, retryAt],
  );
  const failed = {
    ...change,
    status: retryAt === null ? ('failed' as const) : ('retrying' as const),
    error: failure.message,
    failure: settled,
    attempts,
    nextAttemptAt: retryAt,
    blockedBy: null,
  };
  draft.moved(row?.was ?? change.status, { ...failed, reason: reasonFor(failed, { now: context.now, paused: false }) });
  await blockLane(context, failed, stuck, draft);
}

/** A full or failing disk is nobody's change's fault: the batch as a whole is given up and tried again. */
function isWholeDatabase(error: SqlError): boolean {
  return error.sqlState.startsWith('53') || error.sqlState.startsWith('58');
}

async function findWaitingInsert(
  session: Session,
  parent: { readonly entityType: string; readonly entityId: string },
): Promise<number | undefined> {
  const [row] = await session.run<{ seq: number }>(
    `SELECT seq FROM local_changes c WHERE entity_type = $1 AND entity_id = $2 AND operation = 'insert'
       AND status IN ('pending', 'retrying', 'failed', 'conflicted', 'blocked') AND ${isLocalStage('c')} ORDER BY seq LIMIT 1`,
    [parent.entityType, parent.entityId],
  );
  return row?.seq;
}

async function block(
  context: ApplyContext,
  change: Change,
  blockedBy: number,
  failure: Failure | null,
  stuck: StuckLanes,
  draft: CommitDraft,
): Promise<void> {
  const [row] = await context.session.run<{ was: ChangeStatus }>(
    `UPDATE local_changes SET blocked_by = $2, failure = $3::jsonb, error = NULL, next_attempt_at = NULL
     WHERE seq = $1 RETURNING old.status AS was`,
    [change.seq, blockedBy, failure === null ? null : { ...failure }],
  );
  const blocked = { ...change, status: 'blocked' as const, blockedBy, failure, error: null, nextAttemptAt: null };
  draft.moved(row?.was ?? change.status, {
    ...blocked,
    reason: reasonFor(blocked, { now: context.now, paused: false }),
  });
  await blockLane(context, blocked, stuck, draft);
}

/** Everything later in the lane waits for the lane's first stuck change. */
async function blockLane(context: ApplyContext, head: Change, stuck: StuckLanes, draft: CommitDraft): Promise<void> {
  const lane = laneOf(head);
  if (stuck.has(lane)) return;
  stuck.set(lane, head.seq);
  await moveChanges(
    context.session,
    {
      from: 'pending',
      set: 'blocked_by = $3',
      where: 'c.entity_type = $1 AND c.entity_id = $2 AND c.seq > $3',
      params: [head.entityType, head.entityId, head.seq],
    },
    draft,
    { now: context.now, paused: false },
  );
}

/** Lets go what waited for the changes that are done now: blocked ones, and failed ones whose parent has appeared. */
async function releaseWaiting(context: ApplyContext, draft: CommitDraft): Promise<void> {
  if (context.stuck === 0 && [...draft.changes.values()].every((change) => change.status === 'applied')) return;
  const done = [...draft.changes.values()].filter((change) => change.status === 'applied');
  const { session, now } = context;
  await releaseBlocked(
    session,
    done.map((change) => change.seq),
    draft,
    now,
  );
  await retryAwaiting(
    session,
    done.filter((change) => change.operation === 'insert'),
    draft,
    now,
  );
}

/** Changes blocked by the given ones may go on: pending again, or applied and waiting to be pushed. */
export async function releaseBlocked(
  session: Session,
  seqs: readonly number[],
  draft: CommitDraft,
  now: number,
): Promise<void> {
  if (seqs.length === 0) return;
  const params = [`{${seqs.join(',')}}`];
  for (const stage of [isLocalStage('c'), isPushStage('c')]) {
    const where = `c.blocked_by = ANY($1::bigint[]) AND ${stage}`;
    const move = { from: 'blocked' as const, set: 'blocked_by = NULL, failure = NULL', where, params };
    await moveChanges(session, move, draft, { now, paused: false });
  }
}

/**
 * Changes that failed because an entity was missing are tried again once it has appeared, and so are those that wait for
 * one of its inserts, whichever way it came.
 */
export async function retryAwaiting(
  session: Session,
  appeared: readonly { readonly entityType: string; readonly entityId: string }[],
  draft: CommitDraft,
  now: number,
): Promise<void> {
  if (appeared.length === 0) return;
  const names = appeared.map(({ entityType, entityId }) => ({ t: entityType, e: entityId }));
  const move = {
    from: 'failed' as const,
    set: 'error = NULL, failure = NULL, attempts = 0',
    using: 'jsonb_to_recordset($1::jsonb) AS a(t text, e text)',
    where: `c.failure->'awaits'->>'entityType' = a.t AND c.failure->'awaits'->>'entityId' = a.e`,
    params: [names],
  };
  await moveChanges(session, move, draft, { now, paused: false });
  // Looked up from the inserts on: however many wait behind other changes, they are not read.
  const inserts = await session.run<{ seq: number }>(
    `SELECT p.seq FROM jsonb_to_recordset($1::jsonb) AS a(t text, e text)
     CROSS JOIN LATERAL (SELECT l.seq FROM local_changes l
       WHERE l.entity_type = a.t AND l.entity_id = a.e AND l.operation = 'insert' OFFSET 0) p
     WHERE EXISTS (SELECT FROM local_changes c WHERE c.blocked_by = p.seq)`,
    [names],
  );
  if (inserts.length === 0) return;
  const waiting = {
    from: 'blocked' as const,
    set: 'blocked_by = NULL, failure = NULL',
    where: `c.blocked_by = ANY($1::bigint[]) AND c.failure->'awaits' IS NOT NULL AND ${isLocalStage('c')}`,
    params: [asArray(inserts.map(({ seq }) => seq))],
  };
  await moveChanges(session, waiting, draft, { now, paused: false });
}
