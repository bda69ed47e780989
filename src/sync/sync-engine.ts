// Keeps a database in step with a server: one task makes contact, takes a snapshot where one is needed, and then runs push
// and pull side by side until one of them fails; then it waits, by the kind of the failure, and begins again. It never
// acknowledges what it did not send, never moves a base by an answer, and every wait ends by time, by a wake or by close.
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { PullResponse, PushResponse, SpaceInfo } from '../protocol/sync.ts';
import {
  type ConflictPolicy,
  type ConnectOptions,
  type LocalDataSync,
  NO_SYNC,
  type NetworkConditions,
  type Receipt,
  type Resolve,
  type SyncRules,
  type SyncState,
  type SyncStatus,
  type VerifyReport,
} from '../protocol/sync-state.ts';
import { listChanges, requireChange } from '../db/changes-table.ts';
import { isLocalStage, isPushStage } from '../db/change-row.ts';
import type { Clock } from '../db/clock.ts';
import type { CommitDraft, CommitLog } from '../db/commit-log.ts';
import type { Session } from '../db/database.ts';
import { readBases } from '../db/entity-bases.ts';
import type { EntityTypes } from '../db/entity-types.ts';
import { type RetryLimits, RetrySchedule } from '../db/retry-schedule.ts';
import { type RemoteContext, applyFeedPage, putOrSetAside, retrySetAside } from './apply-feed.ts';
import { type PushBatch, type QueuedChange, takePushBatch } from './push-batch.ts';
import { type SettleContext, failPush, resolveConflict, settlePush } from './settle-push.ts';
import {
  APPLYING_START,
  type ApplyingFrom,
  applySnapshotChunk,
  keepSnapshotPage,
  putRegistered,
  supersedeLocal,
} from './snapshot.ts';
import { type Binding, addInDoubt, bind, readBinding, readInDoubt, setBinding, settleDoubt } from './sync-binding.ts';
import { type OpenTransport, type SyncTransport, type TransportCall, TransportError } from './transport.ts';
import { verifyAgainstServer } from './verify.ts';
import { Wake } from './wake.ts';

export interface SyncParts {
  /** Runs alone on the session, in one transaction, and publishes the draft after its commit. */
  readonly write: <T>(work: (session: Session, draft: CommitDraft) => Promise<T>) => Promise<T>;
  readonly read: <T>(work: (session: Session) => Promise<T>) => Promise<T>;
  readonly entityTypes: EntityTypes;
  readonly commits: CommitLog;
  readonly clock: Clock;
  readonly random: () => number;
  readonly newId: () => string;
  readonly retry: RetryLimits;
  readonly openTransport: OpenTransport;
  /** Writes a copy of the database before a server's new history is taken over. */
  readonly backUp: () => Promise<void>;
  readonly onState: (state: SyncState) => void;
  readonly onError: (error: unknown) => void;
}

/** Milliseconds. */
const LIMITS = {
  info: 15_000,
  push: 60_000,
  pull: 30_000,
  snapshot: 60_000,
  /** Beyond what the server may wait by itself. */
  waitSeconds: 25,
  pageSize: 1_000,
  pushSize: 1_000,
} as const;

/** Milliseconds. */
const ECHO_PAUSE = 250;
const RECOUNT_AFTER = 50;

/** A server that was away is found again within the longest of these steps. */
const CONTACT_RETRY = { attempts: Infinity, baseDelayMs: 500, maxDelayMs: 10_000 } as const;

interface Contact {
  readonly url: string;
  readonly token: string;
  readonly space: string;
  readonly transport: SyncTransport;
}

/** What keeps contact from being made until a person, or time, does something. */
interface Obstacle {
  readonly status: SyncStatus;
  readonly reason: string;
  readonly error: LocalDataError;
}

export class SyncEngine implements LocalDataSync {
  readonly #parts: SyncParts;
  readonly #schedule: RetrySchedule;
  readonly #pushSchedule: RetrySchedule;
  #state: SyncState = NO_SYNC;
  #shown = JSON.stringify(NO_SYNC);
  #binding: Binding | undefined;
  #contact: Contact | undefined;
  #obstacle: Obstacle | undefined;
  #rules: SyncRules = {};
  #conditions: NetworkConditions | null = null;
  #running: Promise<void> | undefined;
  #closed = false;
  /** Ends the present session: its requests and its loops. */
  #session: AbortController | undefined;
  #isInContact = false;
  #failures = 0;
  /** Wakes the task from its wait between sessions. */
  readonly #retryNow: Wake;
  readonly #pushWake: Wake;
  /** Ends a long poll, so that the next pull answers at once. */
  #longPoll: AbortController | undefined;
  /** Pulls are numbered; the last that brought all the server had. */
  #pullsBegun = 0;
  #caughtUp = 0;
  /** The next pull is not to wait at the server. */
  #isPullWanted = false;
  /** Nothing that may go waits at or below this `seq`. */
  #pushedUpTo = 0;
  /** Taken for a push whose answer is not written down yet: never taken a second time. */
  readonly #inFlight = new Set<number>();
  #pushLimit: number = LIMITS.pushSize;
  #pullLimit: number = LIMITS.pageSize;
  #failedPush: { readonly seqs: readonly number[]; count: number; readonly error: TransportError } | undefined;
  #troubles = { refused: 0, conflicts: 0, setAside: 0, stuck: 0 };
  #troublesChanged = true;
  #cancelRecount: (() => void) | undefined;
  #localOnlyWaiting = 0;
  #applying: ApplyingFrom | undefined;
  readonly #acknowledged: { readonly at: number; readonly count: number }[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #stopListening: () => void;

  constructor(parts: SyncParts) {
    this.#parts = parts;
    this.#schedule = new RetrySchedule(CONTACT_RETRY, parts.random);
    this.#pushSchedule = new RetrySchedule(parts.retry, parts.random);
    this.#retryNow = new Wake(parts.clock);
    this.#pushWake = new Wake(parts.clock);
    this.#stopListening = parts.commits.listen((event) => {
      // Its own news.
      if (this.#binding === undefined || event.sync !== undefined) return;
      for (const change of event.changes) this.#noteCommitted(change);
      const { failed, retrying, conflicted, blocked } = event.counts;
      const { stuck, refused, conflicts, setAside } = this.#troubles;
      if (failed + retrying + conflicted + blocked + stuck + refused + conflicts + setAside > 0) this.#recountSoon();
      if (event.entityTypes !== undefined) void this.#putRegistered();
      if (event.counts.applied > 0) this.#pushWake.wake();
      this.#show({});
    });
  }

  /** Takes up what was left: a database that is bound waits for its token. */
  async start(): Promise<void> {
    this.#binding = await this.#parts.read(readBinding);
    if (this.#binding === undefined || !this.#binding.connected) return;
    const reason = 'Sign in: the token is needed again after a restart';
    this.#obstacle = obstacle('sign-in-needed', reason, 'SYNC_SIGN_IN_NEEDED');
    await this.#prepareQueue();
    this.#announce();
    this.#show({});
  }

  async connect(options: ConnectOptions): Promise<SyncState> {
    const space = options.space ?? spaceOfToken(options.token);
    await this.#endSession();
    const transport = this.#parts.openTransport({ url: options.url, token: options.token, space });
    this.#contact = { url: options.url, token: options.token, space, transport };
    try {
      const info = await this.#limited(LIMITS.info, new AbortController().signal, (call) => transport.info(call));
      await this.#bindTo(info, options);
    } catch (error) {
      if (this.#binding?.connected !== true) this.#contact = undefined;
      const failed = asConnectError(error, options.url);
      if (this.#contact !== undefined) this.#begin();
      throw failed;
    }
    this.#obstacle = undefined;
    this.#failures = 0;
    this.#announce();
    await this.#prepareQueue();
    this.#begin();
    await this.#until(() => this.#isInContact || this.#obstacle !== undefined);
    return this.#state;
  }

  async disconnect(): Promise<void> {
    await this.#endSession();
    this.#contact?.transport.close?.();
    this.#contact = undefined;
    this.#obstacle = undefined;
    await this.#parts.write((session) => setBinding(session, { connected: false }));
    this.#binding = await this.#parts.read(readBinding);
    this.#parts.commits.push = undefined;
    this.#show({});
  }

  async syncNow(): Promise<SyncState> {
    this.#requireBinding();
    await this.#makeRetriesDue();
    this.#retryNow.wake();
    await this.whenSynced();
    return this.#state;
  }

  async goOffline(): Promise<void> {
    this.#requireBinding();
    await this.#parts.write((session) => setBinding(session, { paused: true }));
    this.#binding = await this.#parts.read(readBinding);
    await this.#endSession();
    this.#show({});
  }

  async goOnline(): Promise<void> {
    this.#requireBinding();
    await this.#parts.write((session) => setBinding(session, { paused: false }));
    this.#binding = await this.#parts.read(readBinding);
    this.#failures = 0;
    if (this.#contact !== undefined) this.#begin();
    this.#show({});
  }

  async whenSynced(): Promise<void> {
    const binding = this.#requireBinding();
    if (binding.paused) throw new LocalDataError('SYNC_NOT_CONNECTED', 'You work offline. Go online first.');
    for (;;) {
      this.#pushWake.wake();
      await this.#untilOrEnded(() => this.#isLinked() && this.#waiting() === 0 && this.#inFlight.size === 0);
      // Only a pull that begins after the last change was accepted brings all of them back.
      const wanted = this.#pullsBegun + 1;
      this.#isPullWanted = true;
      this.#longPoll?.abort();
      await this.#untilOrEnded(() => this.#caughtUp >= wanted);
      if (this.#waiting() === 0 && this.#inFlight.size === 0) return;
    }
  }

  /** While in contact; throws where contact cannot be waited for. */
  async #untilOrEnded(isSo: () => boolean): Promise<void> {
    const isEnded = (): boolean =>
      this.#obstacle !== undefined || this.#binding?.paused === true || this.#binding?.connected !== true;
    await this.#until(() => isEnded() || (this.#isInContact && isSo()));
    if (this.#obstacle !== undefined) throw this.#obstacle.error;
    if (isEnded()) throw new LocalDataError('SYNC_NOT_CONNECTED', 'Contact with the server was ended.');
  }

  async state(): Promise<SyncState> {
    return this.#state;
  }

  async setRules(rules: SyncRules): Promise<void> {
    this.#rules = rules;
    if (this.#binding === undefined) return;
    await this.#prepareQueue();
    this.#pushWake.wake();
    this.#show({});
  }

  async setNetworkConditions(conditions: NetworkConditions | null): Promise<void> {
    this.#conditions = conditions;
    // Requests under way were begun under other conditions.
    this.#longPoll?.abort();
    this.#retryNow.wake();
    this.#show({});
  }

  /** For the transport that is wrapped by conditions. */
  get networkConditions(): NetworkConditions | null {
    return this.#conditions;
  }

  async verify(options: { readonly repair?: boolean } = {}): Promise<VerifyReport> {
    const { transport } = this.#requireContact();
    await this.whenSynced();
    const signal = this.#session?.signal ?? new AbortController().signal;
    const ask = <T>(call: (call: TransportCall) => Promise<T>): Promise<T> =>
      this.#limited(LIMITS.snapshot, signal, call);
    return verifyAgainstServer(
      {
        digest: () => ask((call) => transport.digest(call)),
        bucket: (bucket, page) => ask((call) => transport.bucket({ bucket, page }, call)),
        read: this.#parts.read,
        write: (work) => this.#write((context) => work(context)),
        isLocalOnly: (entityType) => this.#isLocalOnly(entityType),
        caughtUp: () => this.whenSynced(),
      },
      options.repair ?? false,
    );
  }

  async conflicts(): Promise<Change[]> {
    const context = { now: this.#parts.clock.now(), paused: false, push: this.#parts.commits.push };
    const page = await this.#parts.read((session) =>
      listChanges(session, { status: 'conflicted', limit: 1_000 }, context),
    );
    return page.changes;
  }

  async resolve(changeId: string, resolve: Resolve): Promise<Change> {
    const change = await this.#write((context) => resolveConflict(context, changeId, resolve));
    this.#recountSoon();
    return change;
  }

  async receipt(changeId: string): Promise<Receipt> {
    return this.#parts.read(async (session) => {
      const change = await requireChange(session, changeId, { now: this.#parts.clock.now(), paused: false });
      const [page] = await session.run<{ at: number }>(
        `SELECT at FROM local_data.feed_pages WHERE version >= $1 ORDER BY version LIMIT 1`,
        [change.acceptedVersion ?? Number.MAX_SAFE_INTEGER],
      );
      return {
        savedAt: change.timestamp,
        appliedAt: change.appliedAt,
        acceptedAt: change.acceptedAt,
        acceptedVersion: change.acceptedVersion,
        seenInFeedAt: page?.at ?? null,
      };
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRecount?.();
    this.#stopListening();
    await this.#endSession();
    this.#contact?.transport.close?.();
    for (const listener of this.#listeners) listener();
  }

  // --- The task: contact after contact

  #begin(): void {
    if (this.#closed || this.#running !== undefined || this.#contact === undefined) return;
    if (this.#binding?.paused === true || this.#binding?.connected !== true) return;
    const session = new AbortController();
    this.#session = session;
    this.#running = this.#run(session.signal).catch(this.#parts.onError);
  }

  async #endSession(): Promise<void> {
    this.#session?.abort();
    this.#session = undefined;
    this.#retryNow.wake();
    this.#pushWake.wake();
    await this.#running;
    this.#running = undefined;
    this.#isInContact = false;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#keepContact(signal);
      } catch (error) {
        this.#isInContact = false;
        if (signal.aborted) break;
        if (!(await this.#waitAfter(error, signal))) break;
      }
    }
    this.#isInContact = false;
    this.#show({ inFlight: 0, nextTryAt: null });
  }

  /** One contact, from asking who is there until something fails. */
  async #keepContact(signal: AbortSignal): Promise<void> {
    const { transport } = this.#requireContact();
    this.#show({ nextTryAt: null });
    const info = await this.#limited(LIMITS.info, signal, (call) => transport.info(call));
    this.#answered();
    this.#requireSameHistory(info);
    await this.#judgeFailedPush();
    this.#isInContact = true;
    this.#show({});
    await this.#takeSnapshot(signal, transport);
    this.#failures = 0;
    const both = new AbortController();
    const ended = AbortSignal.any([signal, both.signal]);
    try {
      await firstToFail([this.#pushLoop(ended, transport), this.#pullLoop(ended, transport)], () => both.abort());
    } finally {
      this.#show({ inFlight: 0 });
    }
  }

  /** False where nothing is left to do until a person does something. */
  async #waitAfter(error: unknown, signal: AbortSignal): Promise<boolean> {
    if (!(error instanceof TransportError) && !(error instanceof LocalDataError)) this.#parts.onError(error);
    if (error instanceof TransportError && error.kind === 'cursor-expired') {
      await this.#parts.write((session) => beginSnapshot(session));
      this.#binding = await this.#parts.read(readBinding);
      return true;
    }
    const found = obstacleOf(error);
    if (found !== undefined) {
      this.#obstacle = found;
      this.#announce();
      this.#show({});
      return false;
    }
    this.#failures += 1;
    const asked = error instanceof TransportError ? (error.details.retryAfterMs ?? 0) : 0;
    const delay = Math.max(asked, this.#schedule.delay(this.#failures));
    this.#offlineReason = describeOffline(error);
    this.#announce();
    this.#show({ nextTryAt: this.#parts.clock.now() + delay });
    await this.#retryNow.wait(signal, delay);
    return true;
  }

  #offlineReason = 'offline';

  // --- Push

  /**
   * One push in flight. While the server is at one batch the next is taken; once all of a batch was accepted, the next
   * leaves while the answer is written down, because nothing in it can have to wait for what was accepted.
   */
  async #pushLoop(signal: AbortSignal, transport: SyncTransport): Promise<void> {
    this.#announce();
    let settling: Promise<void> = Promise.resolve();
    let prepared: PushBatch | undefined;
    try {
      while (!signal.aborted) {
        const seen = this.#pushWake.count;
        const batch: PushBatch = prepared ?? (await this.#takeBatch());
        prepared = undefined;
        if (batch.changes.length === 0) {
          await settling;
          if (batch.more) continue;
          this.#show({});
          await this.#pushWake.waitBeyond(seen, signal, await this.#untilNextRetry());
          continue;
        }
        const [response, next] = await this.#sendAndPrepare(batch, signal, transport);
        await settling;
        settling = this.#settleBatch(batch, response);
        if (isAllAccepted(response, batch)) prepared = next;
        else {
          await settling;
          if (next !== undefined) await this.#giveBack(next);
        }
      }
    } finally {
      await settling;
      if (prepared !== undefined) await this.#giveBack(prepared);
    }
  }

  #takeBatch(): Promise<PushBatch> {
    return this.#write(async (context) => {
      const { session, draft, now } = context;
      const { entityTypes } = this.#parts;
      const taken = await takePushBatch(
        {
          session,
          entityTypes,
          draft,
          now,
          localOnly: this.#localOnlyTypes(),
          stuck: this.#troubles.stuck,
          inDoubt: await readInDoubt(session),
          inFlight: this.#inFlight,
        },
        this.#pushedUpTo,
        this.#pushLimit,
      );
      // Another client may have made the same entity meanwhile.
      const bases = await readBases(session, taken.cancelled);
      if (bases.size > 0) await putOrSetAside(context, [...bases.values()], context.version);
      const seqs = taken.queued.map(({ seq }) => seq);
      if (seqs.length > 0) await addInDoubt(session, seqs);
      for (const seq of seqs) this.#inFlight.add(seq);
      // Within the turn on the session: what is released by a later commit comes after it.
      this.#pushedUpTo = Math.max(this.#pushedUpTo, taken.upTo);
      return taken;
    });
  }

  /** What was taken and not sent may be taken again. */
  async #giveBack(batch: PushBatch): Promise<void> {
    const seqs = batch.queued.map(({ seq }) => seq);
    for (const seq of seqs) this.#inFlight.delete(seq);
    const [first] = seqs;
    if (first === undefined) return;
    this.#release(first);
    if (!this.#closed) await this.#parts.write((session) => settleDoubt(session, seqs));
  }

  async #sendAndPrepare(
    batch: PushBatch,
    signal: AbortSignal,
    transport: SyncTransport,
  ): Promise<[PushResponse, PushBatch | undefined]> {
    const { client_id: clientId, epoch, cursor } = this.#requireBinding();
    this.#show({ inFlight: batch.queued.length });
    let next: PushBatch | undefined;
    const preparing = batch.more ? this.#takeBatch().then((taken) => (next = taken)) : Promise.resolve();
    try {
      const response = await this.#limited(LIMITS.push, signal, (call) =>
        transport.push({ clientId, epoch, cursor, changes: batch.changes }, call),
      );
      this.#answered();
      await preparing;
      return [response, next];
    } catch (error) {
      await preparing.catch(() => undefined);
      if (next !== undefined) await this.#giveBack(next);
      for (const { seq } of batch.queued) this.#inFlight.delete(seq);
      const [first] = batch.queued;
      if (first !== undefined) this.#release(first.seq);
      if (error instanceof TransportError && !signal.aborted && isAboutBatch(error))
        this.#noteFailedPush(batch.queued, error);
      throw error;
    }
  }

  async #settleBatch(batch: PushBatch, response: PushResponse): Promise<void> {
    try {
      const outcome = await this.#write(async (context) => {
        const settled = await settlePush(context, batch.queued, batch.changes, response);
        if (settled.accepted > 0) await setBinding(context.session, { last_push_at: context.now });
        return settled;
      });
      this.#failedPush = undefined;
      this.#pushLimit = Math.min(LIMITS.pushSize, this.#pushLimit * 2);
      this.#acknowledged.push({ at: this.#parts.clock.now(), count: outcome.accepted });
      if (outcome.lowestLeft !== undefined) this.#release(outcome.lowestLeft);
      this.#show(outcome.accepted > 0 ? { lastPushAt: this.#parts.clock.now() } : {});
    } catch (error) {
      const [first] = batch.queued;
      if (first !== undefined) this.#release(first.seq);
      throw error;
    } finally {
      for (const { seq } of batch.queued) this.#inFlight.delete(seq);
      this.#show({ inFlight: this.#inFlight.size });
    }
  }

  #noteFailedPush(queued: readonly QueuedChange[], error: TransportError): void {
    const seqs = queued.map(({ seq }) => seq);
    const isSame = this.#failedPush?.seqs.length === seqs.length && this.#failedPush.seqs[0] === seqs[0];
    this.#failedPush = { seqs, error, count: (isSame ? (this.#failedPush?.count ?? 0) : 0) + 1 };
  }

  /** The server answers, and yet this batch keeps failing: it is halved until the change at fault stands alone. */
  async #judgeFailedPush(): Promise<void> {
    const failed = this.#failedPush;
    if (failed === undefined) return;
    const isTooLarge = failed.error.kind === 'too-large';
    if (!isTooLarge && failed.count < 2) return;
    this.#failedPush = undefined;
    if (failed.seqs.length > 1) {
      this.#pushLimit = Math.max(1, Math.floor(failed.seqs.length / 2));
      return;
    }
    const [seq] = failed.seqs;
    if (seq === undefined) return;
    await this.#write(async (context) => {
      const [row] = await context.session.run<{ attempts: number }>(
        `SELECT attempts FROM local_changes WHERE seq = $1`,
        [seq],
      );
      const attempts = (row?.attempts ?? 0) + 1;
      const next = isTooLarge ? null : this.#pushSchedule.nextAttemptAt(attempts, context.now);
      const { status, code } = failed.error.details;
      const failure = {
        stage: 'push' as const,
        kind: next === null ? ('permanent' as const) : ('transient' as const),
        code: code ?? String(status ?? failed.error.kind),
        message: `Sending it failed while the server answers otherwise: ${failed.error.message}`,
        at: context.now,
      };
      await failPush(context, seq, failure, attempts, next);
    });
  }

  async #untilNextRetry(): Promise<number | undefined> {
    if (this.#parts.commits.counts.retrying === 0) return undefined;
    const [row] = await this.#parts.read((session) =>
      session.run<{ next: number | null }>(
        `SELECT min(next_attempt_at) AS next FROM local_changes c WHERE c.status = 'retrying' AND ${isPushStage('c')}`,
      ),
    );
    if (row?.next === null || row?.next === undefined) return undefined;
    return Math.min(this.#parts.retry.maxDelayMs, Math.max(0, row.next - this.#parts.clock.now()));
  }

  async #makeRetriesDue(): Promise<void> {
    await this.#parts.write((session) =>
      session.run(
        `UPDATE local_changes c SET next_attempt_at = $1 WHERE c.status = 'retrying' AND ${isPushStage('c')}`,
        [this.#parts.clock.now()],
      ),
    );
    this.#pushWake.wake();
  }

  // --- Pull

  async #pullLoop(signal: AbortSignal, transport: SyncTransport): Promise<void> {
    let hasMore = true;
    while (!signal.aborted) {
      const poll = new AbortController();
      this.#longPoll = poll;
      const wait = hasMore || this.#isPullWanted ? 0 : LIMITS.waitSeconds;
      this.#isPullWanted = false;
      this.#pullsBegun += 1;
      const begun = this.#pullsBegun;
      const page = await this.#pullOnce(transport, AbortSignal.any([signal, poll.signal]), wait, poll.signal);
      if (signal.aborted) return;
      this.#longPoll = undefined;
      if (page === undefined) {
        hasMore = true;
        continue;
      }
      hasMore = page.more;
      // A long queue goes first: its echoes come in fewer, fuller pages then.
      if (this.#inFlight.size > 0 && this.#waiting() > LIMITS.pushSize)
        await new Wake(this.#parts.clock).wait(signal, ECHO_PAUSE);
      await this.#applyPage(page);
      if (!page.more) {
        this.#caughtUp = begun;
        this.#tellListeners();
      }
    }
  }

  /** Undefined when the long poll was cut short. */
  async #pullOnce(
    transport: SyncTransport,
    signal: AbortSignal,
    wait: number,
    cut: AbortSignal,
  ): Promise<PullResponse | undefined> {
    const { cursor } = this.#requireBinding();
    try {
      const page = await this.#limited(LIMITS.pull + wait * 1_000, signal, (call) =>
        transport.pull({ after: cursor, limit: this.#pullLimit, wait }, call),
      );
      this.#pullLimit = Math.min(LIMITS.pageSize, this.#pullLimit * 2);
      this.#answered();
      return page;
    } catch (error) {
      if (cut.aborted) return undefined;
      if (error instanceof TransportError && error.kind === 'too-large' && this.#pullLimit > 1) {
        this.#pullLimit = Math.max(1, Math.floor(this.#pullLimit / 2));
        return undefined;
      }
      throw error;
    }
  }

  async #applyPage(page: PullResponse): Promise<void> {
    const binding = this.#requireBinding();
    if (page.epoch !== binding.epoch)
      throw new TransportError('epoch-changed', 'The server has another history than before.');
    if (page.changes.length === 0 && page.cursor === binding.cursor) return;
    await this.#write(async (context) => {
      await applyFeedPage(context, page);
      if (context.setAside > 0) await retrySetAside(context, page.version);
    });
    this.#binding = { ...binding, cursor: page.cursor, version: page.version };
    this.#show({ lastPullAt: this.#parts.clock.now() });
  }

  // --- Snapshot

  async #takeSnapshot(signal: AbortSignal, transport: SyncTransport): Promise<void> {
    let binding = this.#requireBinding();
    let received = 0;
    while (binding.phase === 'snapshot' && !signal.aborted) {
      const before = binding;
      const page = await this.#limited(LIMITS.snapshot, signal, (call) =>
        transport.snapshot({ page: before.snapshot_page, limit: LIMITS.pageSize }, call),
      );
      this.#answered();
      if (page.epoch !== before.epoch)
        throw new TransportError('epoch-changed', 'The server has another history than before.');
      await this.#write((context) => keepSnapshotPage(context, before, page));
      received += page.entities.length;
      binding = await this.#rereadBinding();
      this.#show({ snapshot: { received, total: page.total } });
    }
    this.#applying = APPLYING_START;
    while (binding.phase === 'applying' && this.#applying !== undefined && !signal.aborted) {
      const from: ApplyingFrom = this.#applying;
      const applying = binding;
      this.#applying = await this.#write((context) => applySnapshotChunk(context, applying, from));
    }
    if (signal.aborted) return;
    await this.#rereadBinding();
    this.#show({ snapshot: null });
  }

  async #rereadBinding(): Promise<Binding> {
    this.#binding = await this.#parts.read(readBinding);
    return this.#requireBinding();
  }

  // --- Whom it belongs to

  async #bindTo(info: SpaceInfo, options: ConnectOptions): Promise<void> {
    const { epoch, space } = info;
    const present = await this.#parts.read(readBinding);
    if (present === undefined) {
      const clientId = this.#parts.newId();
      await this.#write(async (context) => {
        await bind(context.session, { url: options.url, space, epoch, clientId });
        await supersedeLocal(context, new Set(this.#localOnlyTypes()));
      }, clientId);
    } else {
      if (present.space !== space) throw otherServer(present, options.url, space);
      if (present.epoch !== epoch) {
        if (options.onServerChanged !== 'start-anew') throw serverChanged(present);
        await this.#startAnew(epoch);
      }
      await this.#parts.write((session) => setBinding(session, { url: options.url, connected: true, paused: false }));
    }
    this.#binding = await this.#parts.read(readBinding);
  }

  /** A new history: nothing here is deleted; what only this machine has is sent. */
  async #startAnew(epoch: string): Promise<void> {
    await this.#parts.backUp();
    await this.#write(async (context) => {
      const { session } = context;
      await session.run(`DELETE FROM local_data.entity_bases`);
      await session.run(`DELETE FROM local_data.feed_pages`);
      await session.run(
        `UPDATE local_changes c SET base_version = 0, base_timestamp = 0 WHERE NOT c.processed_sync AND c.origin <> 'remote'`,
      );
      await session.run(`UPDATE local_changes c SET accepted_version = NULL WHERE c.accepted_version IS NOT NULL`);
      await session.run(`UPDATE local_data.sync_binding SET in_doubt = '{}'`);
      await setBinding(session, { epoch, version: 0 });
      await beginSnapshot(session);
      await supersedeLocal(context, new Set(this.#localOnlyTypes()));
    });
  }

  #requireSameHistory(info: SpaceInfo): void {
    const binding = this.#requireBinding();
    if (info.space !== binding.space) throw otherServer(binding, binding.url, info.space);
    if (info.epoch !== binding.epoch) throw serverChanged(binding);
  }

  // --- What all share

  /** One transaction with everything that is needed to write what came from the server. */
  #write<T>(work: (context: SettleContext) => Promise<T>, clientId = this.#binding?.client_id ?? ''): Promise<T> {
    return this.#parts.write(async (session, draft) => {
      if (this.#troublesChanged) await this.#countTroubles(session);
      const context: RemoteContext & SettleContext = {
        session,
        draft,
        entityTypes: this.#parts.entityTypes,
        now: this.#parts.clock.now(),
        newId: this.#parts.newId,
        clientId,
        setAside: this.#troubles.setAside,
        policyOf: (entityType) => this.#policyOf(entityType),
        version: this.#binding?.version ?? 0,
      };
      return work(context);
    });
  }

  /** Also where nothing else is written: what a person has just taken away must not be shown on. */
  #recountSoon(): void {
    this.#troublesChanged = true;
    this.#cancelRecount ??= this.#parts.clock.setTimer(() => {
      this.#cancelRecount = undefined;
      const recount = async (session: Session): Promise<void> => {
        if (this.#troublesChanged) await this.#countTroubles(session);
      };
      if (!this.#closed) this.#parts.read(recount).catch(this.#parts.onError);
    }, RECOUNT_AFTER);
  }

  async #countTroubles(session: Session): Promise<void> {
    this.#troublesChanged = false;
    const [row] = await session.run<{ refused: number; conflicts: number; aside: number; stuck: number }>(
      `SELECT count(*) FILTER (WHERE c.status = 'failed' AND ${isPushStage('c')}) AS refused,
         count(*) FILTER (WHERE c.status = 'conflicted') AS conflicts,
         count(*) FILTER (WHERE c.status = 'failed' AND c.origin = 'remote') AS aside,
         count(*) FILTER (WHERE ${isPushStage('c')}) AS stuck
       FROM local_changes c WHERE c.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND NOT (${isLocalStage('c')})`,
    );
    this.#troubles = {
      refused: row?.refused ?? 0,
      conflicts: row?.conflicts ?? 0,
      setAside: row?.aside ?? 0,
      stuck: row?.stuck ?? 0,
    };
    this.#show({});
  }

  /** Where the queue begins, and how much of it stays here; both found by the index of what is not synced. */
  async #prepareQueue(): Promise<void> {
    const [row] = await this.#parts.read((session) =>
      session.run<{ first: number | null; kept: number }>(
        `SELECT min(c.seq) AS first, count(*) FILTER (WHERE c.entity_type IN (SELECT jsonb_array_elements_text($1::jsonb))) AS kept
         FROM local_changes c WHERE c.processed_sync = false AND c.status = 'applied'`,
        [JSON.stringify(this.#localOnlyTypes())],
      ),
    );
    this.#pushedUpTo = row?.first === null || row?.first === undefined ? 0 : row.first - 1;
    this.#localOnlyWaiting = row?.kept ?? 0;
    this.#troublesChanged = true;
  }

  #noteCommitted(change: Change): void {
    if (change.status !== 'applied' || change.origin === 'remote') return;
    if (this.#isLocalOnly(change.entityType)) this.#localOnlyWaiting += 1;
    else this.#release(change.seq);
  }

  /** It must be looked at again. */
  #release(seq: number): void {
    this.#pushedUpTo = Math.min(this.#pushedUpTo, seq - 1);
  }

  async #putRegistered(): Promise<void> {
    if (this.#troubles.setAside === 0 || this.#closed) return;
    try {
      await this.#write(async (context) => {
        const { session } = context;
        const waiting = await session.run<{ entity_type: string }>(
          `SELECT DISTINCT entity_type FROM local_changes WHERE status = 'failed' AND origin = 'remote'`,
        );
        for (const { entity_type: entityType } of waiting) {
          if (this.#parts.entityTypes.get(entityType) !== undefined)
            await putRegistered(context, entityType, context.version);
        }
      });
    } catch (error) {
      this.#parts.onError(error);
    }
  }

  /** A time limit of our own, because a transport may never settle. */
  async #limited<T>(timeoutMs: number, signal: AbortSignal, call: (call: TransportCall) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    const either = AbortSignal.any([signal, controller.signal]);
    if (signal.aborted) throw new TransportError('cancelled', 'The request was cancelled.');
    let cancelTimer = (): void => undefined;
    let stopListening = (): void => undefined;
    const ended = new Promise<never>((_, reject) => {
      cancelTimer = this.#parts.clock.setTimer(() => {
        reject(new TransportError('timed-out', `The server did not answer within ${timeoutMs / 1_000} s.`));
        controller.abort();
      }, timeoutMs);
      const cancelled = (): void => reject(new TransportError('cancelled', 'The request was cancelled.'));
      signal.addEventListener('abort', cancelled, { once: true });
      stopListening = () => signal.removeEventListener('abort', cancelled);
    });
    try {
      return await Promise.race([call({ signal: either, timeoutMs }), ended]);
    } finally {
      cancelTimer();
      stopListening();
    }
  }

  #answered(): void {
    this.#show({ lastAnswerAt: this.#parts.clock.now() });
  }

  #isLinked(): boolean {
    return this.#binding?.phase === 'linked';
  }

  #waiting(): number {
    if (this.#binding === undefined) return 0;
    return Math.max(0, this.#parts.commits.counts.applied - this.#localOnlyWaiting);
  }

  #localOnlyTypes(): string[] {
    return this.#parts.entityTypes
      .all()
      .map((type) => type.entityType)
      .filter((name) => this.#isLocalOnly(name));
  }

  #isLocalOnly(entityType: string): boolean {
    return (this.#rules[entityType]?.sync ?? this.#rules['*']?.sync) === false;
  }

  #policyOf(entityType: string): ConflictPolicy {
    return this.#rules[entityType]?.conflicts ?? this.#rules['*']?.conflicts ?? 'merge';
  }

  #requireBinding(): Binding {
    if (this.#binding !== undefined && this.#binding.connected) return this.#binding;
    throw new LocalDataError('SYNC_NOT_CONNECTED', 'This database is not connected to a server. Connect it first.');
  }

  #requireContact(): Contact {
    if (this.#contact !== undefined) return this.#contact;
    throw new LocalDataError('SYNC_SIGN_IN_NEEDED', 'The server needs a token. Connect with one.');
  }

  /** Tells changes why they wait. */
  #announce(): void {
    const isLocalOnly = (entityType: string): boolean => this.#isLocalOnly(entityType);
    const describe = (): string => this.#whyWaiting();
    this.#parts.commits.push = {
      get reason() {
        return describe();
      },
      isLocalOnly,
    };
  }

  #whyWaiting(): string {
    if (this.#binding?.paused === true) return 'you work offline';
    if (this.#obstacle !== undefined)
      return this.#obstacle.status === 'sign-in-needed' ? 'sign-in needed' : this.#obstacle.reason;
    return this.#isInContact ? 'waits to be sent' : 'offline';
  }

  #status(): SyncStatus {
    const { phase, paused, connected } = this.#binding ?? { phase: 'linked', paused: false, connected: false };
    if (!connected) return 'not-configured';
    if (paused) return 'paused';
    if (this.#obstacle !== undefined) return this.#obstacle.status;
    if (!this.#isInContact) return this.#failures > 0 ? 'offline' : 'connecting';
    if (phase !== 'linked') return 'snapshot';
    return this.#waiting() > 0 || this.#state.inFlight > 0 ? 'syncing' : 'synced';
  }

  #reason(status: SyncStatus): string | null {
    switch (status) {
      case 'not-configured':
      case 'synced':
      case 'syncing':
        return null;
      case 'connecting':
        return 'Asking the server';
      case 'snapshot':
        return 'Receiving everything the server has';
      case 'paused':
        return 'You work offline';
      case 'offline':
        return this.#offlineReason;
      case 'sign-in-needed':
      case 'needs-decision':
      case 'stopped':
        return this.#obstacle?.reason ?? null;
    }
  }

  #show(changed: Partial<SyncState>): void {
    const binding = this.#binding?.connected === true ? this.#binding : undefined;
    const { refused, conflicts, setAside } = this.#troubles;
    const merged: SyncState = {
      ...(binding === undefined ? NO_SYNC : this.#state),
      ...(binding === undefined ? {} : changed),
      server:
        binding === undefined
          ? null
          : { url: binding.url, space: binding.space, epoch: binding.epoch, clientId: binding.client_id },
      waiting: binding === undefined ? 0 : this.#waiting(),
      version: binding?.version ?? 0,
      networkConditions: this.#conditions,
      ...(binding === undefined ? {} : { refused, conflicts, setAside }),
      pushedPerSecond: binding === undefined ? 0 : this.#rate(),
    };
    this.#state = merged;
    const status = this.#status();
    const next = { ...merged, status, reason: this.#reason(status) };
    const isNews = JSON.stringify(next) !== this.#shown;
    this.#state = next;
    if (isNews) {
      this.#shown = JSON.stringify(next);
      this.#parts.onState(next);
    }
    this.#tellListeners();
  }

  #tellListeners(): void {
    for (const listener of this.#listeners) listener();
  }

  #rate(): number {
    const since = this.#parts.clock.now() - 5_000;
    while ((this.#acknowledged[0]?.at ?? Infinity) < since) this.#acknowledged.shift();
    const [first] = this.#acknowledged;
    if (first === undefined) return 0;
    const total = this.#acknowledged.reduce((sum, { count }) => sum + count, 0);
    return Math.round((total * 1_000) / Math.max(1_000, this.#parts.clock.now() - first.at));
  }

  async #until(isSo: () => boolean): Promise<void> {
    if (isSo()) return;
    if (!this.#closed)
      await new Promise<void>((resolve) => {
        const listener = (): void => {
          if (!isSo() && !this.#closed) return;
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      });
    if (this.#closed && !isSo()) throw new LocalDataError('ENGINE_CLOSED', 'The database is closed. Open it again.');
  }
}

async function beginSnapshot(session: Session): Promise<void> {
  await session.run(
    `UPDATE local_data.sync_binding SET phase = 'snapshot', snapshot = snapshot + 1, snapshot_page = NULL,
       snapshot_cursor = NULL, cursor = NULL`,
  );
}

/** Rejects with the first failure, once the others have ended. */
async function firstToFail(loops: readonly Promise<void>[], endOthers: () => void): Promise<void> {
  const failures: unknown[] = [];
  await Promise.all(
    loops.map((loop) =>
      loop.catch((error: unknown) => {
        failures.push(error);
        endOthers();
      }),
    ),
  );
  if (failures.length > 0) throw failures[0];
}

function isAllAccepted({ results }: PushResponse, { queued }: PushBatch): boolean {
  const accepted = results.filter(({ outcome }) => outcome === 'applied' || outcome === 'duplicate');
  return results.length === queued.length && accepted.length === results.length;
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

function obstacle(
  status: SyncStatus,
  reason: string,
  code: 'SYNC_SIGN_IN_NEEDED' | 'SYNC_SERVER_CHANGED' | 'SYNC_OTHER_SERVER' | 'SYNC_REFUSED',
): Obstacle {
  return { status, reason, error: new LocalDataError(code, `${reason}.`) };
}

function obstacleOf(error: unknown): Obstacle | undefined {
  if (error instanceof LocalDataError) {
    if (error.code === 'SYNC_SERVER_CHANGED' || error.code === 'SYNC_OTHER_SERVER') {
      return { status: 'needs-decision', reason: error.message, error };
    }
    return undefined;
  }
  if (!(error instanceof TransportError)) return undefined;
  switch (error.kind) {
    case 'unauthorized':
      return obstacle('sign-in-needed', 'Sign in: the server does not accept the token', 'SYNC_SIGN_IN_NEEDED');
    case 'forbidden':
      return obstacle(
        'sign-in-needed',
        'Sign in with another token: this one has no right to the space',
        'SYNC_SIGN_IN_NEEDED',
      );
    case 'epoch-changed':
    case 'history-changed':
      return obstacle('needs-decision', 'The server was reset or put back to an earlier state', 'SYNC_SERVER_CHANGED');
    case 'unsupported':
      return obstacle('stopped', 'The server speaks another version of the protocol', 'SYNC_REFUSED');
    case 'refused':
      return obstacle('stopped', `The server refuses requests: ${error.message}`, 'SYNC_REFUSED');
    case 'unreachable':
    case 'timed-out':
    case 'too-large':
    case 'cursor-expired':
    case 'overloaded':
    case 'not-understood':
    case 'cancelled':
      return undefined;
  }
}

function describeOffline(error: unknown): string {
  if (!(error instanceof TransportError)) return 'Something went wrong here; it is tried again';
  if (error.kind === 'overloaded') return `The server is busy (${error.details.status ?? error.message})`;
  return `Offline: ${error.message}`;
}

function otherServer(binding: Binding, url: string, space: string): LocalDataError {
  return new LocalDataError(
    'SYNC_OTHER_SERVER',
    `This database belongs to space "${binding.space}" of ${binding.url}, and the token is for space "${space}" of ${url}. Use a token for "${binding.space}", or export and start anew with an empty database.`,
    { url: binding.url, space: binding.space, epoch: binding.epoch, otherUrl: url, otherSpace: space },
  );
}

function serverChanged(binding: Binding): LocalDataError {
  return new LocalDataError(
    'SYNC_SERVER_CHANGED',
    `The server at ${binding.url} has another history than this database knows: it was reset, or it is another server. Start anew with it (a backup is written first, nothing here is deleted), or connect to the server this database belongs to.`,
    { url: binding.url, space: binding.space, epoch: binding.epoch },
  );
}

function asConnectError(error: unknown, url: string): unknown {
  if (!(error instanceof TransportError)) return error;
  const found = obstacleOf(error);
  if (found !== undefined)
    return new LocalDataError(found.error.code, `${url}: ${found.reason}.`, { url }, { cause: error });
  return new LocalDataError(
    'SYNC_UNREACHABLE',
    `${url} could not be reached: ${error.message} Check the address, and that the server runs.`,
    { url, kind: error.kind, ...error.details },
    { cause: error },
  );
}

/** The space a token names; nothing is proven by it, the server decides. */
export function spaceOfToken(token: string): string {
  try {
    const [, payload = ''] = token.split('.');
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    const space: unknown = typeof claims === 'object' && claims !== null ? Reflect.get(claims, 'space') : undefined;
    if (typeof space === 'string' && space !== '') return space;
  } catch {
    // Not a JSON Web Token: the same answer as for one without a space.
  }
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    'The token names no space. Paste the whole token as the server gave it, or name the space.',
    { field: 'token' },
  );
}
