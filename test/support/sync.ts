// Two or more databases and a server for tests of synchronisation: the built engine and the built server, over HTTP on
// loopback. Each test has a space of its own.
import { pathToFileURL, fileURLToPath } from 'node:url';
import { type LocalDataEngine, openTemporary } from './engine.ts';

const built = fileURLToPath(new URL('../../dist/server.js', import.meta.url));
type ServerModule = typeof import('../../src/server/start-server.ts');
const server = (await import(pathToFileURL(process.env['LOCAL_DATA_SERVER'] ?? built).href)) as ServerModule;

export const { startServer, signToken } = server;
export const SECRET = 'a secret for tests alone, of forty bytes!';

let spaces = 0;

export function newSpace(): string {
  spaces += 1;
  return `space-${process.pid}-${spaces}`;
}

export function tokenFor(space: string): Promise<string> {
  return signToken({ space, secret: SECRET });
}

const SCHEMA = `
  CREATE TABLE projects (id text PRIMARY KEY, name text NOT NULL);
  CREATE TABLE tasks (id text PRIMARY KEY, title text NOT NULL, done boolean NOT NULL DEFAULT false, priority integer,
    project_id text REFERENCES projects (id), settings jsonb);`;

type OpenOptions = Parameters<typeof openTemporary>[0];

/** A database with projects and tasks, not connected yet. */
export async function openTasks(options: OpenOptions = {}): Promise<LocalDataEngine> {
  const data = await openTemporary(options);
  await makeTaskTypes(data);
  return data;
}

export async function makeTaskTypes(data: LocalDataEngine): Promise<void> {
  await data.exec(SCHEMA);
  await data.registerEntityType({ entityType: 'Project', table: 'projects' });
  await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
}

/** Resolves once the state is as wanted; the time limit is the test's. */
export async function whenState(
  data: LocalDataEngine,
  isWanted: (state: ReturnType<LocalDataEngine['stores']['sync']['getState']>) => boolean,
): Promise<void> {
  if (isWanted(data.stores.sync.getState())) return;
  await new Promise<void>((resolve) => {
    const stop = data.stores.sync.subscribe((state) => {
      if (!isWanted(state)) return;
      stop();
      resolve();
    });
  });
}

/** Resolves once a change is as wanted. */
export async function whenChange(
  data: LocalDataEngine,
  id: string,
  isWanted: (change: NonNullable<Awaited<ReturnType<LocalDataEngine['getChange']>>>) => boolean,
): Promise<void> {
  for (;;) {
    const committed = new Promise<void>((resolve) => {
      const stop = data.onCommit(() => {
        stop();
        resolve();
      });
    });
    const change = await data.getChange(id);
    if (change !== undefined && isWanted(change)) return;
    await committed;
  }
}
