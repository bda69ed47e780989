// The panel's one line to its host: calls with answers, news, and what survives hiding. Never trusts an answer to come:
// each call has a time limit.
import type {
  FromPanel,
  KeptView,
  PanelCall,
  PanelCalls,
  PanelCommand,
  PanelTarget,
  ToPanel,
} from '../protocol/panel.ts';

interface VsCodeApi {
  postMessage(message: FromPanel): void;
  getState(): unknown;
  setState(state: unknown): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

const CALL_LIMIT_MS = 30_000;

interface PendingCall {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

export type News = Exclude<ToPanel, { kind: 'answer' } | { kind: 'refused' }>;

export class HostConnection {
  readonly #api = acquireVsCodeApi();
  readonly #pending = new Map<number, PendingCall>();
  readonly #listeners = new Set<(news: News) => void>();
  #lastId = 0;

  constructor() {
    window.addEventListener('message', (event: MessageEvent<ToPanel>) => this.#receive(event.data));
  }

  ready(): void {
    this.#api.postMessage({ kind: 'ready' });
  }

  crashed(message: string): void {
    this.#api.postMessage({ kind: 'crashed', message });
  }

  run(command: PanelCommand, about: { readonly target?: PanelTarget; readonly changeId?: string } = {}): void {
    this.#api.postMessage({ kind: 'command', command, ...about });
  }

  /** With a signal, for reads only: what is given up may have been done. */
  call<C extends PanelCall>(
    call: C,
    query: PanelCalls[C]['query'],
    signal?: AbortSignal,
  ): Promise<PanelCalls[C]['answer']> {
    const id = ++this.#lastId;
    signal?.addEventListener('abort', () => this.#giveUp(id), { once: true });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error('The database did not answer within 30 s. It may be busy; try again.'));
      }, CALL_LIMIT_MS);
      this.#pending.set(id, { resolve, reject, timer });
      this.#api.postMessage({ kind: 'call', id, call, query });
    });
  }

  #giveUp(id: number): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    this.#api.postMessage({ kind: 'cancel', id });
    pending.reject(new Error('It was given up.'));
  }

  listen(listener: (news: News) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  get kept(): unknown {
    return this.#api.getState();
  }

  /** With VS Code, which has it at once and writes it down every few seconds. */
  keep(state: unknown): void {
    this.#api.setState(state);
  }

  /** With the host, which writes it down at once. */
  keepAtHost(place: string, kept: KeptView): void {
    this.#api.postMessage({ kind: 'keep', place, kept });
  }

  #receive(message: ToPanel): void {
    if (message.kind === 'answer' || message.kind === 'refused') {
      const pending = this.#pending.get(message.id);
      if (pending === undefined) return;
      this.#pending.delete(message.id);
      clearTimeout(pending.timer);
      if (message.kind === 'answer') pending.resolve(message.value as never);
      else pending.reject(new Error(message.message));
      return;
    }
    for (const listener of this.#listeners) listener(message);
  }
}
