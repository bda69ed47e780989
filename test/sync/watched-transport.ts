// The way from an engine to the real server in a test's hands: it keeps which changes were sent, can leave a kind of request
// without any answer for ever, and can go as the process goes that used it.
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport, TransportCall } from '../../src/sync/transport.ts';

export type Asked = 'info' | 'push' | 'pull' | 'snapshot';

/** What an engine connects to; the server's own address is the transport's business. */
export const WATCHED_URL = 'watched:server';

export class WatchedTransport {
  /** Ids of all changes that were sent, as often as they were. */
  readonly pushed: string[] = [];
  /** Requests of these kinds never settle, not even when they are cancelled. */
  readonly silent = new Set<Asked>();
  readonly #serverUrl: string;
  readonly #gone = new AbortController();
  readonly #waiting: { readonly what: Asked; readonly tell: () => void }[] = [];
  #pushMayGo: Promise<void> = Promise.resolve();
  #pulledMayCome: Promise<void> = Promise.resolve();

  constructor(serverUrl: string) {
    this.#serverUrl = serverUrl;
  }

  /** For the option `transports` of an engine. */
  get transports(): Readonly<Record<string, OpenTransport>> {
    return { watched: (options) => this.#watch(httpTransport({ ...options, url: this.#serverUrl })) };
  }

  /** Resolves with the next request of this kind that begins. */
  next(what: Asked): Promise<void> {
    return new Promise((tell) => this.#waiting.push({ what, tell }));
  }

  /** Pushes wait on the wire until what is given back is called. */
  holdPushes(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pushMayGo = promise;
    return resolve;
  }

  /** What is pulled, by the request under way as well, comes once what is given back is called. */
  holdPulled(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pulledMayCome = promise;
    return resolve;
  }

  /** Nothing more gets through: the process is gone. */
  end(): void {
    this.#gone.abort();
  }

  #watch(transport: SyncTransport): SyncTransport {
    return {
      ...transport,
      info: (call) => this.#ask('info', call, (own) => transport.info(own)),
      pull: (query, call) =>
        this.#ask('pull', call, async (own) => {
          const page = await transport.pull(query, own);
          await this.#pulledMayCome;
          return page;
        }),
      snapshot: (query, call) => this.#ask('snapshot', call, (own) => transport.snapshot(query, own)),
      push: (request, call) => {
        this.pushed.push(...request.changes.map(({ id }) => id));
        return this.#ask('push', call, async (own) => {
          await this.#pushMayGo;
          return transport.push(request, own);
        });
      },
    };
  }

  #ask<T>(what: Asked, call: TransportCall, send: (call: TransportCall) => Promise<T>): Promise<T> {
    for (const listener of this.#waiting.filter((waiting) => waiting.what === what)) {
      this.#waiting.splice(this.#waiting.indexOf(listener), 1);
      listener.tell();
    }
    if (this.silent.has(what)) return new Promise(() => undefined);
    return send({ ...call, signal: AbortSignal.any([call.signal, this.#gone.signal]) });
  }
}
