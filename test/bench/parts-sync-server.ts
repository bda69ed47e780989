// One server under load on a real Postgres: a thousand readers that wait, and clients that push into the same spaces. Says how
// soon each reader had each change, counts what went wrong, and whether the server's memory grows.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  PROTOCOL_HEADER,
  SYNC_PROTOCOL_VERSION,
  type FeedChange,
  feedChangeSchema,
  pullResponseSchema,
  pushResponseSchema,
  spaceInfoSchema,
} from '../../src/protocol/sync.ts';
import { startPostgres } from '../support/postgres.ts';
import { built } from './built-engine.ts';
import { LeanConnection } from './lean-connection.ts';
import { median, pause, quantile } from './measure.ts';
import type { Report } from './report.ts';

const SECRET = 'a secret of benchmarks that has more than 32 characters';
const SPACES = 100;
const READERS_OF_A_SPACE = 10;
const CHANGES_A_SECOND = 500;
const SECONDS = 60;
/** Before that, the same load while the server's code, its connections and its statements are new; reported on its own. */
const WARM_UP_SECONDS = 5;
const WAIT_SECONDS = 25;
/** Twenty at a time, so that the timers of this process are no part of what is measured. */
const PUSHES_AT_ONCE = 20;
/** Connections that push into one space: more pushes than that wait for each other. */
const WRITERS_OF_A_SPACE = 2;
/** What is on its way when the last push was answered. */
const ARRIVAL_MS = 10_000;

interface Space {
  readonly name: string;
  readonly token: string;
  readonly writers: Writer[];
  epoch: string;
  /** When each change was sent, by its id. */
  readonly sentAt: Map<string, number>;
  pushed: number;
}

/** Pushes of one connection follow each other. */
interface Writer {
  readonly connection: LeanConnection;
  last: Promise<unknown>;
}

interface Load {
  readonly url: string;
  readonly connections: LeanConnection[];
  readonly delivered: number[];
  readonly deliveredCold: number[];
  /** Changes that are sent before this moment are those of the warm-up. */
  measuredFrom: number;
  readonly errors: string[];
  isOver: boolean;
}

export async function measureSyncServer(report: Report): Promise<void> {
  const postgres = await startPostgres({ durable: true });
  try {
    const program = fileURLToPath(new URL('./sync-server-program.ts', import.meta.url));
    const server = spawn(process.execPath, [program, await postgres.createDatabase(), SECRET], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(server, 'exit');
    try {
      const [line] = (await once(server.stdout, 'data')) as [Buffer];
      await measureLoad(report, line.toString('utf8').trim(), server.pid ?? 0);
    } finally {
      server.kill('SIGTERM');
      await ended;
    }
  } finally {
    await postgres.stop();
  }
}

async function measureLoad(report: Report, url: string, pid: number): Promise<void> {
  const load: Load = {
    url,
    connections: [],
    delivered: [],
    deliveredCold: [],
    measuredFrom: 0,
    errors: [],
    isOver: false,
  };
  const spaces = await Promise.all(Array.from({ length: SPACES }, (_, index) => openSpace(load, `load-${index}`)));
  const readers = spaces.flatMap((space) =>
    Array.from({ length: READERS_OF_A_SPACE }, () =>
      readOn(load, space).catch((error: unknown) => noteError(load, error)),
    ),
  );
  const memory: number[] = [];
  const sampler = setInterval(() => void residentMegabytes(pid).then((megabytes) => memory.push(megabytes)), 1_000);
  await pushForAWhile(load, spaces);
  const expected = spaces.reduce((sum, { pushed }) => sum + pushed * READERS_OF_A_SPACE, 0);
  const deadline = performance.now() + ARRIVAL_MS;
  const came = (): number => load.delivered.length + load.deliveredCold.length;
  while (came() < expected && performance.now() < deadline) await pause(100);
  clearInterval(sampler);
  load.isOver = true;
  for (const connection of load.connections) connection.close();
  await Promise.all(readers);
  if (came() !== expected) {
    load.errors.push(`${expected} deliveries were due and ${came()} came`);
  }
  for (const text of new Set(load.errors.slice(0, 20))) console.error(`  ${text}`);
  report.add('sync.load_p50_ms', quantile(load.delivered, 0.5));
  report.add('sync.load_p99_ms', quantile(load.delivered, 0.99));
  report.add('sync.load_cold_p99_ms', quantile(load.deliveredCold, 0.99));
  report.add('sync.load_errors', load.errors.length);
  report.add('sync.load_deliveries', load.delivered.length);
  // The first seconds fill the compiler's and the pool's caches.
  report.add('sync.load_memory_mb', median(memory.slice(-10)));
  report.add('sync.load_memory_growth_mb', median(memory.slice(-10)) - median(memory.slice(20, 30)));
}

async function openSpace(load: Load, name: string): Promise<Space> {
  const { signToken } = (await import(
    pathToFileURL(built('server.js')).href
  )) as typeof import('../../src/server/start-server.ts');
  const token = await signToken({ space: name, secret: SECRET });
  const connections = await Promise.all(Array.from({ length: WRITERS_OF_A_SPACE }, () => openConnection(load)));
  const writers = connections.map((connection): Writer => ({ connection, last: Promise.resolve() }));
  const space: Space = { name, token, writers, epoch: '', sentAt: new Map(), pushed: 0 };
  for (const connection of connections) {
    space.epoch = spaceInfoSchema.parse(await call(connection, space, 'GET', '')).epoch;
  }
  return space;
}

async function openConnection({ url, connections }: Load): Promise<LeanConnection> {
  const connection = await LeanConnection.open(url);
  connections.push(connection);
  return connection;
}

/** Waits for what is new and goes on from there; each change must come once, in order. */
async function readOn(load: Load, space: Space): Promise<void> {
  const connection = await openConnection(load);
  let after = '';
  let version = 0;
  for (;;) {
    const path = `/changes?limit=1000&wait=${WAIT_SECONDS}${after}`;
    const answer = await call(connection, space, 'GET', path).catch((error: unknown) =>
      load.isOver ? null : Promise.reject(error),
    );
    if (answer === null) return;
    const seenAt = performance.now();
    const page = readPage(answer, version === 0);
    for (const change of page.changes) {
      version += 1;
      if (change.version !== version) throw new Error(`Version ${change.version} came where ${version} was due.`);
      const sentAt = space.sentAt.get(change.id) ?? Number.NaN;
      (sentAt < load.measuredFrom ? load.deliveredCold : load.delivered).push(seenAt - sentAt);
    }
    after = `&after=${encodeURIComponent(page.cursor)}`;
  }
}

type Page = { readonly changes: readonly Pick<FeedChange, 'version' | 'id'>[]; readonly cursor: string };

/** Each reader's first page is checked against the protocol; to do so with all of them would be half of what is measured. */
function readPage(answer: unknown, isChecked: boolean): Page {
  if (!isChecked) return answer as Page;
  const { changes, cursor } = pullResponseSchema.parse(answer);
  return { changes: changes.map((row) => feedChangeSchema.parse(row)), cursor };
}

async function pushForAWhile(load: Load, spaces: readonly Space[]): Promise<void> {
  const start = performance.now();
  load.measuredFrom = start + WARM_UP_SECONDS * 1_000;
  const pushes: Promise<void>[] = [];
  for (let count = 0; count < (WARM_UP_SECONDS + SECONDS) * CHANGES_A_SECOND; count += PUSHES_AT_ONCE) {
    for (let index = count; index < count + PUSHES_AT_ONCE; index++) {
      const space = spaces[index % spaces.length];
      if (space !== undefined)
        pushes.push(pushOne(load, space, index).catch((error: unknown) => noteError(load, error)));
    }
    const due = start + ((count + PUSHES_AT_ONCE) / CHANGES_A_SECOND) * 1_000;
    await pause(Math.max(0, due - performance.now()));
  }
  await Promise.all(pushes);
}

async function pushOne(load: Load, space: Space, index: number): Promise<void> {
  const id = `${space.name}-${index}`;
  space.sentAt.set(id, performance.now());
  const change = {
    id,
    entityType: 'Task',
    entityId: `task-${index % 5_000}-${index}`,
    operation: 'insert',
    data: { title: `Task ${index}`, done: index % 2 === 0, note: 'Something to be done, with a few words on how.' },
    baseVersion: 0,
    timestamp: Date.now(),
    transactionId: null,
  };
  const body = { clientId: `writer-${space.name}`, epoch: space.epoch, cursor: null, changes: [change] };
  const writer = space.writers[Math.floor(index / SPACES) % WRITERS_OF_A_SPACE];
  if (writer === undefined) throw new Error('A space has no writer.');
  const text = JSON.stringify(body);
  const answered = writer.last.then(() => call(writer.connection, space, 'POST', '/changes', text));
  writer.last = answered.catch(() => undefined);
  const [result] = pushResponseSchema.parse(await answered).results;
  if (result?.outcome !== 'applied') throw new Error(`A change was not applied: ${result?.outcome}.`);
  space.pushed += 1;
}

function noteError(load: Load, error: unknown): void {
  load.errors.push(error instanceof Error ? error.message : String(error));
}

async function call(
  connection: LeanConnection,
  { name, token }: Space,
  method: string,
  path: string,
  body?: string,
): Promise<unknown> {
  const content =
    body === undefined ? '' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`;
  const head = `${method} /v1/spaces/${name}${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${token}\r\n${PROTOCOL_HEADER}: ${SYNC_PROTOCOL_VERSION}\r\n${content}\r\n`;
  const { status, text } = await connection.ask(head, body);
  if (status !== 200) throw new Error(`${method} answered ${status}: ${text.slice(0, 200)}`);
  return JSON.parse(text);
}

async function residentMegabytes(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)]);
  return Number(stdout) / 1_024;
}
