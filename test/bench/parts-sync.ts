// A client and a server on a real Postgres, over HTTP on loopback: how fast a queue is pushed and a snapshot received, how
// soon one database sees what another wrote, and how soon a queue drains after the server was away.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { LocalData } from '../../src/engine/local-data.ts';
import type { SupervisedEngine } from '../../src/worker/supervised-engine.ts';
import { startPostgres } from '../support/postgres.ts';
import { built } from './built-engine.ts';
import { startBuiltWorker } from './built-worker.ts';
import { longestStall, median, pause, quantile } from './measure.ts';
import type { Report } from './report.ts';
import { TASKS_SQL, task } from './sample-tasks.ts';

const SECRET = 'a secret of benchmarks that has more than 32 characters';
const QUEUE = 10_000;
const QUEUE_ROUNDS = 5;
const ENTITIES = 100_000;
const SEEN = 300;
const OUTAGE_MS = 60_000;
const CHUNK = 1_000;

interface Bench {
  readonly report: Report;
  readonly folder: string;
  readonly databaseUrl: string;
  server: RunningServer;
  clients: number;
}

interface RunningServer {
  readonly url: string;
  readonly process: ChildProcess;
}

export async function measureSync(report: Report, folder: string): Promise<void> {
  const postgres = await startPostgres({ durable: true });
  try {
    const databaseUrl = await postgres.createDatabase();
    const bench: Bench = { report, folder, databaseUrl, server: await startServer(databaseUrl), clients: 0 };
    try {
      await measurePush(bench);
      await measureSnapshot(bench);
      await measureSeen(bench);
      await measureRecovery(bench);
    } finally {
      await stopServer(bench.server);
    }
  } finally {
    await postgres.stop();
  }
}

async function startServer(databaseUrl: string, port = 0): Promise<RunningServer> {
  const program = fileURLToPath(new URL('./sync-server-program.ts', import.meta.url));
  const child = spawn(process.execPath, [program, databaseUrl, SECRET, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { url: line.toString('utf8').trim(), process: child };
}

async function stopServer({ process: child }: RunningServer): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

async function tokenFor(space: string): Promise<string> {
  const { signToken } = (await import(
    pathToFileURL(built('server.js')).href
  )) as typeof import('../../src/server/start-server.ts');
  return signToken({ space, secret: SECRET });
}

/** In its own thread, as in the extension. */
async function openClient(bench: Bench): Promise<SupervisedEngine> {
  bench.clients += 1;
  const engine = await startBuiltWorker({
    dataDir: join(bench.folder, `sync-${bench.clients}`, 'data'),
    startProcessor: true,
  });
  await engine.data.exec(TASKS_SQL);
  await engine.data.registerEntityType({ entityType: 'Task', table: 'tasks' });
  return engine;
}

/** From the call to connect until all of a queue of 10,000 is acknowledged. */
async function measurePush(bench: Bench): Promise<void> {
  const rates: number[] = [];
  for (let round = 0; round < QUEUE_ROUNDS; round++) {
    const token = await tokenFor(`push-${round}`);
    const { data } = await openClient(bench);
    await recordTasks(data, QUEUE);
    const start = performance.now();
    const acknowledged = whenCount(data, 'applied', 0);
    await data.sync.connect({ url: bench.server.url, token });
    await acknowledged;
    rates.push((QUEUE * 1_000) / (performance.now() - start));
    await data.sync.whenSynced();
    await data.close();
  }
  bench.report.add('sync.push_per_s', median(rates));
  for (const [round, rate] of rates.entries()) bench.report.add(`sync.push_per_s_round_${round + 1}`, rate);
}

async function recordTasks(data: LocalData, count: number): Promise<void> {
  for (let start = 0; start < count; start += CHUNK) {
    await data.recordChanges(
      Array.from({ length: Math.min(CHUNK, count - start) }, (_, index) => {
        const entityId = `task-${start + index}`;
        return { entityType: 'Task', entityId, operation: 'insert' as const, data: task(entityId) };
      }),
    );
  }
  await data.whenIdle();
}

async function whenCount(data: LocalData, status: 'applied', count: number): Promise<void> {
  if (data.stores.changes.getState().counts[status] === count) return;
  await new Promise<void>((resolve) => {
    const stop = data.stores.changes.subscribe(({ counts }) => {
      if (counts[status] !== count) return;
      stop();
      resolve();
    });
  });
}

/** From the call to connect of an empty client until all that the server has is in its tables. */
async function measureSnapshot(bench: Bench): Promise<void> {
  const token = await tokenFor('snapshot');
  const writer = await openClient(bench);
  await recordTasks(writer.data, ENTITIES);
  await writer.data.sync.connect({ url: bench.server.url, token });
  await writer.data.sync.whenSynced();
  await writer.data.close();
  const { data } = await openClient(bench);
  const start = performance.now();
  const stall = await longestStall(async () => {
    await data.sync.connect({ url: bench.server.url, token });
    await data.sync.whenSynced();
  });
  bench.report.add('sync.snapshot100k_s', (performance.now() - start) / 1_000);
  bench.report.add('sync.snapshot100k_stall_ms', stall);
  const count = await data.countEntities('Task');
  if (count !== ENTITIES) throw new Error(`The snapshot brought ${count} of ${ENTITIES} entities.`);
  await data.close();
}

/** From the call that writes in one database to the subscriber of another who sees it. */
async function measureSeen(bench: Bench): Promise<void> {
  const token = await tokenFor('seen');
  const a = await openClient(bench);
  const b = await openClient(bench);
  for (const { data } of [a, b]) {
    await data.sync.connect({ url: bench.server.url, token });
    await data.sync.whenSynced();
  }
  const times: number[] = [];
  await a.data.upsertEntity('Task', 'task-1', task('task-1'));
  for (let update = -30; update < SEEN; update++) {
    const title = `Seen ${update}`;
    const start = performance.now();
    const seen = whenTitle(b.data, title);
    await a.data.upsertEntity('Task', 'task-1', { title });
    await seen;
    if (update >= 0) times.push(performance.now() - start);
    await pause(5);
  }
  bench.report.add('sync.seen_p50_ms', median(times));
  bench.report.add('sync.seen_p99_ms', quantile(times, 0.99));
  bench.report.addSamples('sync.seen', 'ms', times);
  await a.data.close();
  await b.data.close();
}

async function whenTitle(data: LocalData, title: string): Promise<void> {
  const isThere = (): boolean => data.stores.entities.getState().get('Task', 'task-1')?.['title'] === title;
  if (isThere()) return;
  await new Promise<void>((resolve) => {
    const stop = data.stores.entities.subscribe(() => {
      if (!isThere()) return;
      stop();
      resolve();
    });
  });
}

/** From the server's return after a minute until a queue that nobody added to is empty. */
async function measureRecovery(bench: Bench): Promise<void> {
  const token = await tokenFor('recovery');
  const { data } = await openClient(bench);
  await data.sync.connect({ url: bench.server.url, token });
  await data.sync.whenSynced();
  const port = Number(new URL(bench.server.url).port);
  await stopServer(bench.server);
  await recordTasks(data, 100);
  const drained = whenCount(data, 'applied', 0);
  await pause(OUTAGE_MS);
  bench.server = await startServer(bench.databaseUrl, port);
  const start = performance.now();
  await drained;
  bench.report.add('sync.recovery_s', (performance.now() - start) / 1_000);
  await data.close();
}
