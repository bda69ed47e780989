// Applies waiting changes: woken by commits and by the time of the next attempt, never by polling. One batch at a time;
// each batch is applied and marked in one transaction, so a kill at any instant leaves both or neither.
import type { Change } from '../protocol/changes.ts';
import { applyChanges } from './apply-changes.ts';
import { type ChangeRow, isLocalStage, lightColumns, pendingColumns, pendingRow, toChange } from './change-row.ts';
import { CommitDraft, type CommitLog } from './commit-log.ts';
import type { Clock } from './clock.ts';
import type { Database, Session } from './database.ts';
import type { EntityTypes } from './entity-types.ts';
import { moveChanges } from './move-changes.ts';
import type { RetrySchedule } from './retry-schedule.ts';

export interface ProcessorParts {
  readonly database: Database;
  readonly entityTypes: EntityTypes;
  readonly commits: CommitLog;
  readonly schedule: RetrySchedule;
  readonly clock: Clock;
  /** Changes taken at a time. */
  readonly batchSize: number;
  /** Sets what captured rows are recorded with; called first in every transaction. */
  readonly beginTransaction: (session: Session) => Promise<void>;
  readonly afterCommit: (session: Session) => Promise<void>;
  readonly onError: (error: unknown) => void;
}

export const DEFAULT_BATCH_SIZE = 1_000;
const BATCH_BYTES = 2 * 1024 * 1024;

export class ChangeProcessor {
  readonly #parts: ProcessorParts;
  #started = false;
  #running: Promise<void> | undefined;
  #wokenMeanwhile = false;
  #cancelTimer: (() => void) | undefined;
  #failedRuns = 0;

  constructor(parts: ProcessorParts) {
    this.#parts = parts;
  }

  get started(): boolean {
    return this.#started;
  }

  startChangeProcessor(): void {
    if (this.#started) return;
    this.#started = true;
    this.#parts.commits.setProcessor('idle');
    this.wake();
  }

  /** Finishes the batch under way; what waits stays as it is. */
  async stopChangeProcessor(): Promise<void> {
    this.#started = false;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    await this.#running;
    this.#parts.commits.setProcessor('stopped');
  }

  /** Something may have become ready: a commit, a repair, the time of a retry. */
  wake(): void {
    if (!this.#started) return;
    if (this.#running !== undefined) {
      this.#wokenMeanwhile = true;
      return;
    }
    this.#run(() => this.#started);
  }

  /** Makes every waiting retry due and runs until nothing can run, also while stopped. */
  async processNow(): Promise<void> {
    const { database, clock, commits } = this.#parts;
    const draft = new CommitDraft();
    const now = clock.now();
    const move = { from: 'retrying' as const, set: 'next_attempt_at = $1', where: isLocalStage('c'), params: [now] };
    await database.exclusive((session) => moveChanges(session, move, draft, { now, paused: !this.#started }));
    commits.publish(draft);
    while (this.#running !== undefined) await this.#running;
    // Only what is due by now: a change that fails again waits for its time, or this would never end.
    this.#run(() => true, now);
    await this.whenIdle();
  }

  async whenIdle(): Promise<void> {
    // A wake in the same turn starts its run at once, so looking at the run is enough.
    while (this.#running !== undefined) await this.#running;
  }

  #run(mayGoOn: () => boolean, dueBy?: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const run = this.#drain(mayGoOn, dueBy).then(
      () => this.#ended(undefined),
      (error: unknown) => this.#ended({ error }),
    );
    this.#running = run;
  }

  #ended(failure: { readonly error: unknown } | undefined): void {
    const { commits, schedule, onError } = this.#parts;
    this.#running = undefined;
    if (failure !== undefined) {
      this.#failedRuns += 1;
      onError(failure.error);
      if (this.#started) this.#wakeAfter(schedule.delay(this.#failedRuns));
    } else {
      this.#failedRuns = 0;
      if (this.#wokenMeanwhile) {
        this.#wokenMeanwhile = false;
        this.wake();
      }
    }
    if (this.#running === undefined) commits.setProcessor(this.#started ? 'idle' : 'stopped');
  }

  async #drain(mayGoOn: () => boolean, dueBy: number | undefined): Promise<void> {
    // Lets calls that arrived together get in before the batch, and the caller of `wake` go on.
    await Promise.resolve();
    while (mayGoOn()) {
      this.#wokenMeanwhile = false;
      const done = await this.#parts.database.exclusive((session) => this.#runBatch(session, dueBy));
      if (done === 0 && !this.#wokenMeanwhile) break;
    }
    if (this.#started) await this.#armTimer();
  }

  /** Gives how many changes were taken. */
  async #runBatch(session: Session, dueBy: number | undefined): Promise<number> {
    const { entityTypes, schedule, clock, commits, beginTransaction, afterCommit } = this.#parts;
    const now = clock.now();
    if (commits.counts.pending === 0 && commits.counts.retrying === 0) return 0;
    const { batch, settles } = await this.#takeBatch(session, now, dueBy ?? now);
    if (batch.length === 0) return 0;
    commits.setProcessor('processing');
    const draft = await session.transaction(async () => {
      await beginTransaction(session);
      const held = new CommitDraft();
      const runnable = commits.stuck === 0 ? batch : await this.#holdBehindStuck(session, batch, held, now);
      held.include(await applyChanges({ session, entityTypes, schedule, now, stuck: commits.stuck }, runnable));
      return held;
    });
    commits.settledUpTo = Math.max(commits.settledUpTo, settles);
    commits.publish(draft);
    await afterCommit(session);
    return batch.length;
  }

  /** The batch, and the `seq` up to which nothing is pending once it is done. */
  async #takeBatch(
    session: Session,
    now: number,
    dueBy: number,
  ): Promise<{ readonly batch: Change[]; readonly settles: number }> {
    const { schedule } = this.#parts;
    const columns = lightColumns('c');
    // A clock that stepped back must not make a retry wait longer than the cap.
    const beyondCap = now + schedule.limits.maxDelayMs;
    const lists = await session.runList<unknown[]>(
      `SELECT json_agg(json_build_array(${pendingColumns('c')}) ORDER BY c.seq) AS rows FROM (
         SELECT p.*, sum(p.bytes) OVER (ORDER BY p.seq ROWS UNBOUNDED PRECEDING) - p.bytes AS bytes_before
         FROM (SELECT ${pendingColumns('l')}, coalesce(pg_column_size(l.data), 0) AS bytes FROM local_changes l
               WHERE l.status = 'pending' AND l.seq > $1 ORDER BY l.seq LIMIT ${this.#parts.batchSize}) p) c
       WHERE c.bytes_before < ${BATCH_BYTES}`,
      [this.#parts.commits.settledUpTo],
    );
    const pending = lists.map(pendingRow);
    const due =
      this.#parts.commits.counts.retrying === 0
        ? []
        : await session.run<ChangeRow>(
            `SELECT ${columns} FROM local_changes c WHERE c.status = 'retrying' AND ${isLocalStage('c')} AND (c.next_attempt_at <= $1 OR c.next_attempt_at > $2)
             ORDER BY c.seq LIMIT ${this.#parts.batchSize}`,
            [dueBy, beyondCap],
          );
    const rows = await this.#completeTransactions(session, [...due, ...pending]);
    const batch = rows.sort((a, b) => a.seq - b.seq).map((row) => toChange(row, { now, paused: false }));
    return { batch, settles: pending.at(-1)?.seq ?? 0 };
  }

  /** A batch's edge must not cut a transaction. */
  async #completeTransactions(session: Session, rows: ChangeRow[]): Promise<ChangeRow[]> {
    const transactions = [...new Set(rows.map((row) => row.transaction_id).filter((id) => id !== null))];
    if (transactions.length === 0) return rows;
    const members = await session.run<ChangeRow>(
      `SELECT ${lightColumns('c')} FROM local_changes c
       WHERE c.transaction_id IN (SELECT jsonb_array_elements_text($1::jsonb)) AND c.status IN ('pending', 'retrying', 'blocked') AND ${isLocalStage('c')}`,
      [transactions],
    );
    return [...new Map([...rows, ...members].map((row) => [row.seq, row])).values()];
  }

  /** New changes of a lane that is stuck wait there; one blocked lane never holds up another. */
  async #holdBehindStuck(
    session: Session,
    batch: readonly Change[],
    draft: CommitDraft,
    now: number,
  ): Promise<Change[]> {
    const inBatch = new Set(batch.map((change) => change.seq));
    const lanes = batch.map((change) => ({ seq: change.seq, t: change.entityType, e: change.entityId }));
    const behind = await session.run<{ seq: number; head: number }>(
      `SELECT b.seq, s.seq AS head FROM jsonb_to_recordset($1::jsonb) AS b(seq bigint, t text, e text)
       CROSS JOIN LATERAL (
         SELECT w.seq FROM local_changes w WHERE w.entity_type = b.t AND w.entity_id = b.e AND w.seq < b.seq
           AND w.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${isLocalStage('w')}
         ORDER BY w.seq LIMIT 1) s`,
      [lanes],
    );
    const heads = new Map(behind.filter(({ head }) => !inBatch.has(head)).map(({ seq, head }) => [seq, head]));
    if (heads.size === 0) return [...batch];
    const held = [...heads].map(([seq, head]) => ({ s: seq, h: head }));
    await moveChanges(
      session,
      {
        from: 'pending',
        set: 'blocked_by = h.h',
        using: 'jsonb_to_recordset($1::jsonb) AS h(s bigint, h bigint)',
        where: 'c.seq = h.s',
        params: [held],
      },
      draft,
      { now, paused: false },
    );
    const heldTransactions = new Set(
      batch.filter(({ seq }) => heads.has(seq)).map(({ transactionId }) => transactionId),
    );
    heldTransactions.delete(null);
    return batch.filter(({ seq, transactionId }) => !heads.has(seq) && !heldTransactions.has(transactionId));
  }

  async #armTimer(): Promise<void> {
    const { database, clock, commits, schedule } = this.#parts;
    if (commits.counts.retrying === 0) return;
    const [row] = await database.exclusive((session) =>
      session.run<{ next: number | null }>(
        `SELECT min(next_attempt_at) AS next FROM local_changes c WHERE status = 'retrying' AND ${isLocalStage('c')}`,
      ),
    );
    if (row?.next === null || row?.next === undefined) return;
    this.#wakeAfter(Math.min(schedule.limits.maxDelayMs, Math.max(0, row.next - clock.now())));
  }

  #wakeAfter(milliseconds: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#parts.clock.setTimer(() => {
      this.#cancelTimer = undefined;
      this.wake();
    }, milliseconds);
  }
}
