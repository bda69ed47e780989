// One server under load on a real Postgres: a thousand readers that wait, and clients that push into the same spaces. Says how
// soon each reader had each change, counts what went wrong, and whether the server's memory grows.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  PROTOCOL_HEADER,
  SYNC_PROTOCOL_VERSION,
  feedChangeSchema,
  pullResponseSchema,
  pushResponseSchema,
  spaceInfoSchema,
} from '../../src/protocol/sync.ts';
import { startPostgres } from '../support/postgres.ts';
import { built } from './built-engine.ts';
import { median, pause, quantile } from './measure.ts';
import type { Report } from './report.ts';

const SECRET = 'a secret of benchmarks that has more than 32 characters';
const SPACES = 100;
const READERS_OF_A_SPACE = 10;
const CHANGES_A_SECOND = 500;
const SECONDS = 60;
const WAIT_SECONDS = 25;
/** Twenty at a time, so that the timers of this process are no part of what is measured. */
const PUSHES_AT_ONCE = 20;
/** What is on its way when the last push was answered. */
const ARRIVAL_MS = 10_000;

interface Space {
  readonly name: string;
  readonly token: string;
  epoch: string;
  /** When each change was sent, by its id. */
  readonly sentAt: Map<string, number>;
  pushed: number;
}

interface Load {
  readonly url: string;
  readonly agent: Agent;
  readonly delivered: number[];
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
  const agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 2_000 });
  const load: Load = { url, agent, delivered: [], errors: [], isOver: false };
  const spaces = await Promise.all(Array.from({ length: SPACES }, (_, index) => openSpace(load, `load-${index}`)));
  const readers = spaces.flatMap((space) =>
    Array.from({ length: READERS_OF_A_SPACE }, () =>
      readOn(load, space).catch((error: unknown) => noteError(load, error)),
    ),
  );
  const memory: number[] = [];
  const sampler = setInterval(() => memory.push(residentMegabytes(pid)), 1_000);
  await pushForAWhile(load, spaces);
  const expected = spaces.reduce((sum, { pushed }) => sum + pushed * READERS_OF_A_SPACE, 0);
  const deadline = performance.now() + ARRIVAL_MS;
  while (load.delivered.length < expected && performance.now() < deadline) await pause(100);
  clearInterval(sampler);
  load.isOver = true;
  agent.destroy();
  await Promise.all(readers);
  if (load.delivered.length !== expected) {
    load.errors.push(`${expected} deliveries were due and ${load.delivered.length} came`);
  }
  for (const text of new Set(load.errors.slice(0, 20))) console.error(`  ${text}`);
  report.add('sync.load_p50_ms', quantile(load.delivered, 0.5));
  report.add('sync.load_p99_ms', quantile(load.delivered, 0.99));
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
  const space: Space = { name, token, epoch: '', sentAt: new Map(), pushed: 0 };
  const { body } = await call(load, space, 'GET', '');
  space.epoch = spaceInfoSchema.parse(body).epoch;
  return space;
}

/** Waits for what is new and goes on from there; each change must come once, in order. */
async function readOn(load: Load, space: Space): Promise<void> {
  let after = '';
  let version = 0;
  for (;;) {
    const answer = await call(load, space, 'GET', `/changes?limit=1000&wait=${WAIT_SECONDS}${after}`).catch(
      (error: unknown) => (load.isOver ? null : Promise.reject(error)),
    );
    if (answer === null) return;
    const seenAt = performance.now();
    const page = pullResponseSchema.parse(answer.body);
    for (const change of page.changes.map((row) => feedChangeSchema.parse(row))) {
      version += 1;
      if (change.version !== version) throw new Error(`Version ${change.version} came where ${version} was due.`);
      load.delivered.push(seenAt - (space.sentAt.get(change.id) ?? Number.NaN));
    }
    after = `&after=${encodeURIComponent(page.cursor)}`;
  }
}

async function pushForAWhile(load: Load, spaces: readonly Space[]): Promise<void> {
  const start = performance.now();
  const pushes: Promise<void>[] = [];
  for (let count = 0; count < SECONDS * CHANGES_A_SECOND; count += PUSHES_AT_ONCE) {
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
  const answer = await call(load, space, 'POST', '/changes', JSON.stringify(body));
  const [result] = pushResponseSchema.parse(answer.body).results;
  if (result?.outcome !== 'applied') throw new Error(`A change was not applied: ${result?.outcome}.`);
  space.pushed += 1;
}

function noteError(load: Load, error: unknown): void {
  load.errors.push(error instanceof Error ? error.message : String(error));
}

function call(load: Load, space: Space, method: string, path: string, body?: string): Promise<{ body: unknown }> {
  const headers = {
    authorization: `Bearer ${space.token}`,
    [PROTOCOL_HEADER]: String(SYNC_PROTOCOL_VERSION),
    ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
  };
  return new Promise((resolve, reject) => {
    const sent = request(`${load.url}/v1/spaces/${space.name}${path}`, { method, headers, agent: load.agent });
    sent.on('error', reject);
    sent.on('response', (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        if (answer.statusCode === 200) resolve({ body: JSON.parse(text) });
        else reject(new Error(`${method} answered ${answer.statusCode}: ${text.slice(0, 200)}`));
      });
    });
    sent.end(body);
  });
}

function residentMegabytes(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024;
}
