// A way to a real server on which a test loses rows of the feed or the answers to pushes, or holds an answer back: what a
// faulty proxy does, and what makes a comparison find differences.
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type Asked, ScriptedServer } from '../sync/scripted-server.ts';

export interface Held {
  /** The request is there. */
  readonly arrived: Promise<void>;
  /** Whoever asked has given it up. */
  readonly abandoned: Promise<void>;
}

export class WayToServer implements AsyncDisposable {
  /** Ids of entities whose changes the feed keeps silent about. */
  readonly silentAbout = new Set<string>();
  readonly #target: string;
  #scripted: ScriptedServer | undefined;
  /** While it is there, nothing that tells of a push comes back. */
  #onPushed: (() => void) | undefined;
  #hold: { readonly path: RegExp; arrive(): void; abandon(): void } | undefined;

  private constructor(target: string) {
    this.#target = target;
  }

  static async to(target: string): Promise<WayToServer> {
    const way = new WayToServer(target);
    way.#scripted = await ScriptedServer.start((asked, response) => way.#pass(asked, response));
    return way;
  }

  get url(): string {
    return this.#scripted?.url ?? '';
  }

  /** The next request to such a path gets no answer. */
  holdNext(path: RegExp): Held {
    const arrived = Promise.withResolvers<void>();
    const abandoned = Promise.withResolvers<void>();
    this.#hold = { path, arrive: arrived.resolve, abandon: abandoned.resolve };
    return { arrived: arrived.promise, abandoned: abandoned.promise };
  }

  /**
   * Pushes reach the server, and neither their answers come back nor the feed that shows them, until the end that is given;
   * resolves when an answer was lost.
   */
  async losePushAnswers(): Promise<() => void> {
    const lost = Promise.withResolvers<void>();
    this.#onPushed = lost.resolve;
    await lost.promise;
    return () => {
      this.#onPushed = undefined;
    };
  }

  async #pass({ method, url = '', headers, body }: Asked, response: ServerResponse): Promise<void> {
    const gone = once(response, 'close');
    const hold = this.#hold;
    if (hold?.path.test(url) === true) {
      this.#hold = undefined;
      hold.arrive();
      await gone;
      hold.abandon();
      return;
    }
    const giveUp = new AbortController();
    void gone.then(() => giveUp.abort());
    try {
      const answer = await fetch(`${this.#target}${url}`, {
        method: method ?? 'GET',
        headers: carried(Object.entries(headers)),
        ...(body === '' ? {} : { body }),
        signal: giveUp.signal,
      });
      const text = await answer.text();
      const isFeed = method === 'GET' && url.includes('/changes');
      if (this.#onPushed !== undefined && (method === 'POST' || isFeed)) {
        response.destroy();
        if (method === 'POST') this.#onPushed();
        return;
      }
      response.writeHead(answer.status, carried([...answer.headers]));
      response.end(isFeed && answer.ok ? this.#silenced(text) : text);
    } catch {
      // Whoever asked is gone, or the server is: either way there is nobody to answer, or nothing to say.
      response.destroy();
    }
  }

  #silenced(text: string): string {
    const page = JSON.parse(text) as { readonly changes: readonly { readonly entityId: string }[] };
    return JSON.stringify({ ...page, changes: page.changes.filter(({ entityId }) => !this.silentAbout.has(entityId)) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scripted?.[Symbol.asyncDispose]();
  }
}

/** Those that are not about the connection or the length of what it carries. */
function carried(headers: readonly (readonly [string, string | string[] | undefined])[]): Record<string, string> {
  const own = ['host', 'connection', 'keep-alive', 'content-length', 'content-encoding', 'transfer-encoding'];
  return Object.fromEntries(
    headers.flatMap(([name, value]) => (own.includes(name) || value === undefined ? [] : [[name, String(value)]])),
  );
}
