// Keeps one engine running in a thread of its own: starts it, starts it again when it dies, and holds every call to its
// time. Only a thread that does not answer is terminated, because nothing else stops WASM; a call whose effect is not
// known is never sent twice and never reported as failed: its caller is told to look.
import { setTimeout as delay } from 'node:timers/promises';
import type { CommitEvent, ImportProgress, StoreSnapshot } from '../protocol/engine.ts';
import { MESSAGE_BYTE_CAP, type RemoteMethod } from '../protocol/engine-rpc.ts';
import type { LocalData } from '../engine/local-data.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { wireSize } from '../protocol/wire-size.ts';
import type { StoreOptions } from '../stores/local-data-stores.ts';
import { type CallSupervision, type EngineCaller, localDataOver } from './client.ts';
import { EngineThread, type EngineThreadOptions } from './engine-thread.ts';
import { PendingCall } from './pending-call.ts';
import { StoresMirror } from './stores-mirror.ts';

export type EngineStatus =
  | { readonly kind: 'starting' }
  /** `pausedBecause`: applying changes ended the engine again and again, so that the last one was not told to go on. */
  | { readonly kind: 'ready'; readonly pausedBecause?: LocalDataError }
  | { readonly kind: 'restarting'; readonly reason: Error }
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'closed' };

export interface SupervisionLimits {
  readonly openMs: number;
  /** How long a supervised call may go without progress before the thread is asked whether it lives. */
  readonly silenceMs: number;
  /** How long a cancelled call may go on; an import finishes its batch first. */
  readonly cancelMs: number;
  readonly cancelSupervisedMs: number;
  readonly pingMs: number;
  readonly closeMs: number;
  /** Ends of the thread within a minute that nobody asked for, after which it stays down. */
  readonly restartsPerMinute: number;
  /** Ends of the thread while it applied changes, one after the other, after which it is started with processing paused. */
  readonly deathsUntilPaused: number;
  /** The first wait before a restart; doubles. */
  readonly backoffMs: number;
}

const LIMITS: SupervisionLimits = {
  openMs: 120_000,
  silenceMs: 60_000,
  cancelMs: 1_000,
  cancelSupervisedMs: 10_000,
  pingMs: 1_000,
  // VS Code gives an extension five seconds to end.
  closeMs: 4_000,
  restartsPerMinute: 5,
  deathsUntilPaused: 3,
  backoffMs: 100,
};

export interface SupervisedEngineOptions extends EngineThreadOptions {
  /**
   * Whether the change processor runs. `workerData` always opens it stopped and it is started from here, so that a
   * pause outlives the thread, and what applying does cannot hinder the opening.
   */
  readonly startProcessor?: boolean;
  readonly stores?: StoreOptions;
  readonly limits?: Partial<SupervisionLimits>;
  /** Told what no caller is told: ends of the thread, listeners that throw. */
  readonly onTrouble?: (error: Error) => void;
}

/** Starts the engine; rejects with why its database cannot be opened, and then no thread is left. */
export async function startSupervisedEngine(options: SupervisedEngineOptions): Promise<SupervisedEngine> {
  const engine = new SupervisedEngine(options);
  await engine.start();
  return engine;
}

export class SupervisedEngine implements EngineCaller {
  /** Stays the same over restarts. */
  readonly data: LocalData;
  readonly mirror: StoresMirror;
  readonly #options: SupervisedEngineOptions;
  readonly #limits: SupervisionLimits;
  readonly #statusListeners = new Set<(status: EngineStatus) => void>();
  readonly #calls = new Map<number, PendingCall>();
  /** Threads ended on purpose, and why. */
  readonly #terminating = new WeakMap<EngineThread, Error>();
  #status: EngineStatus = { kind: 'starting' };
  #thread: EngineThread | undefined;
  #nextId = 1;
  #crashes: number[] = [];
  #restartTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #runsProcessor: boolean;
  /** Since the processor last came to rest. */
  #deathsWhileApplying = 0;
  #pausedBecause: LocalDataError | undefined;

  constructor(options: SupervisedEngineOptions) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#runsProcessor = options.startProcessor ?? false;
    this.mirror = new StoresMirror(options.stores ?? {}, (error) => this.reportError(error));
    this.data = localDataOver(this);
  }

  get status(): EngineStatus {
    return this.#status;
  }

  onStatus(listener: (status: EngineStatus) => void): () => void {
    this.#statusListeners.add(listener);
    return () => void this.#statusListeners.delete(listener);
  }

  reportError(error: unknown): void {
    this.#options.onTrouble?.(error instanceof Error ? error : new Error(String(error)));
  }

  async start(): Promise<void> {
    try {
      await this.#openThread();
      await this.#startProcessor();
    } catch (error) {
      if (this.#closing !== undefined) throw closedError();
      const failure = asError(error);
      this.#setStatus({ kind: 'failed', error: failure });
      throw failure;
    }
    this.#becomeReady();
  }

  call(method: RemoteMethod, args: readonly unknown[], supervision: CallSupervision): Promise<unknown> {
    const refusal = this.#refusal(method, args, supervision);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (method === 'startChangeProcessor' || method === 'stopChangeProcessor') this.#noteProcessor(method);
    const call = new PendingCall(this.#nextId++, method, args, supervision);
    this.#calls.set(call.id, call);
    this.#armTimer(call);
    this.#followSignal(call);
    if (this.#status.kind === 'ready' && this.#thread !== undefined) this.#send(call, this.#thread);
    return call.result;
  }

  /** Ends in bounded time and leaves no thread; what was not answered by then is refused. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#restartTimer);
    const thread = this.#thread;
    if (thread !== undefined) {
      this.#terminating.set(thread, closedError());
      await thread.close(this.#status.kind === 'ready' ? this.#limits.closeMs : 0);
    }
    this.#thread = undefined;
    this.#failAll(closedError());
    this.#setStatus({ kind: 'closed' });
  }

  #refusal(method: RemoteMethod, args: readonly unknown[], { signal }: CallSupervision): Error | undefined {
    if (this.#closing !== undefined) return closedError();
    if (this.#status.kind === 'failed') return this.#status.error;
    if (signal?.aborted === true) return cancelledError(method);
    if (wireSize(args, MESSAGE_BYTE_CAP) <= MESSAGE_BYTE_CAP) return undefined;
    return new LocalDataError(
      'PAYLOAD_TOO_LARGE',
      `${method}: what is sent is larger than ${MESSAGE_BYTE_CAP / 1024 / 1024} MB. Send it in several calls, or import it from a file.`,
      { method, capBytes: MESSAGE_BYTE_CAP },
    );
  }

  // --- The thread's lives

  async #openThread(): Promise<void> {
    const thread = new EngineThread(this.#options, {
      onSnapshot: (snapshot: StoreSnapshot) => this.mirror.reset(snapshot),
      onCommit: (event: CommitEvent) => this.#onCommit(event),
      onProgress: ({ call, progress }) => this.#onProgress(call, progress),
      onTrouble: (error) => this.reportError(error),
    });
    this.#thread = thread;
    try {
      await thread.open(this.#limits.openMs);
    } catch (error) {
      await thread.terminate();
      this.#thread = undefined;
      throw error;
    }
    void thread.ended.then((reason) => this.#onEnded(thread, reason));
  }

  #becomeReady(): void {
    const thread = this.#thread;
    if (thread === undefined || this.#closing !== undefined) return;
    const pausedBecause = this.#pausedBecause;
    this.#setStatus({ kind: 'ready', ...(pausedBecause === undefined ? {} : { pausedBecause }) });
    for (const call of this.#calls.values()) {
      if (call.thread === undefined) this.#send(call, thread);
    }
  }

  #onEnded(thread: EngineThread, end: Error): void {
    if (this.#thread !== thread) return;
    this.#thread = undefined;
    if (this.#closing !== undefined) return;
    const purpose = this.#terminating.get(thread);
    this.reportError(purpose ?? end);
    this.#noteDeath(purpose ?? end);
    for (const call of this.#calls.values()) this.#outlive(call);
    if (purpose === undefined) this.#restartAfterCrash(end);
    else this.#restartAfter(0, purpose);
  }

  #restartAfterCrash(reason: Error): void {
    const now = performance.now();
    this.#crashes = [...this.#crashes.filter((at) => now - at < 60_000), now];
    const { restartsPerMinute, backoffMs } = this.#limits;
    if (this.#crashes.length > restartsPerMinute) {
      const message = `The engine ended ${this.#crashes.length} times within a minute and is not started again (${reason.message}) See the log, then reopen the database.`;
      this.#fail(new LocalDataError('INTERNAL', message, {}, { cause: reason }));
      return;
    }
    this.#restartAfter(backoffMs * 2 ** (this.#crashes.length - 1), reason);
  }

  #restartAfter(ms: number, reason: Error): void {
    this.#setStatus({ kind: 'restarting', reason });
    this.#restartTimer = setTimeout(() => void this.#restart(), ms);
  }

  async #restart(): Promise<void> {
    if (this.#closing !== undefined) return;
    try {
      await this.#openThread();
      await this.#startProcessor();
    } catch (error) {
      if (this.#closing !== undefined) return;
      const failure = asError(error);
      this.reportError(failure);
      // What the database says of itself does not change by trying again; an unexplained end may.
      if (failure instanceof LocalDataError && failure.code !== 'INTERNAL') this.#fail(failure);
      else this.#restartAfterCrash(failure);
      return;
    }
    this.#becomeReady();
  }

  /** A thread that ends during this is `#onEnded`'s business; one that is long about it goes on meanwhile. */
  async #startProcessor(): Promise<void> {
    const thread = this.#thread;
    if (!this.#runsProcessor || thread === undefined) return;
    const told = new PendingCall(0, 'startChangeProcessor', [], {});
    told.sendTo(thread, () => {});
    await Promise.race([told.result, thread.ended, delay(this.#limits.closeMs, undefined, { ref: false })]);
  }

  #noteProcessor(method: 'startChangeProcessor' | 'stopChangeProcessor'): void {
    this.#runsProcessor = method === 'startChangeProcessor';
    this.#deathsWhileApplying = 0;
    if (this.#pausedBecause === undefined) return;
    this.#pausedBecause = undefined;
    if (this.#status.kind === 'ready') this.#setStatus({ kind: 'ready' });
  }

  /** A change whose applying kills the thread would kill each one that comes after. */
  #noteDeath(reason: Error): void {
    if (this.mirror.stores.changes.getState().processor !== 'processing') return;
    this.#deathsWhileApplying += 1;
    if (this.#deathsWhileApplying < this.#limits.deathsUntilPaused || !this.#runsProcessor) return;
    this.#runsProcessor = false;
    this.#crashes = [];
    this.#pausedBecause = pausedError(this.#deathsWhileApplying, reason);
    this.reportError(this.#pausedBecause);
  }

  #fail(error: Error): void {
    this.#failAll(error);
    this.#setStatus({ kind: 'failed', error });
  }

  #failAll(error: Error): void {
    for (const call of this.#calls.values()) call.fail(error);
    this.#calls.clear();
  }

  /** Ends a thread that does not answer; its calls are repeated or reported once it has ended. */
  #terminate(thread: EngineThread, method: RemoteMethod): void {
    this.#terminating.set(thread, unresponsiveError(method));
    thread.terminate().catch((error: unknown) => this.reportError(error));
  }

  #setStatus(status: EngineStatus): void {
    this.#status = status;
    for (const listener of this.#statusListeners) {
      try {
        listener(status);
      } catch (error) {
        this.reportError(error);
      }
    }
  }

  // --- Calls

  #send(call: PendingCall, thread: EngineThread): void {
    call.sendTo(thread, () => this.#calls.delete(call.id));
  }

  /** What becomes of a call whose thread ended. */
  #outlive(call: PendingCall): void {
    if (call.settled || call.thread === undefined) return;
    call.thread = undefined;
    if (call.cancelled) this.#settleWith(call, cancelledError(call.method));
    else if (call.definition.afterRestart === 'report') this.#settleWith(call, outcomeUnknownError(call.method));
    else if (call.repeats > 0) this.#settleWith(call, gaveUpError(call.method));
    else {
      call.repeats += 1;
      this.#armTimer(call);
    }
  }

  #settleWith(call: PendingCall, error: Error): void {
    this.#calls.delete(call.id);
    call.fail(error);
  }

  #armTimer(call: PendingCall): void {
    clearTimeout(call.timer);
    call.timer = setTimeout(() => void this.#onTimer(call), call.limitMs ?? this.#limits.silenceMs);
  }

  async #onTimer(call: PendingCall): Promise<void> {
    const { thread, limitMs } = call;
    if (thread === undefined) {
      if (limitMs === null) this.#armTimer(call);
      else this.#settleWith(call, timedOutError(call.method, limitMs));
      return;
    }
    const answers = await thread.answers(this.#limits.pingMs);
    if (call.settled || call.thread !== thread) return;
    const isToBlame = !answers && !this.#isHeldUp(call);
    if (limitMs === null && !isToBlame) return this.#armTimer(call);
    call.cancel();
    this.#settleWith(call, timedOutError(call.method, limitMs ?? this.#limits.silenceMs));
    if (isToBlame) this.#terminate(thread, call.method);
  }

  #followSignal(call: PendingCall): void {
    const { signal } = call.supervision;
    if (signal === undefined) return;
    const onAbort = () => this.#onAbort(call);
    signal.addEventListener('abort', onAbort, { once: true });
    const stop = () => signal.removeEventListener('abort', onAbort);
    call.result.then(stop, stop);
  }

  #onAbort(call: PendingCall): void {
    if (call.settled) return;
    if (call.thread === undefined) return this.#settleWith(call, cancelledError(call.method));
    call.cancel();
    if (call.definition.endsByItself === true) return this.#settleWith(call, cancelledError(call.method));
    clearTimeout(call.timer);
    const { cancelMs, cancelSupervisedMs } = this.#limits;
    const graceMs = call.definition.limit === 'supervised' ? cancelSupervisedMs : cancelMs;
    call.timer = setTimeout(() => void this.#afterGrace(call), graceMs);
  }

  async #afterGrace(call: PendingCall): Promise<void> {
    const { thread } = call;
    if (thread === undefined) return;
    const answers = await thread.answers(this.#limits.pingMs);
    if (call.settled || call.thread !== thread) return;
    // A supervised call that is alive ends with its own report of how far it came.
    if (answers && call.definition.limit === 'supervised') return this.#armTimer(call);
    const isToBlame = !answers && !this.#isHeldUp(call);
    this.#settleWith(call, cancelledError(call.method));
    if (isToBlame) this.#terminate(thread, call.method);
  }

  /** Whether an earlier call with a limit of its own may be what keeps the thread; that one's limit will tell. */
  #isHeldUp(call: PendingCall): boolean {
    for (const other of this.#calls.values()) {
      if (other.id >= call.id) return false;
      if (other.thread === call.thread && other.definition.limit !== 'supervised' && !other.cancelled) return true;
    }
    return false;
  }

  #onCommit(event: CommitEvent): void {
    // At rest after having applied: what was at hand did no harm.
    const { processor } = this.mirror.stores.changes.getState();
    if (processor === 'processing' && event.processor === 'idle') this.#deathsWhileApplying = 0;
    this.mirror.commit(event);
    for (const call of this.#calls.values()) this.#noteProgress(call);
  }

  #onProgress(id: number, progress: ImportProgress): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#noteProgress(call);
    call.supervision.onProgress?.(progress);
  }

  #noteProgress(call: PendingCall): void {
    if (call.limitMs === null && !call.cancelled) this.#armTimer(call);
  }
}

function closedError(): LocalDataError {
  return new LocalDataError('ENGINE_CLOSED', 'The database is closed. Open it again to go on.');
}

function cancelledError(method: RemoteMethod): LocalDataError {
  return new LocalDataError('CANCELLED', `${method} was cancelled.`, { method });
}

function timedOutError(method: RemoteMethod, limitMs: number): LocalDataError {
  return new LocalDataError(
    'TIMED_OUT',
    `${method} was not done after ${limitMs / 1000} s and was given up. If it writes, look in Changes whether it took effect; then try less at once or allow more time.`,
    { method, limitMs },
  );
}

function unresponsiveError(method: RemoteMethod): LocalDataError {
  return new LocalDataError(
    'TIMED_OUT',
    `The engine's thread was ended because ${method} kept it from answering; a new one takes over.`,
    { method },
  );
}

function outcomeUnknownError(method: RemoteMethod): LocalDataError {
  return new LocalDataError(
    'ENGINE_RESTARTED',
    `The engine was restarted while ${method} was under way, so it is not known here whether it took effect: look it up in Changes before doing it again.`,
    { method },
  );
}

function gaveUpError(method: RemoteMethod): LocalDataError {
  return new LocalDataError(
    'ENGINE_RESTARTED',
    `The engine was restarted twice while ${method} was under way, which changes nothing and was given up. Try again, or try less at once.`,
    { method },
  );
}

function pausedError(deaths: number, reason: Error): LocalDataError {
  return new LocalDataError(
    'INTERNAL',
    `Processing is paused: applying changes ended the engine ${deaths} times in a row. Discard or edit the change that does it, the first that waits, then resume processing.`,
    { deaths },
    { cause: reason },
  );
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
