// Keeps a database in step with a server: one task makes contact, receives a snapshot where one is needed, and then runs push
// and pull side by side until one of them fails; then it waits, by the kind of the failure, and begins again. Every wait ends
// by time, by a wake or by close.
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { CommitEvent } from '../protocol/engine.ts';
import type {
  ConnectOptions,
  MissingDecision,
  MissingEntity,
  MissingOutcome,
  NetworkConditions,
  Receipt,
  Resolve,
  SyncRules,
  SyncState,
  VerifyReport,
} from '../protocol/sync-state.ts';
import { listChanges, requireChange } from '../db/changes-table.ts';
import { CARRIED_CHANGES } from '../db/move-changes.ts';
import { RetrySchedule } from '../db/retry-schedule.ts';
import { beginSnapshot, bindToServer, requireSameHistory, spaceOfToken } from './bind-server.ts';
import type { LocalDataSync } from './local-data-sync.ts';
import { listMissing, removeMissing, sendMissing } from './missing-entities.ts';
import { type Obstacle, TOKEN_NEEDED, asConnectError, describeOffline, obstacleOf } from './obstacles.ts';
import { PullLoop } from './pull-loop.ts';
import { PushLoop } from './push-loop.ts';
import { SetAsideRetry } from './set-aside-retry.ts';
import { receiveSnapshot } from './receive-snapshot.ts';
import { resolveConflict } from './settle-conflict.ts';
import { setBinding } from './sync-binding.ts';
import { SyncLedger, type SyncParts } from './sync-ledger.ts';
import { type SyncTransport, type TransportCall, TransportError } from './transport.ts';
import { TypesInStep } from './types-in-step.ts';
import { verifyAgainstServer, verifyCancelled } from './verify.ts';
import { Wake } from './wake.ts';

/** Milliseconds. */
const INFO_TIMEOUT = 15_000;
const DIGEST_TIMEOUT = 60_000;
/** Milliseconds in which what waits must have gone before a comparison. */
const CATCH_UP_TIMEOUT = 60_000;
/** A server that was away is found again within the longest of these steps. */
const CONTACT_RETRY = { attempts: Infinity, baseDelayMs: 500, maxDelayMs: 10_000 } as const;

/** What contact is made with; in memory alone. */
interface Peer {
  readonly url: string;
  readonly transport: SyncTransport;
}

export class SyncEngine implements LocalDataSync {
  readonly #ledger: SyncLedger;
  readonly #push: PushLoop;
  readonly #pull: PullLoop;
  readonly #setAside: SetAsideRetry;
  readonly #types: TypesInStep;
  readonly #schedule: RetrySchedule;
  /** Wakes the task from its wait between contacts. */
  readonly #retryNow: Wake;
  readonly #stopListening: () => void;
  #peer: Peer | undefined;
  /** Calls that change whom contact is made with, one after another. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Ends the call whose turn it is. */
  #asking: AbortController | undefined;
  #task: Promise<void> | undefined;
  /** Ends the task: its requests and its loops. */
  #ending: AbortController | undefined;
  #failures = 0;

  constructor(parts: SyncParts) {
    this.#ledger = new SyncLedger(parts);
    this.#push = new PushLoop(this.#ledger);
    this.#pull = new PullLoop(this.#ledger, () => this.#push.isLong);
    this.#setAside = new SetAsideRetry(this.#ledger);
    this.#types = new TypesInStep(this.#ledger, async () => {
      await this.#push.prepare();
      this.#push.wake();
    });
    this.#schedule = new RetrySchedule(CONTACT_RETRY, parts.random);
    this.#retryNow = new Wake(parts.clock);
    this.#stopListening = parts.commits.listen((event) => this.#afterCommit(event));
  }

  /** Takes up what was left: a database that is bound waits for its token. */
  async start(): Promise<void> {
    const binding = await this.#ledger.reread();
    if (binding !== undefined && binding.rules !== null) this.#ledger.rules = binding.rules;
    if (binding === undefined) return;
    // Also while it is disconnected: whom it is connected to next is judged by it.
    await this.#ledger.parts.read((session) => this.#ledger.unseen.load(session, binding.version));
    if (!binding.connected) return;
    await this.#push.prepare();
    this.#prevent(TOKEN_NEEDED);
    this.#settleTypes();
  }

  async connect(options: ConnectOptions): Promise<SyncState> {
    const ledger = this.#ledger;
    const { url, token } = options;
    const space = options.space ?? spaceOfToken(token);
    // Whoever has said nothing about entity types means that all take part.
    if (!ledger.hasRules) ledger.rules = {};
    await this.#inTurn(async (signal) => {
      await this.#endTask();
      const peer: Peer = { url, transport: ledger.parts.openTransport({ url, token, space }) };
      try {
        const info = await ledger.ask(INFO_TIMEOUT, signal, (call) => peer.transport.info(call));
        await bindToServer(ledger, { info, transport: peer.transport, signal }, options);
      } catch (error) {
        // Of the same address it may be a matter of time: it is tried on with what was given last.
        const isSame = ledger.isConnected && ledger.binding?.url === url && !signal.aborted;
        this.#usePeer(isSame ? peer : this.#peer, peer);
        this.#begin();
        throw signal.aborted
          ? new LocalDataError('CANCELLED', 'Another call took its place.')
          : asConnectError(error, url);
      }
      this.#usePeer(peer);
      this.#failures = 0;
      ledger.contact = { kind: 'asking' };
      await this.#push.prepare();
      this.#begin();
    });
    await ledger.until(() => ledger.isInContact || ledger.contact.kind === 'prevented' || !ledger.isOnline);
    return ledger.state;
  }

  disconnect(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#endTask();
      this.#usePeer(undefined);
      await this.#setBinding({ connected: false });
      this.#ledger.contact = { kind: 'asking' };
    });
  }

  async syncNow(): Promise<SyncState> {
    this.#ledger.requireBinding();
    await this.#push.makeRetriesDue();
    if (this.#setAside.isNeeded) await this.#setAside.now();
    this.#tryStopped();
    this.#retryNow.wake();
    await this.whenSynced();
    return this.#ledger.state;
  }

  async goOffline(): Promise<void> {
    this.#ledger.requireBinding();
    await this.#inTurn(async () => {
      await this.#setBinding({ paused: true });
      await this.#endTask();
      this.#ledger.show();
    });
  }

  async goOnline(): Promise<void> {
    this.#ledger.requireBinding();
    await this.#inTurn(async () => {
      await this.#setBinding({ paused: false });
      this.#failures = 0;
      this.#begin();
      this.#tryStopped();
      this.#ledger.show();
    });
  }

  async whenSynced(signal?: AbortSignal): Promise<void> {
    const ledger = this.#ledger;
    ledger.requireBinding();
    if (!ledger.isOnline) throw new LocalDataError('SYNC_NOT_CONNECTED', 'You work offline. Go online first.');
    const isIdle = (): boolean => this.#push.isIdle && ledger.isWaitingKnown;
    for (;;) {
      await this.#types.settle();
      this.#push.wake();
      await this.#inContact(() => ledger.requireBinding().phase === 'linked' && isIdle(), signal);
      // Only a pull that begins after the last change was accepted brings all of them back.
      const wanted = this.#pull.pullNow();
      await this.#inContact(() => this.#pull.caughtUp >= wanted, signal);
      if (isIdle() && this.#types.isSettled) return;
    }
  }

  async state(): Promise<SyncState> {
    return this.#ledger.state;
  }

  async setRules(rules: SyncRules): Promise<void> {
    await this.#types.setRules(rules);
    if (this.#ledger.binding === undefined) return;
    await this.#push.prepare();
    this.#push.wake();
    this.#ledger.show();
    this.#settleTypes();
  }

  async setNetworkConditions(conditions: NetworkConditions | null): Promise<void> {
    this.#ledger.conditions = conditions;
    // Requests under way were begun under other conditions.
    this.#pull.cutShort();
    this.#retryNow.wake();
  }

  /** For the transport that is wrapped by conditions. */
  get networkConditions(): NetworkConditions | null {
    return this.#ledger.conditions;
  }

  async verify(options: { readonly repair?: boolean; readonly signal?: AbortSignal } = {}): Promise<VerifyReport> {
    const ledger = this.#ledger;
    const { transport } = this.#requirePeer();
    const { read, entityTypes } = ledger.parts;
    const signal = anyOf(options.signal, this.#ending?.signal);
    const ask = <T>(send: (call: TransportCall) => Promise<T>): Promise<T> => ledger.ask(DIGEST_TIMEOUT, signal, send);
    const caughtUp = (): Promise<void> => this.#whenSyncedWithin(CATCH_UP_TIMEOUT, options.signal);
    await caughtUp();
    const verifying = verifyAgainstServer(
      {
        digest: () => ask((call) => transport.digest(call)),
        bucket: (bucket, page) => ask((call) => transport.bucket({ bucket, page }, call)),
        read,
        write: (work) => ledger.write(work),
        entityTypes,
        isLocalOnly: (entityType) => ledger.isLocalOnly(entityType),
        caughtUp,
        signal: options.signal,
      },
      options.repair ?? false,
    );
    return verifying.catch((error: unknown) => {
      throw options.signal?.aborted === true && error instanceof TransportError ? verifyCancelled() : error;
    });
  }

  /** What does not come to rest cannot be compared, and whoever asked is told so. */
  async #whenSyncedWithin(milliseconds: number, signal?: AbortSignal): Promise<void> {
    const limit = new AbortController();
    const cancelTimer = this.#ledger.parts.clock.setTimer(() => limit.abort(), milliseconds);
    try {
      await this.whenSynced(anyOf(signal, limit.signal));
    } catch (error) {
      if (!limit.signal.aborted || signal?.aborted === true) throw error;
      const { status, reason, waiting } = this.#ledger.state;
      const why = reason === null ? status : `${status}: ${reason}`;
      throw new LocalDataError(
        'TIMED_OUT',
        `Nothing can be compared yet: after ${milliseconds / 1_000} s this database is not in sync (${why}). Changes that wait: ${waiting}. Verify when it is.`,
        { status, waiting },
        { cause: error },
      );
    } finally {
      cancelTimer();
    }
  }

  async conflicts(): Promise<Change[]> {
    const { clock, commits, read } = this.#ledger.parts;
    const context = { now: clock.now(), paused: false, push: commits.push };
    const page = await read((session) => listChanges(session, { status: 'conflicted', limit: 1_000 }, context));
    return page.changes;
  }

  async resolve(changeId: string, resolve: Resolve): Promise<Change> {
    const change = await this.#ledger.write((context) => resolveConflict(context, changeId, resolve));
    this.#ledger.troubles.countSoon();
    return change;
  }

  /** Tries again to put in place what was set aside, of the type that a change is of or all of it. */
  retrySetAside(changeId?: string): Promise<void> {
    return this.#setAside.now(changeId);
  }

  /** Whether it is so before the time is over and while there is contact; looked at after each commit. */
  async whenSettled(isSettled: () => boolean, limitMs: number): Promise<boolean> {
    const ledger = this.#ledger;
    let isOver = limitMs <= 0;
    const cancel = ledger.parts.clock.setTimer(() => {
      isOver = true;
      ledger.tellListeners();
    }, limitMs);
    try {
      await ledger.until(() => isSettled() || isOver || !ledger.isInContact);
    } finally {
      cancel();
    }
    return isSettled();
  }

  async receipt(changeId: string): Promise<Receipt> {
    const { clock, read } = this.#ledger.parts;
    return read(async (session) => {
      const change = await requireChange(session, changeId, { now: clock.now(), paused: false });
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

  missingEntities(options: { readonly limit?: number | undefined } = {}): Promise<MissingEntity[]> {
    return this.#ledger.parts.read((session) => listMissing(session, options.limit));
  }

  async decideMissing(decision: MissingDecision): Promise<MissingOutcome> {
    const ledger = this.#ledger;
    const { phase } = ledger.requireBinding();
    if (phase !== 'linked') {
      const message = 'It is not known yet what the server lacks: what it has is still being received. Decide then.';
      throw new LocalDataError('SYNC_NOT_CONNECTED', message);
    }
    const decide = { send: sendMissing, remove: removeMissing }[decision];
    return decide((work) => ledger.write(work), ledger.parts.entityTypes.parentsFirst());
  }

  async close(): Promise<void> {
    this.#stopListening();
    this.#setAside.close();
    this.#ledger.close();
    await this.#inTurn(async () => {
      await this.#endTask();
      this.#usePeer(undefined);
    });
  }

  // --- The task: contact after contact

  #begin(): void {
    const peer = this.#peer;
    if (this.#ledger.isClosed || this.#task !== undefined || peer === undefined || !this.#ledger.isOnline) return;
    const ending = new AbortController();
    this.#ending = ending;
    this.#task = this.#run(peer, ending.signal).catch(this.#ledger.parts.onError);
  }

  /** What the server refused for a reason that is no person's to decide may have passed: a person asks to try again. */
  #tryStopped(): void {
    const { contact } = this.#ledger;
    if (contact.kind !== 'prevented' || contact.obstacle.status !== 'stopped') return;
    this.#task = undefined;
    this.#begin();
  }

  async #endTask(): Promise<void> {
    this.#ending?.abort();
    this.#ending = undefined;
    this.#retryNow.wake();
    this.#push.wake();
    await this.#task;
    this.#task = undefined;
  }

  async #run(peer: Peer, signal: AbortSignal): Promise<void> {
    const ledger = this.#ledger;
    while (!signal.aborted) {
      try {
        await this.#keepContact(peer, signal);
      } catch (error) {
        if (signal.aborted) break;
        const next = await this.#afterFailure(error).catch((another: unknown) => this.#lose(another));
        if (next === 'for-a-person') break;
        const left = next - ledger.parts.clock.now();
        if (left > 0) await this.#retryNow.wait(signal, left);
      }
    }
    if (ledger.contact.kind !== 'prevented') ledger.contact = { kind: 'asking' };
    ledger.show({ inFlight: 0 });
  }

  /** One contact, from asking who is there until something fails. */
  async #keepContact({ transport }: Peer, signal: AbortSignal): Promise<void> {
    const ledger = this.#ledger;
    if (ledger.contact.kind === 'lost') ledger.contact = { ...ledger.contact, nextTryAt: null };
    else ledger.contact = { kind: 'asking' };
    const info = await ledger.ask(INFO_TIMEOUT, signal, (call) => transport.info(call));
    await requireSameHistory(ledger, { info, transport, signal });
    this.#push.takeAtMost(info.limits);
    await this.#push.judgeFailed();
    ledger.contact = { kind: 'made' };
    await receiveSnapshot(ledger, signal, transport);
    ledger.unseen.seen(ledger.requireBinding().version);
    await this.#types.settle();
    this.#failures = 0;
    const both = new AbortController();
    const ended = AbortSignal.any([signal, both.signal]);
    try {
      const loops = [this.#push.run(ended, transport), this.#pull.run(ended, transport)];
      await firstToFail(loops, () => both.abort());
    } finally {
      ledger.show({ inFlight: 0 });
    }
  }

  /** When the next try is due, where time alone may help. */
  async #afterFailure(error: unknown): Promise<number | 'for-a-person'> {
    const ledger = this.#ledger;
    if (error instanceof TransportError && error.kind === 'cursor-expired') {
      const wasLinked = ledger.binding?.phase === 'linked';
      await ledger.parts.write((session) => beginSnapshot(session));
      await ledger.reread();
      // Expired while the snapshot came, it may be so again and again.
      if (wasLinked) return ledger.parts.clock.now();
    }
    const obstacle = obstacleOf(error);
    if (obstacle !== undefined) {
      this.#prevent(obstacle);
      return 'for-a-person';
    }
    return this.#lose(error);
  }

  /** Gives when the next try is due. */
  #lose(error: unknown): number {
    const ledger = this.#ledger;
    if (!(error instanceof TransportError) && !(error instanceof LocalDataError)) ledger.parts.onError(error);
    this.#failures += 1;
    const asked = error instanceof TransportError ? (error.details.retryAfterMs ?? 0) : 0;
    const nextTryAt = ledger.parts.clock.now() + Math.max(asked, this.#schedule.delay(this.#failures));
    ledger.contact = { kind: 'lost', reason: describeOffline(error), nextTryAt };
    return nextTryAt;
  }

  #prevent(obstacle: Obstacle): void {
    this.#ledger.contact = { kind: 'prevented', obstacle };
  }

  // --- What the face's methods share

  /** The newest call is what a person wants: one that still waits for a server gives way to it. */
  async #inTurn(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#asking?.abort();
    const asking = new AbortController();
    this.#asking = asking;
    const turn = this.#turn.then(() => work(asking.signal));
    this.#turn = turn.catch(() => undefined);
    await turn;
  }

  async #setBinding(values: { readonly connected?: boolean; readonly paused?: boolean }): Promise<void> {
    await this.#ledger.parts.write((session) => setBinding(session, values));
    await this.#ledger.reread();
  }

  /** Waits while there is contact; throws where it cannot be waited for. */
  async #inContact(isSo: () => boolean, signal?: AbortSignal): Promise<void> {
    const ledger = this.#ledger;
    const isEnded = (): boolean => ledger.contact.kind === 'prevented' || !ledger.isOnline;
    await ledger.until(() => isEnded() || (ledger.isInContact && isSo()), signal);
    if (ledger.contact.kind === 'prevented') throw ledger.contact.obstacle.error;
    if (isEnded()) throw new LocalDataError('SYNC_NOT_CONNECTED', 'Contact with the server was ended.');
  }

  /** Of two that were opened, the one that is not used is closed. */
  #usePeer(peer: Peer | undefined, other?: Peer): void {
    for (const one of [this.#peer, other]) if (one !== undefined && one !== peer) one.transport.close?.();
    this.#peer = peer;
  }

  #requirePeer(): Peer {
    if (this.#peer !== undefined && this.#ledger.isConnected) return this.#peer;
    throw new LocalDataError('SYNC_SIGN_IN_NEEDED', 'The server needs a token. Connect with one.');
  }

  #afterCommit(event: CommitEvent): void {
    const { binding, troubles } = this.#ledger;
    // What it tells itself is no news to it.
    if (binding === undefined || event.sync !== undefined) return;
    for (const change of event.changes) this.#push.noteCommitted(change);
    const { failed, retrying, conflicted, blocked, applied } = event.counts;
    if (failed + retrying + conflicted + blocked > 0 || troubles.isAny) troubles.countSoon();
    if (event.entityTypes !== undefined) {
      this.#settleTypes();
      this.#inBackground(this.#push.lookAgain());
    }
    if (this.#mayHaveKept(event)) troubles.countKeptSoon();
    this.#ledger.noteChanged(event.changes);
    if (event.entities.length > 0) this.#setAside.soon();
    if (applied > 0) this.#push.wake();
    this.#ledger.show();
  }

  /** Whether another number of changes may stay on this machine now. */
  #mayHaveKept({ changes, entityTypes }: CommitEvent): boolean {
    const ledger = this.#ledger;
    // More than an event carries may have moved, or somebody wrote the changes table itself.
    if (changes.length >= CARRIED_CHANGES || entityTypes !== undefined) return ledger.localOnlyTypes().length > 0;
    return changes.some(({ entityType, origin }) => origin !== 'remote' && ledger.isLocalOnly(entityType));
  }

  #settleTypes(): void {
    this.#inBackground(this.#types.settle());
  }

  #inBackground(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      if (!this.#ledger.isClosed) this.#ledger.parts.onError(error);
    });
  }
}

function anyOf(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined));
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
