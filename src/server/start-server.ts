// The sync server as a program or inside another: over Postgres, over a data directory of its own, or in memory. Whoever
// starts it closes it; closing answers those who wait, lets what runs come to its end, and takes a bounded time.
import { createAdaptorServer } from '@hono/node-server';
import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { openEmbeddedStore } from './embedded-store.ts';
import { openPostgresStore } from './postgres-store.ts';
import { migrate } from './schema.ts';
import { type ServerApp, type ServerAppOptions, createServerApp } from './server-app.ts';
import { systemServerClock } from './server-clock.ts';
import { completeLimits } from './server-limits.ts';
import type { Store } from './store.ts';
import { SyncRequestError } from './sync-request-error.ts';

export { createServerApp } from './server-app.ts';
export { signToken } from './tokens.ts';

export interface StartServerOptions extends Omit<ServerAppOptions, 'store'> {
  /** One of three: a Postgres that servers share, a directory that this server has alone, or nothing that lasts. */
  readonly databaseUrl?: string;
  readonly dataDir?: string;
  readonly memory?: boolean;
  /** Default 0: any that is free. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Connections to Postgres. Default 10, and one that listens. */
  readonly connections?: number;
  /** Milliseconds that Postgres may take for a statement, waiting for a lock included. Default 15,000. */
  readonly statementMs?: number;
  /** Milliseconds that closing waits for what runs. Default 10,000. */
  readonly closeMs?: number;
}

export interface RunningServer {
  /** Without a slash at its end. */
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

export async function startServer(options: StartServerOptions): Promise<RunningServer> {
  const { requestMs } = completeLimits(options.limits);
  const store = await openServerStore(options);
  let app: ServerApp | null = null;
  try {
    app = createServerApp({ ...options, store });
    const server = createHttpServer(app, requestMs);
    await listen(server, options.port ?? 0, options.host ?? '127.0.0.1');
    return running(server, app, store, options);
  } catch (error) {
    await app?.close();
    await store.close();
    throw error;
  }
}

type Place = Pick<StartServerOptions, 'databaseUrl' | 'dataDir' | 'memory' | 'connections' | 'statementMs' | 'clock'>;

/** With its tables made; whoever opens it closes it. For a server without sockets, see createServerApp. */
export async function openServerStore(place: Place): Promise<Store> {
  const store = await openStore(place);
  try {
    await migrate(store);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openStore(options: Place): Promise<Store> {
  const { databaseUrl, dataDir, memory = false, connections, statementMs, clock = systemServerClock } = options;
  const chosen = [databaseUrl !== undefined, dataDir !== undefined, memory].filter(Boolean).length;
  if (chosen !== 1) {
    throw new TypeError('Where are the data to be? Give one of databaseUrl, dataDir and memory: true.');
  }
  if (databaseUrl === undefined) return openEmbeddedStore(dataDir);
  return openPostgresStore({
    databaseUrl,
    clock,
    serverId: randomUUID(),
    ...(connections === undefined ? {} : { connections }),
    ...(statementMs === undefined ? {} : { statementMs }),
  });
}

function createHttpServer(app: ServerApp, requestMs: number): Server {
  const server = createAdaptorServer({
    fetch: (request) => app.fetch(request),
    serverOptions: {
      // A client that sends its request drop by drop is let go; the body has a limit of its own, with an answer.
      headersTimeout: requestMs,
      requestTimeout: 2 * requestMs,
      connectionsCheckingInterval: Math.max(100, Math.min(5_000, requestMs / 2)),
      keepAliveTimeout: 65_000,
      maxHeaderSize: 16 * 1024,
    },
  }) as Server;
  server.on('clientError', answerClientError);
  return server;
}

/** What is no HTTP, or came too slowly, gets JSON like everything else. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || socket.destroyed) {
    socket.destroy();
    return;
  }
  const isSlow = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const answer = isSlow
    ? new SyncRequestError('REQUEST_TIMEOUT', 'The request did not arrive in time.')
    : new SyncRequestError('INVALID_REQUEST', 'This is no HTTP request that can be read.');
  const body = JSON.stringify(answer.body);
  socket.end(
    `HTTP/1.1 ${answer.status} ${isSlow ? 'Request Timeout' : 'Bad Request'}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, backlog: 4_096 }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function running(
  server: Server,
  app: ServerApp,
  store: Store,
  { closeMs = 10_000 }: StartServerOptions,
): RunningServer {
  const { address, family, port } = server.address() as AddressInfo;
  let closing: Promise<void> | null = null;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    port,
    close: () => (closing ??= closeAll(server, app, store, closeMs)),
  };
}

async function closeAll(server: Server, app: ServerApp, store: Store, closeMs: number): Promise<void> {
  app.drain();
  const ended = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), closeMs);
  // Those who were just answered keep their connections open: they are idle a moment later.
  const idle = setInterval(() => server.closeIdleConnections(), 50);
  try {
    await ended;
  } finally {
    clearTimeout(cut);
    clearInterval(idle);
  }
  await app.close();
  await store.close();
}
