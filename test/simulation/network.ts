// The network between simulated clients and the server, in the place of `fetch`: delays, loses, doubles and refuses what
// passes, by chance from a seed. The server is called in process; nothing here changes what either side says.
import type { Chance, World } from './virtual-world.ts';
import { Machine } from './virtual-world.ts';

export interface Link {
  /** A cut in one direction each. */
  isCutOut: boolean;
  isCutIn: boolean;
  lostRequests: number;
  lostAnswers: number;
  doubled: number;
  /** The server no longer takes this client's token. */
  isExpired: boolean;
  /** Answered by 503 on the way, and asked to come again after a second. */
  busy: number;
  latencyMs: number;
}

export function goodLink(): Link {
  return {
    isCutOut: false,
    isCutIn: false,
    lostRequests: 0,
    lostAnswers: 0,
    doubled: 0,
    isExpired: false,
    busy: 0,
    latencyMs: 20,
  };
}

type Serve = (request: Request) => Promise<Response>;

export class Network {
  readonly links = new Map<string, Link>();
  serve: Serve = () => Promise.reject(new Error('no server'));
  readonly #world: World;
  readonly #chance: Chance;
  readonly #machine = new Machine();

  constructor(world: World, chance: Chance) {
    this.#world = world;
    this.#chance = chance;
  }

  /** As the global one; the client is named by the address's host. */
  readonly fetch = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const url = new URL(input instanceof Request ? input.url : input);
    const link = this.links.get(url.hostname);
    if (link === undefined) throw new TypeError(`${url.hostname} is none of the simulated clients.`);
    const signal = init.signal ?? new AbortController().signal;
    const answered = this.#exchange(link, url, init);
    return new Promise<Response>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')), { once: true });
      answered.then(resolve, reject);
    });
  };

  async #exchange(link: Link, url: URL, init: RequestInit): Promise<Response> {
    await this.#delay(link);
    if (link.isCutOut || this.#chance.happens(link.lostRequests)) return this.#lost();
    if (link.isExpired) return refused();
    if (this.#chance.happens(link.busy)) return busy();
    if (this.#chance.happens(link.doubled)) void this.#late(link, url, init);
    const { status, headers, text } = await this.#ask(url, init);
    await this.#delay(link);
    if (link.isCutIn || this.#chance.happens(link.lostAnswers)) return this.#lost();
    return new Response(text, { status, headers });
  }

  /** The same once more, whose answer nobody waits for. */
  async #late(link: Link, url: URL, init: RequestInit): Promise<void> {
    await this.#delay(link);
    await this.#ask(url, init).catch(() => undefined);
  }

  async #ask(url: URL, { method, headers, body }: RequestInit) {
    const request = new Request(url, {
      ...(method === undefined ? {} : { method }),
      ...(headers === undefined ? {} : { headers }),
      ...(typeof body === 'string' ? { body } : {}),
    });
    const response = await this.serve(request);
    return {
      status: response.status,
      headers: [...response.headers] as [string, string][],
      text: await response.text(),
    };
  }

  /** Half of the time whoever asked hears of it soon, and else never. */
  async #lost(): Promise<Response> {
    if (this.#chance.happens(0.5)) await new Promise(() => undefined);
    await this.#wait(200);
    throw new TypeError('fetch failed', { cause: Object.assign(new Error('reset'), { code: 'ECONNRESET' }) });
  }

  #delay({ latencyMs }: Link): Promise<void> {
    return this.#wait(1 + this.#chance.below(2 * latencyMs));
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.#world.clockOf(this.#machine).setTimer(resolve, milliseconds);
    });
  }
}

function refused(): Response {
  const body = { error: { code: 'TOKEN_EXPIRED', message: 'The token has expired. Sign in again.' } };
  return new Response(JSON.stringify(body), { status: 401, headers: { 'content-type': 'application/json' } });
}

function busy(): Response {
  const body = { error: { code: 'UNAVAILABLE', message: 'Come again.' } };
  const headers = { 'content-type': 'application/json', 'retry-after': '1' };
  return new Response(JSON.stringify(body), { status: 503, headers });
}
