// The server without sockets: a request in, an answer out, over a store, a clock and a source of randomness that are given.
// Keeps nothing between requests but who waits; any number of them may stand on one database.
import { type Context, Hono } from 'hono';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import {
  PROTOCOL_HEADER,
  type PushResponse,
  SYNC_PROTOCOL_VERSION,
  type SpaceInfo,
  pullQuerySchema,
  snapshotQuerySchema,
  spaceNameSchema,
} from '../protocol/sync.ts';
import { type EntityTypeRules, type ValidateHook, compileRules } from './change-rules.ts';
import { decodeCursor } from './cursor.ts';
import { Metrics } from './metrics.ts';
import { openApiDocument } from './open-api.ts';
import { type PushParts, push } from './push.ts';
import { RateLimit, tooMany } from './rate-limit.ts';
import { type FeedPage, type Standing, pageJson, readFeedPage } from './read-feed.ts';
import { readJsonBody } from './request-body.ts';
import { Retention, type RetentionOptions } from './retention.ts';
import { type ServerClock, systemServerClock } from './server-clock.ts';
import { type ServerLimits, completeLimits } from './server-limits.ts';
import { type ServerLogger, describeError, silentLogger } from './server-log.ts';
import { readBucketPage, readDigest, readSnapshotPage } from './snapshot.ts';
import { readSpace } from './spaces.ts';
import type { Store } from './store.ts';
import { SyncRequestError } from './sync-request-error.ts';
import { type Right, type TokenHolder, type TokenOptions, createTokenReader } from './tokens.ts';
import { Turns } from './turns.ts';
import { WaitingReaders } from './waiting-readers.ts';

export interface ServerAppOptions extends TokenOptions {
  /** Opened and migrated; the app does not close it. */
  readonly store: Store;
  readonly clock?: ServerClock;
  /** A value that was never one before: for epochs and request ids. */
  readonly newId?: () => string;
  readonly rules?: EntityTypeRules;
  readonly validate?: ValidateHook;
  readonly limits?: Partial<ServerLimits>;
  readonly retention?: Partial<RetentionOptions>;
  readonly logger?: ServerLogger;
  /** How often spaces with readers are looked at although nobody said that they have something new. */
  readonly sweepMs?: number;
}

export interface ServerApp {
  fetch(request: Request): Promise<Response>;
  /** From now on waiting readers are answered and others are sent away. */
  drain(): void;
  close(): Promise<void>;
}

/** What a request's way through the routes leaves for its log line. */
interface Variables {
  holder: TokenHolder;
  requestId: string;
  code: string;
}

type PlainHeaders = Readonly<Record<string, string>>;
type RequestContext = Context<{ Variables: Variables }>;

const bucketSchema = z.coerce.number().int().min(0).max(255);
const bucketQuerySchema = snapshotQuerySchema;
const PROTOCOLS = [SYNC_PROTOCOL_VERSION];
const JSON_TYPE = 'application/json; charset=utf-8';

export function createServerApp(options: ServerAppOptions): ServerApp {
  const server = new SyncServer(options);
  return {
    fetch: async (request) => server.routes.fetch(request),
    drain: () => server.drain(),
    close: () => server.close(),
  };
}

class SyncServer {
  readonly routes = new Hono<{ Variables: Variables }>({ strict: false });
  readonly #parts: PushParts;
  readonly #tokens: ReturnType<typeof createTokenReader>;
  readonly #rate: RateLimit;
  readonly #readers: WaitingReaders;
  readonly #retention: Retention;
  readonly #turns = new Turns();
  readonly #metrics = new Metrics();
  readonly #logger: ServerLogger;
  readonly #newId: () => string;
  #isDraining = false;

  constructor(options: ServerAppOptions) {
    const { store, clock = systemServerClock, logger = silentLogger, newId = randomUUID } = options;
    const limits = completeLimits(options.limits);
    const origin = { now: () => clock.now(), newEpoch: newId };
    this.#parts = { store, clock, origin, limits, rules: compileRules(options.rules), validate: options.validate };
    this.#tokens = createTokenReader(options, clock);
    this.#rate = new RateLimit(clock, limits.requestsPerSecond, limits.requestsAtOnce);
    this.#logger = logger;
    this.#newId = newId;
    // First what may refuse its options: readers have a timer from the start.
    this.#retention = new Retention({ store, clock, logger, metrics: this.#metrics, ...options.retention });
    this.#readers = new WaitingReaders({
      store,
      clock,
      read: (space, standing, limit) => this.#readPage(space, standing, limit),
      onReadFailed: (error) => logger.warn({ error: describeError(error) }, 'the feed could not be read or told'),
      ...(options.sweepMs === undefined ? {} : { sweepMs: options.sweepMs }),
    });
    this.#addGauges();
    this.#addRoutes();
  }

  drain(): void {
    this.#isDraining = true;
    this.#readers.drain();
  }

  async close(): Promise<void> {
    this.drain();
    await this.#readers.close();
    await this.#retention.close();
  }

  #addRoutes(): void {
    const { routes } = this;
    routes.use(async (context, next) => this.#observe(context, next));
    routes.onError((error, context) => this.#answerError(error, context));
    routes.notFound(() => {
      throw new SyncRequestError('NOT_FOUND', 'There is nothing at this address.');
    });
    routes.get('/healthz', (context) => this.#health(context));
    routes.get('/metrics', (context) =>
      answer(context, this.#metrics.toText(), 200, { 'content-type': 'text/plain; charset=utf-8' }),
    );
    routes.get('/openapi.json', (context) => answerJson(context, openApiDocument()));
    // This is also the way to `/v1/spaces/:space` itself.
    routes.use('/v1/spaces/:space/*', async (context, next) => this.#admit(context, next));
    routes.get('/v1/spaces/:space', (context) => this.#info(context));
    routes.post('/v1/spaces/:space/changes', (context) => this.#push(context));
    routes.get('/v1/spaces/:space/changes', (context) => this.#pull(context));
    routes.get('/v1/spaces/:space/snapshot', (context) => this.#snapshot(context));
    routes.get('/v1/spaces/:space/digest', (context) => this.#digest(context));
    routes.get('/v1/spaces/:space/digest/:bucket', (context) => this.#bucket(context));
    const known: Readonly<Record<string, string>> = {
      '/healthz': 'GET, HEAD',
      '/metrics': 'GET, HEAD',
      '/openapi.json': 'GET, HEAD',
      '/v1/spaces/:space': 'GET, HEAD',
      '/v1/spaces/:space/changes': 'GET, HEAD, POST',
      '/v1/spaces/:space/snapshot': 'GET, HEAD',
      '/v1/spaces/:space/digest': 'GET, HEAD',
      '/v1/spaces/:space/digest/:bucket': 'GET, HEAD',
    };
    for (const [path, allow] of Object.entries(known)) {
      routes.all(path, () => {
        throw new SyncRequestError('METHOD_NOT_ALLOWED', `This address takes ${allow}.`, { headers: { allow } });
      });
    }
  }

  #addGauges(): void {
    const { store } = this.#parts;
    this.#metrics.gauge(
      'local_data_waiting_readers',
      'Readers that wait for something new.',
      () => this.#readers.count,
    );
    if (store.pool() === null) return;
    this.#metrics.gauge('local_data_db_connections_used', 'Connections in use.', () => store.pool()?.used ?? 0);
    this.#metrics.gauge('local_data_db_connections_wanted', 'Requests that wait for a connection.', () => {
      return store.pool()?.waiting ?? 0;
    });
  }

  /** One line and one count for each request; the path as its route has it, for a path names spaces. */
  async #observe(context: RequestContext, next: () => Promise<void>): Promise<void> {
    const started = performance.now();
    const requestId = this.#newId();
    context.set('requestId', requestId);
    await next();
    const { status } = context.res;
    const route = routeOf(context.req.path);
    const ms = performance.now() - started;
    this.#metrics.count(
      'local_data_requests_total',
      'Requests by route and status.',
      `method="${methodOf(context.req.method)}",route="${route}",status="${status}"`,
    );
    if (route !== 'changes' || context.req.method === 'POST') {
      this.#metrics.observe('local_data_request_seconds', 'Time of requests that do not wait.', ms / 1_000);
    }
    const code = context.get('code') as string | undefined;
    const fields = { requestId, method: context.req.method, route, status, ms: Math.round(ms), code };
    if (status >= 500) this.#logger.warn(fields, 'request failed');
    else this.#logger.info(fields, 'request');
  }

  #answerError(error: unknown, context: RequestContext): Response {
    const known = this.#asKnown(error);
    context.set('code', known.code);
    if (known.status >= 500) {
      this.#logger.error({ requestId: context.get('requestId'), error: describeError(error) }, 'a request failed');
    }
    return answerJson(context, known.body, known.status, known.extras.headers);
  }

  #asKnown(error: unknown): SyncRequestError {
    if (error instanceof SyncRequestError) return error;
    if (this.#parts.store.isPassing(error)) {
      return new SyncRequestError('UNAVAILABLE', 'The server cannot reach its database right now. Try again.', {
        headers: { 'retry-after': '1' },
      });
    }
    return new SyncRequestError('INTERNAL', 'The server failed. Its log has the request id of this answer.');
  }

  async #health(context: RequestContext): Promise<Response> {
    if (this.#isDraining) return answerJson(context, { status: 'draining', protocols: PROTOCOLS }, 503);
    try {
      await this.#parts.store.run({ name: 'health', text: 'SELECT 1 AS one' }, []);
      return answerJson(context, { status: 'ok', protocols: PROTOCOLS });
    } catch {
      return answerJson(context, { status: 'unavailable', protocols: PROTOCOLS }, 503);
    }
  }

  /** Token before all else: whoever has none learns nothing of what is here. */
  async #admit(context: RequestContext, next: () => Promise<void>): Promise<void> {
    if (this.#isDraining) {
      throw new SyncRequestError('UNAVAILABLE', 'This server is shutting down. Try again.', {
        headers: { 'retry-after': '1', connection: 'close' },
      });
    }
    const holder = await this.#tokens.read(context.req.header('authorization'));
    if (spaceNameSchema.safeParse(context.req.param('space')).data !== holder.space) {
      throw new SyncRequestError('FORBIDDEN', 'The token is not for this space.');
    }
    requireProtocol(context.req.header(PROTOCOL_HEADER));
    this.#rate.take(`${holder.space} ${holder.subject ?? ''}`);
    this.#retention.use(holder.space);
    context.set('holder', holder);
    await next();
  }

  async #info(context: RequestContext): Promise<Response> {
    const holder = context.get('holder');
    const { store, origin, limits, clock } = this.#parts;
    const { epoch, version } = await readSpace(store, holder.space, origin);
    const { changes, bodyBytes, changeBytes, waitSeconds } = limits;
    return answerJson(context, {
      epoch,
      space: holder.space,
      version,
      protocols: PROTOCOLS,
      serverTime: clock.now(),
      rights: [...holder.rights],
      limits: { changes, bodyBytes, changeBytes, waitSeconds },
    } satisfies SpaceInfo);
  }

  async #push(context: RequestContext): Promise<Response> {
    const holder = requireRight(context, 'write');
    const { clock, limits } = this.#parts;
    const body = await readJsonBody(context.req.raw, clock, limits);
    const { epoch, results } = await this.#turns.take(holder.space, async () => {
      const outcome = await push(this.#parts, holder, body);
      if (outcome.grown !== null) this.#readers.committed(outcome.grown);
      return outcome;
    });
    for (const { outcome } of results) {
      this.#metrics.count('local_data_changes_total', 'Pushed changes by outcome.', `outcome="${outcome}"`);
    }
    return answerJson(context, { epoch, serverTime: clock.now(), results: [...results] } satisfies PushResponse);
  }

  async #pull(context: RequestContext): Promise<Response> {
    const { space } = requireRight(context, 'read');
    const { limits, clock } = this.#parts;
    const { after, limit = limits.changes, wait = 0 } = parseQuery(context, pullQuerySchema);
    const standing = after === undefined ? null : decodeCursor(space, after, 'after');
    const rows = Math.min(limit, limits.changes);
    const seconds = Math.min(wait, limits.waitSeconds);
    const page =
      seconds === 0
        ? await this.#readPage(space, standing, rows)
        : await this.#waitForPage(context, space, standing, rows, seconds);
    this.#metrics.count('local_data_delivered_total', 'Changes that were delivered to readers.', '', page.count);
    return answer(context, pageJson(page, clock.now()));
  }

  async #waitForPage(
    context: RequestContext,
    space: string,
    standing: Standing,
    limit: number,
    seconds: number,
  ): Promise<FeedPage> {
    if (this.#readers.count >= this.#parts.limits.waitingReaders) throw tooMany(5, 'Too many readers wait here.');
    return this.#readers.next(space, standing, limit, seconds * 1_000, context.req.raw.signal);
  }

  async #readPage(space: string, standing: Standing, limit: number): Promise<FeedPage> {
    const page = await readFeedPage(this.#parts.store, space, standing, limit, this.#parts.origin);
    this.#metrics.count('local_data_feed_reads_total', 'Pages read from the feed.');
    return page;
  }

  async #snapshot(context: RequestContext): Promise<Response> {
    const { space } = requireRight(context, 'read');
    const { page, limit = this.#parts.limits.changes } = parseQuery(context, snapshotQuerySchema);
    const rows = Math.min(limit, this.#parts.limits.changes);
    return answer(context, await readSnapshotPage(this.#parts, space, page, rows));
  }

  async #digest(context: RequestContext): Promise<Response> {
    const { space } = requireRight(context, 'read');
    return answerJson(context, await readDigest(this.#parts, space));
  }

  async #bucket(context: RequestContext): Promise<Response> {
    const { space } = requireRight(context, 'read');
    const bucket = bucketSchema.safeParse(context.req.param('bucket'));
    if (!bucket.success) {
      throw new SyncRequestError('INVALID_REQUEST', 'A bucket is a number from 0 to 255.', { field: 'bucket' });
    }
    const { page, limit = this.#parts.limits.changes } = parseQuery(context, bucketQuerySchema);
    const rows = Math.min(limit, this.#parts.limits.changes);
    return answer(context, await readBucketPage(this.#parts, space, bucket.data, page, rows));
  }
}

function answerJson(context: RequestContext, body: unknown, status = 200, headers?: PlainHeaders): Response {
  return answer(context, JSON.stringify(body), status, headers);
}

/** Made in one piece: a header that is added to an answer later makes another answer of it, at twenty times the price. */
function answer(context: RequestContext, body: string, status = 200, headers: PlainHeaders = {}): Response {
  return new Response(body, {
    status,
    headers: {
      'content-type': JSON_TYPE,
      'x-request-id': context.get('requestId'),
      [PROTOCOL_HEADER]: String(SYNC_PROTOCOL_VERSION),
      'cache-control': 'no-store',
      ...headers,
    },
  });
}

/** Fixed names for the log and the counts. */
function routeOf(path: string): string {
  if (['/healthz', '/metrics', '/openapi.json'].includes(path)) return path.slice(1);
  const [, rest] = /^\/v1\/spaces\/[^/]+(?:\/(changes|snapshot|digest))?(?:\/\d+)?$/.exec(path) ?? [];
  if (rest !== undefined) return rest;
  return /^\/v1\/spaces\/[^/]+$/.test(path) ? 'info' : 'other';
}

function methodOf(method: string): string {
  return ['GET', 'HEAD', 'POST'].includes(method) ? method : 'OTHER';
}

function requireRight(context: RequestContext, right: Right): TokenHolder {
  const holder = context.get('holder');
  if (holder.rights.includes(right)) return holder;
  throw new SyncRequestError('FORBIDDEN', `The token gives no right to ${right} here.`);
}

/** One that says nothing is taken to speak the first. */
function requireProtocol(header: string | undefined): void {
  if (header === undefined) return;
  if (header.split(',').some((version) => PROTOCOLS.includes(Number(version.trim())))) return;
  throw new SyncRequestError(
    'UNSUPPORTED_PROTOCOL',
    `This server speaks version ${PROTOCOLS.join(', ')} of the protocol.`,
    { protocols: PROTOCOLS, headers: { upgrade: `local-data/${SYNC_PROTOCOL_VERSION}` } },
  );
}

function parseQuery<T>(context: RequestContext, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(context.req.query());
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const field = (unknown ?? issue?.path.join('.') ?? '').slice(0, 100);
  throw new SyncRequestError('INVALID_REQUEST', `${field}: ${issue?.message.slice(0, 200) ?? 'does not fit'}.`, {
    field,
  });
}
