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

type ServerOptions = Parameters<typeof startServer>[0];
export type OpenOptions = Parameters<typeof openTemporary>[0];
export type Rules = Parameters<LocalDataEngine['sync']['setRules']>[0];

/** For one suite: a server in memory, a new space for each test, and databases that are closed after it. */
export class SyncSuite {
  /** Of the test that runs. */
  space = '';
  token = '';
  #server: Awaited<ReturnType<typeof startServer>> | undefined;
  readonly #opened: LocalDataEngine[] = [];

  constructor(options: Partial<ServerOptions> = {}) {
    before(async () => {
      this.#server = await startServer({ memory: true, secret: SECRET, ...options });
    });
    after(() => this.#server?.close());
    beforeEach(async () => {
      this.space = newSpace();
      this.token = await tokenFor(this.space);
    });
    afterEach(() => this.closeAll());
  }

  get url(): string {
    return this.#server?.url ?? '';
  }

  closeAfterwards<T extends LocalDataEngine>(data: T): T {
    this.#opened.push(data);
    return data;
  }

  async closeAll(): Promise<void> {
    for (const data of this.#opened.splice(0)) await data.close();
  }

  /** With projects and tasks, not connected yet. */
  async client(options: OpenOptions = {}): Promise<LocalDataEngine> {
    return this.closeAfterwards(await openTasks(options));
  }

  async connected(rules: Rules = {}, options: OpenOptions = {}): Promise<LocalDataEngine> {
    const data = await this.client(options);
    await data.sync.setRules(rules);
    await this.connect(data);
    return data;
  }

  /** And waits until both have all. */
  async connect(data: LocalDataEngine): Promise<void> {
    await data.sync.connect({ url: this.url, token: this.token });
    await data.sync.whenSynced();
  }
}

/** Written offline, so that all of it waits together. */
export async function offline(data: LocalDataEngine, write: () => Promise<unknown>): Promise<void> {
  await data.sync.goOffline();
  await write();
  await data.sync.goOnline();
  await data.sync.whenSynced();
}

const SCHEMA = `
  CREATE TABLE projects (id text PRIMARY KEY, name text NOT NULL);
  CREATE TABLE tasks (id text PRIMARY KEY, title text NOT NULL, done boolean NOT NULL DEFAULT false, priority integer,
    project_id text REFERENCES projects (id), settings jsonb);`;

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
