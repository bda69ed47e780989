// The demo's server and its second client, a colleague who is simulated: started by `npm start` as a process of its own, with
// the demo's folder and the workspace. Leaves the server's address and a token where the demo workspace looks for them, and
// says "ready" when somebody can connect. Ends when it is ended; what it has is in the demo's folder.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { projectRoot } from './project.ts';

type ServerModule = typeof import('../src/server/start-server.ts');
type EngineModule = typeof import('../src/engine/open-local-data.ts');
type Engine = Awaited<ReturnType<EngineModule['openLocalData']>>;

const SPACE = 'demo';
const WRITES_EVERY_MS = 8_000;
/** The task that both have written before they first meet: a conflict to resolve. */
const CONTESTED = { id: 'task-003', title: 'List the pages that stay, with who owns each' };

const [demo = '', workspace = ''] = process.argv.slice(2);
const { startServer, signToken } = await built<ServerModule>('server.js');
const { openLocalData } = await built<EngineModule>('engine.js');

const secret = keptSecret();
const server = await startServer({ dataDir: join(demo, 'server'), secret });
const token = await signToken({ space: SPACE, secret });
await startColleague();
mkdirSync(join(workspace, '.localdata'), { recursive: true });
const file = join(workspace, '.localdata/server.json');
writeFileSync(file, `${JSON.stringify({ url: server.url, token }, null, 2)}\n`, { mode: 0o600 });
console.log('ready');

async function startColleague(): Promise<void> {
  const data = await openLocalData({ dataDir: join(demo, 'colleague') });
  await data.registerEntityType({ entityType: 'Task' });
  await data.registerEntityType({ entityType: 'Project' });
  await data.registerEntityType({ entityType: 'User' });
  if ((await data.getEntity('Task', CONTESTED.id)) === undefined) {
    await data.upsertEntity('Task', CONTESTED.id, { title: CONTESTED.title });
  }
  await data.sync.connect({ url: server.url, token });
  await data.sync.whenSynced();
  let turn = 0;
  setInterval(() => {
    turn += 1;
    // Offline for a moment, a change that failed: the next turn goes on.
    writeSomething(data, turn).catch(() => undefined);
  }, WRITES_EVERY_MS);
}

/** Only to tasks that came from the demo: the others' columns are not known here. */
async function writeSomething(data: Engine, turn: number): Promise<void> {
  const { rows } = await data.queryEntities('Task', { limit: 200 });
  const tasks = rows.filter((row) => row['id'] !== CONTESTED.id && typeof row['priority'] === 'number');
  const task = tasks[(turn * 7) % Math.max(1, tasks.length)];
  if (task === undefined) return;
  await data.upsertEntity('Task', String(task['id']), { priority: (Number(task['priority']) % 5) + 1 });
}

/** Tokens of an earlier start stay good. */
function keptSecret(): string {
  const kept = join(demo, 'server-secret');
  mkdirSync(demo, { recursive: true });
  if (!existsSync(kept)) writeFileSync(kept, randomBytes(32).toString('hex'), { mode: 0o600 });
  return readFileSync(kept, 'utf8').trim();
}

async function built<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(join(projectRoot, 'dist', name)).href)) as T;
}
