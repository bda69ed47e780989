// The sync server as it ships, and a small client that speaks the protocol by hand: what tests of the server say to it.
// LOCAL_DATA_SERVER names another bundle, so that a fault put into it turns a test red.
import { randomUUID } from 'node:crypto';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { JsonObject, Operation } from '../../src/protocol/changes.ts';
import {
  type PushResult,
  feedChangeSchema,
  pullResponseSchema,
  pushResponseSchema,
  snapshotEntitySchema,
  snapshotResponseSchema,
  spaceInfoSchema,
} from '../../src/protocol/sync.ts';
import { type PostgresForTests, startPostgres } from './postgres.ts';

type ServerModule = typeof import('../../src/server/start-server.ts');
type StartOptions = Parameters<ServerModule['startServer']>[0];
const built = fileURLToPath(new URL('../../dist/server.js', import.meta.url));
const server = (await import(pathToFileURL(process.env['LOCAL_DATA_SERVER'] ?? built).href)) as ServerModule;
export const { startServer, signToken, createServerApp, openServerStore } = server;

export const SECRET = 'a secret of tests that has more than 32 characters';

/** No test sends so many that it should be held back, unless that is what it tests. */
const limits = { requestsPerSecond: 100_000, requestsAtOnce: 100_000 };

export function startForTest(options: Omit<StartOptions, 'secret'>): ReturnType<typeof startServer> {
  return startServer({ secret: SECRET, ...options, limits: { ...limits, ...options.limits } });
}

let postgres: Promise<PostgresForTests> | null = null;

/** One Postgres for all suites of a run, started when the first asks; each takes a database of its own. */
export function sharedPostgres(): Promise<PostgresForTests> {
  postgres ??= startPostgres();
  return postgres;
}

if (typeof after === 'function') {
  after(async () => {
    await (await postgres)?.stop();
  });
}

export interface Draft {
  readonly id?: string;
  readonly entityType?: string;
  readonly entityId: string;
  readonly operation?: Operation;
  readonly data?: JsonObject | null;
  readonly baseVersion?: number;
  readonly timestamp?: number;
  readonly transactionId?: string | null;
  readonly after?: readonly string[];
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

export interface Sending extends Omit<RequestInit, 'headers'> {
  readonly headers?: Readonly<Record<string, string>>;
}

/** Speaks for one client of one space. */
export class ProtocolClient {
  readonly url: string;
  readonly space: string;
  readonly clientId: string;
  readonly token: string;
  #epoch: string | null = null;

  constructor(url: string, space: string, token: string, clientId: string = randomUUID()) {
    this.url = url;
    this.space = space;
    this.token = token;
    this.clientId = clientId;
  }

  static async enter(url: string, space: string, clientId?: string): Promise<ProtocolClient> {
    return new ProtocolClient(url, space, await signToken({ space, secret: SECRET }), clientId);
  }

  async request(path: string, init: Sending = {}): Promise<Answer> {
    const headers = { authorization: `Bearer ${this.token}`, 'content-type': 'application/json', ...init.headers };
    const response = await fetch(`${this.url}/v1/spaces/${this.space}${path}`, { ...init, headers });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: JSON.parse(text) };
  }

  async info() {
    return spaceInfoSchema.parse((await this.request('')).body);
  }

  async epoch(): Promise<string> {
    this.#epoch ??= (await this.info()).epoch;
    return this.#epoch;
  }

  /** The answer as it came. */
  async send(changes: readonly unknown[], cursor: string | null = null, epoch?: string): Promise<Answer> {
    const body = { clientId: this.clientId, epoch: epoch ?? (await this.epoch()), cursor, changes };
    return this.request('/changes', { method: 'POST', body: JSON.stringify(body) });
  }

  async push(...drafts: readonly Draft[]): Promise<PushResult[]> {
    const { status, body } = await this.send(drafts.map(toChange));
    if (status !== 200) throw new Error(`push: ${status} ${JSON.stringify(body)}`);
    return pushResponseSchema.parse(body).results;
  }

  async pull(after?: string, { limit, wait }: { limit?: number; wait?: number } = {}) {
    const query = new URLSearchParams();
    if (after !== undefined) query.set('after', after);
    if (limit !== undefined) query.set('limit', String(limit));
    if (wait !== undefined) query.set('wait', String(wait));
    const { status, body } = await this.request(`/changes?${query.toString()}`);
    if (status !== 200) throw new Error(`pull: ${status} ${JSON.stringify(body)}`);
    const page = pullResponseSchema.parse(body);
    return { ...page, changes: page.changes.map((change) => feedChangeSchema.parse(change)) };
  }

  async pullAll(limit?: number) {
    const changes = [];
    let after: string | undefined;
    for (;;) {
      const page = await this.pull(after, limit === undefined ? {} : { limit });
      changes.push(...page.changes);
      after = page.cursor;
      if (!page.more) return { changes, cursor: page.cursor, version: page.version };
    }
  }

  async snapshot(limit?: number) {
    const entities = [];
    for (let page = ''; ;) {
      const query = `${limit === undefined ? '' : `&limit=${limit}`}${page === '' ? '' : `&page=${page}`}`;
      const answer = snapshotResponseSchema.parse((await this.request(`/snapshot?${query.slice(1)}`)).body);
      entities.push(...answer.entities.map((entity) => snapshotEntitySchema.parse(entity)));
      if (answer.next === null) return { ...answer, entities };
      page = answer.next;
    }
  }
}

export function toChange(draft: Draft): object {
  const { operation = 'insert', entityId } = draft;
  return {
    id: draft.id ?? randomUUID(),
    entityType: draft.entityType ?? 'Task',
    entityId,
    operation,
    data: draft.data === undefined ? (operation === 'delete' ? null : { title: entityId }) : draft.data,
    baseVersion: draft.baseVersion ?? 0,
    timestamp: draft.timestamp ?? Date.now(),
    transactionId: draft.transactionId ?? null,
    ...(draft.after === undefined ? {} : { after: draft.after }),
  };
}
