// One call between its caller and its settling, over as many threads as it takes. Settles once; never by itself.
import { CancellationTokenSource } from 'vscode-jsonrpc/node';
import { type MethodDefinition, type RemoteMethod, definitionOf } from '../protocol/engine-rpc.ts';
import type { CallSupervision } from './client.ts';
import { deferred } from './deferred.ts';
import type { EngineThread } from './engine-thread.ts';

/** What a timer takes; a longer time would fire it at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class PendingCall {
  readonly id: number;
  readonly method: RemoteMethod;
  readonly args: readonly unknown[];
  readonly supervision: CallSupervision;
  readonly definition: MethodDefinition;
  readonly result: Promise<unknown>;
  /** The thread it was sent to; none while it waits for one. */
  thread: EngineThread | undefined;
  repeats = 0;
  settled = false;
  cancelled = false;
  timer: NodeJS.Timeout | undefined;
  readonly #settlement = deferred<unknown>();
  #cancelSource = new CancellationTokenSource();

  constructor(id: number, method: RemoteMethod, args: readonly unknown[], supervision: CallSupervision) {
    this.id = id;
    this.method = method;
    this.args = args;
    this.supervision = supervision;
    this.definition = definitionOf(method);
    this.result = this.#settlement.promise;
  }

  /** Null for a call that goes on for as long as the engine is at it. */
  get limitMs(): number | null {
    const own = this.supervision.timeoutMs;
    if (own !== undefined) return Math.min(own, LONGEST_TIMER_MS);
    return this.definition.limit === 'supervised' ? null : this.definition.limit;
  }

  /** Sends it; what comes back settles it, unless that was done meanwhile or another thread has it now. */
  sendTo(thread: EngineThread, onSettled: () => void): void {
    this.thread = thread;
    this.#cancelSource = new CancellationTokenSource();
    const isCurrent = () => !this.settled && this.thread === thread;
    thread.send(this.method, { call: this.id, args: this.args }, this.#cancelSource.token).then(
      (value) => {
        if (isCurrent()) this.#settle(() => this.#settlement.resolve(value), onSettled);
      },
      (error: unknown) => {
        if (isCurrent()) this.#settle(() => this.#settlement.reject(error), onSettled);
      },
    );
  }

  /** Asks the engine to give it up. */
  cancel(): void {
    this.cancelled = true;
    this.#cancelSource.cancel();
  }

  fail(error: Error): void {
    if (!this.settled) this.#settle(() => this.#settlement.reject(error));
  }

  #settle(settle: () => void, onSettled?: () => void): void {
    this.settled = true;
    clearTimeout(this.timer);
    settle();
    onSettled?.();
  }
}
