// Sends what waits, batch after batch, one push at a time. Its states: it takes a batch, sends it, writes the answer down,
// and waits for more; a batch that fails is given back whole. It acknowledges only what it sent.
import type { Change } from '../protocol/changes.ts';
import type { PushResponse } from '../protocol/sync.ts';
import { isPushStage } from '../db/change-row.ts';
import { readBases } from '../db/entity-bases.ts';
import { addInDoubt, readInDoubt, settleDoubt } from '../db/in-doubt.ts';
import { RetrySchedule } from '../db/retry-schedule.ts';
import type { Accepted } from './accepted-unseen.ts';
import { putOrSetAside } from './apply-feed.ts';
import { onceLeft } from './once-left.ts';
import { type PushBatch, type PushLimits, type QueuedChange, takePushBatch } from './push-batch.ts';
import { failPush, isAccepted, settlePush } from './settle-push.ts';
import { setBinding } from './sync-binding.ts';
import type { SyncLedger } from './sync-ledger.ts';
import { type SyncTransport, TransportError } from './transport.ts';
import { Wake } from './wake.ts';

/** Changes of a push, at most, and their bytes; a server may allow less. */
const PUSH_LIMITS = { changes: 1_000, bytes: 4 * 1024 * 1024 } as const satisfies PushLimits;
/** Milliseconds. */
const PUSH_TIMEOUT = 60_000;

/** A batch whose sending failed in a way that may be its own fault. */
interface FailedPush {
  readonly seqs: readonly number[];
  readonly units: number;
  readonly times: number;
  readonly error: TransportError;
}

export class PushLoop {
  readonly #ledger: SyncLedger;
  readonly #schedule: RetrySchedule;
  readonly #wake: Wake;
  /** Nothing that may go waits at or below this `seq`. */
  #upTo = 0;
  /** Taken for a push whose answer is not written down yet: never taken a second time. */
  readonly #inFlight = new Set<number>();
  #limits: PushLimits = PUSH_LIMITS;
  /** Less than that while a batch is narrowed to what is at fault. */
  #limit: number = PUSH_LIMITS.changes;
  #failed: FailedPush | undefined;

  constructor(ledger: SyncLedger) {
    const { clock, random, retry } = ledger.parts;
    this.#ledger = ledger;
    this.#schedule = new RetrySchedule(retry, random);
    this.#wake = new Wake(clock);
  }

  get isIdle(): boolean {
    return this.#ledger.waiting === 0 && this.#inFlight.size === 0;
  }

  /** More waits behind the push that is under way than a push can take. */
  get isLong(): boolean {
    return this.#inFlight.size > 0 && this.#ledger.waiting > PUSH_LIMITS.changes;
  }

  wake(): void {
    this.#wake.wake();
  }

  /** What the server says it takes; half of a body is left for everything beside the data. */
  takeAtMost({ changes, bodyBytes }: { readonly changes: number; readonly bodyBytes: number }): void {
    this.#limits = {
      changes: Math.min(PUSH_LIMITS.changes, changes),
      bytes: Math.min(PUSH_LIMITS.bytes, Math.floor(bodyBytes / 2)),
    };
    this.#limit = Math.min(this.#limit, this.#limits.changes);
  }

  /** Where the queue begins, and how much of it stays here; both found by the index of what is not synced. */
  async prepare(): Promise<void> {
    const ledger = this.#ledger;
    const [row] = await ledger.parts.read((session) =>
      session.run<{ first: number | null; kept: number }>(
        `SELECT min(c.seq) AS first, count(*) FILTER (WHERE c.entity_type IN (SELECT jsonb_array_elements_text($1::jsonb))) AS kept
         FROM local_changes c WHERE c.processed_sync = false AND c.status = 'applied'`,
        [JSON.stringify(ledger.localOnlyTypes())],
      ),
    );
    this.#upTo = row?.first === null || row?.first === undefined ? 0 : row.first - 1;
    ledger.localOnlyWaiting = row?.kept ?? 0;
    ledger.troubles.markStale();
  }

  /** Somebody wrote the changes table itself: what waits may begin anywhere by now. */
  async lookAgain(): Promise<void> {
    const [row] = await this.#ledger.parts.read((session) =>
      session.run<{ first: number | null }>(
        `SELECT min(c.seq) AS first FROM local_changes c WHERE c.processed_sync = false AND c.status = 'applied'`,
      ),
    );
    if (row?.first === null || row?.first === undefined) return;
    this.#release(row.first);
    this.wake();
  }

  noteCommitted(change: Change): void {
    if (change.status !== 'applied' || change.origin === 'remote') return;
    if (this.#ledger.isLocalOnly(change.entityType)) this.#ledger.noteLocalOnly();
    else this.#release(change.seq);
  }

  /** Ends by the signal, or rejects with what failed. */
  async run(signal: AbortSignal, transport: SyncTransport): Promise<void> {
    let settling: Promise<void> = Promise.resolve();
    let prepared: PushBatch | undefined;
    try {
      while (!signal.aborted) {
        const seen = this.#wake.count;
        const batch: PushBatch = prepared ?? (await this.#take());
        prepared = undefined;
        if (batch.changes.length === 0) {
          await settling;
          if (batch.more) continue;
          // Also where what had been taken was given back, and waits behind a refused change now.
          this.#ledger.show({ inFlight: this.#inFlight.size });
          await this.#wake.waitBeyond(seen, signal, await this.#untilNextRetry());
          continue;
        }
        const [response, next] = await this.#sendAndPrepare(batch, signal, transport);
        await settling;
        const settle = (): Promise<void> => this.#settle(batch, response);
        // Before anything else is taken: what the answer does not settle is to be found then.
        settling = next === undefined ? settle() : onceLeft(settle);
        // It is waited for once the next push is answered, and may fail before.
        settling.catch(() => undefined);
        // Nothing in the next can have to wait for what was accepted: it leaves while the answer is written down.
        if (isAllAccepted(response, batch)) prepared = next;
        else {
          await settling;
          if (next !== undefined) await this.#giveBack(next.queued, 'never-sent');
        }
      }
    } finally {
      try {
        await settling;
        if (prepared !== undefined) await this.#giveBack(prepared.queued, 'never-sent');
      } finally {
        this.#endFlight();
      }
    }
  }

  /** What the server refused for a while is tried at once. */
  async makeRetriesDue(): Promise<void> {
    const { parts } = this.#ledger;
    await parts.write((session) =>
      session.run(
        `UPDATE local_changes c SET next_attempt_at = $1 WHERE c.status = 'retrying' AND ${isPushStage('c')}`,
        [parts.clock.now()],
      ),
    );
    this.#wake.wake();
  }

  /** The server answers, and yet this batch keeps failing: it is halved until the change at fault stands alone. */
  async judgeFailed(): Promise<void> {
    const failed = this.#failed;
    if (failed === undefined) return;
    const isTooLarge = failed.error.kind === 'too-large';
    if (!isTooLarge && failed.times < 2) return;
    this.#failed = undefined;
    const [only] = failed.seqs;
    if (failed.units > 1) this.#limit = Math.max(1, Math.floor(failed.seqs.length / 2));
    else if (only !== undefined) await this.#spendAttempt(only, failed.error);
  }

  #take(): Promise<PushBatch> {
    const ledger = this.#ledger;
    return ledger.write(async (context) => {
      const { session, draft, now, entityTypes } = context;
      const taken = await takePushBatch(
        {
          session,
          entityTypes,
          draft,
          now,
          localOnly: ledger.localOnlyTypes(),
          stuck: ledger.troubles.counts.stuck,
          inDoubt: await readInDoubt(session),
          inFlight: this.#inFlight,
          limits: this.#limits,
        },
        this.#upTo,
        this.#limit,
      );
      // Another client may have made the same entity meanwhile.
      const bases = await readBases(session, taken.cancelled);
      if (bases.size > 0) await putOrSetAside(context, [...bases.values()], context.version);
      const seqs = taken.queued.map(({ seq }) => seq);
      if (seqs.length > 0) await addInDoubt(session, seqs);
      for (const seq of seqs) this.#inFlight.add(seq);
      // Within the turn on the session: what is released by a later commit comes after it.
      this.#upTo = taken.upTo;
      return taken;
    });
  }

  async #sendAndPrepare(
    batch: PushBatch,
    signal: AbortSignal,
    transport: SyncTransport,
  ): Promise<[PushResponse, PushBatch | undefined]> {
    const ledger = this.#ledger;
    const { client_id: clientId, epoch, cursor } = ledger.requireBinding();
    ledger.show({ inFlight: batch.queued.length });
    const asked = ledger.ask(PUSH_TIMEOUT, signal, (call) =>
      transport.push({ clientId, epoch, cursor, changes: batch.changes }, call),
    );
    let next: PushBatch | undefined;
    const preparing = batch.more ? onceLeft(() => this.#take()).then((taken) => (next = taken)) : Promise.resolve();
    preparing.catch(() => undefined);
    try {
      const response = await asked;
      this.#noteUnseen(batch, response);
      await preparing;
      return [response, next];
    } catch (error) {
      await preparing.catch(() => undefined);
      if (next !== undefined) await this.#giveBack(next.queued, 'never-sent');
      await this.#giveBack(batch.queued, neverArrived(error) ? 'never-sent' : 'in-doubt');
      if (error instanceof TransportError && !signal.aborted && isAboutBatch(error)) this.#noteFailed(batch, error);
      throw error;
    }
  }

  /** What was taken may be taken again; where it may have arrived, that stays written down until an answer comes. */
  async #giveBack(queued: readonly QueuedChange[], as: 'never-sent' | 'in-doubt'): Promise<void> {
    const ledger = this.#ledger;
    const seqs = queued.map(({ seq }) => seq);
    for (const seq of seqs) this.#inFlight.delete(seq);
    const [first] = seqs;
    if (first === undefined) return;
    this.#release(first);
    const before = new Set(queued.filter(({ wasInDoubt }) => wasInDoubt).map(({ seq }) => seq));
    const settled = seqs.filter((seq) => !before.has(seq));
    if (as === 'never-sent' && settled.length > 0 && !ledger.isClosed)
      await ledger.parts.write((session) => settleDoubt(session, settled));
  }

  /** Whatever went wrong, nothing is under way once the loop has ended: what is left of it is taken again. */
  #endFlight(): void {
    for (const seq of this.#inFlight) this.#release(seq);
    this.#inFlight.clear();
  }

  async #settle(batch: PushBatch, response: PushResponse): Promise<void> {
    const ledger = this.#ledger;
    const { clock } = ledger.parts;
    try {
      const outcome = await ledger.write(async (context) => {
        const settled = await settlePush(context, batch.queued, batch.changes, response);
        if (settled.accepted > 0) await setBinding(context.session, { last_push_at: context.now });
        return settled;
      });
      this.#failed = undefined;
      this.#limit = Math.min(this.#limits.changes, this.#limit * 2);
      ledger.accepted(outcome.accepted);
      if (outcome.lowestLeft !== undefined) this.#release(outcome.lowestLeft);
      if (outcome.accepted > 0) ledger.show({ lastPushAt: clock.now() });
    } catch (error) {
      const [first] = batch.queued;
      if (first !== undefined) this.#release(first.seq);
      throw error;
    } finally {
      for (const { seq } of batch.queued) this.#inFlight.delete(seq);
      ledger.show({ inFlight: this.#inFlight.size });
    }
  }

  /** Throws where the answer cannot be from the history that accepted what was sent before. */
  #noteUnseen({ changes }: PushBatch, { results }: PushResponse): void {
    const { unseen, binding } = this.#ledger;
    const accepted = results.flatMap((result, index): Accepted[] => {
      if (!isAccepted(result)) return [];
      const { outcome, id, version } = result;
      // A delete of what was not there has the version of another change.
      const isNews = version > (binding?.version ?? 0) && changes[index]?.operation !== 'delete';
      return isNews ? [{ id, version, isDuplicate: outcome === 'duplicate' }] : [];
    });
    if (!unseen.add(accepted))
      throw new TransportError('history-changed', 'The server gives versions that it has given before.');
  }

  #noteFailed({ queued, units }: PushBatch, error: TransportError): void {
    const seqs = queued.map(({ seq }) => seq);
    const before = this.#failed;
    const isSame = before?.seqs.length === seqs.length && before.seqs[0] === seqs[0];
    this.#failed = { seqs, units, error, times: (isSame ? before.times : 0) + 1 };
  }

  async #spendAttempt(seq: number, error: TransportError): Promise<void> {
    await this.#ledger.write(async (context) => {
      const [row] = await context.session.run<{ attempts: number }>(
        `SELECT attempts FROM local_changes WHERE seq = $1`,
        [seq],
      );
      const attempts = (row?.attempts ?? 0) + 1;
      const next = error.kind === 'too-large' ? null : this.#schedule.nextAttemptAt(attempts, context.now);
      const { status, code } = error.details;
      const failure = {
        stage: 'push' as const,
        kind: next === null ? ('permanent' as const) : ('transient' as const),
        code: code ?? String(status ?? error.kind),
        message: `Sending it failed while the server answers otherwise: ${error.message}`,
        at: context.now,
      };
      await failPush(context, seq, failure, attempts, next);
    });
  }

  async #untilNextRetry(): Promise<number | undefined> {
    const { commits, clock, retry, read } = this.#ledger.parts;
    if (commits.counts.retrying === 0) return undefined;
    const [row] = await read((session) =>
      session.run<{ next: number | null }>(
        `SELECT min(next_attempt_at) AS next FROM local_changes c WHERE c.status = 'retrying' AND ${isPushStage('c')}`,
      ),
    );
    if (row?.next === null || row?.next === undefined) return undefined;
    return Math.min(retry.maxDelayMs, Math.max(0, row.next - clock.now()));
  }

  /** It must be looked at again. */
  #release(seq: number): void {
    this.#upTo = Math.min(this.#upTo, seq - 1);
  }
}

function isAllAccepted({ results }: PushResponse, { queued }: PushBatch): boolean {
  return results.length === queued.length && results.every(isAccepted);
}

function neverArrived(error: unknown): boolean {
  return error instanceof TransportError && !error.mayHaveTakenEffect;
}

/** Failures that may be this batch's own fault. */
function isAboutBatch({ kind }: TransportError): boolean {
  return (
    kind === 'too-large' ||
    kind === 'overloaded' ||
    kind === 'timed-out' ||
    kind === 'not-understood' ||
    kind === 'unreachable'
  );
}
