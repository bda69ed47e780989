// The real server of a simulated history, which is restarted, killed, reset, and put back to a backup. Keeps all that its feed
// has ever had, for the server itself forgets: a history that was lost must still be told from one that never was.
import type { JsonObject } from '../../src/protocol/changes.ts';
import { snapshotEntitySchema, snapshotResponseSchema } from '../../src/protocol/sync.ts';
import type { ServerAppOptions } from '../../src/server/server-app.ts';
import type { FeedListener, SqlRow, SqlTransaction, SqlValue, Statement, Store } from '../../src/server/store.ts';
import { SECRET, createServerApp } from '../support/server.ts';
import { Machine, type World } from './virtual-world.ts';

const TABLES = ['spaces', 'entities', 'feed', 'applied_changes'] as const;

export interface FeedRow extends SqlRow {
  readonly version: number;
  readonly id: string;
  readonly client_id: string;
  readonly entity_type: string;
  readonly entity_id: string;
  readonly operation: string;
  /** JSON of the entity after it; null where it was deleted. */
  readonly entity: string | null;
}

/** What a space was from its beginning, or from a backup, to its loss; the last one is the present. */
export interface ServerHistory {
  readonly epoch: string;
  readonly feed: readonly FeedRow[];
}

export interface ServerEntity {
  readonly entityType: string;
  readonly entityId: string;
  readonly entity: JsonObject;
}

interface ServerParts {
  readonly store: Store;
  readonly world: World;
  readonly space: string;
  readonly token: string;
  readonly newId: () => string;
  /** How it is run: its rules, its limits, how far its feed reaches back. */
  readonly options: Pick<ServerAppOptions, 'retention' | 'limits' | 'validate'>;
}

/** Once for a store: tables for backups, and a trigger that keeps what comes into a feed. */
export async function prepareArchive(store: Store): Promise<void> {
  await ask(store, 'CREATE SCHEMA simulated');
  for (const table of TABLES) await ask(store, `CREATE TABLE simulated.${table} (LIKE local_data_sync.${table})`);
  await ask(store, 'CREATE TABLE simulated.archive (LIKE local_data_sync.feed, history integer NOT NULL)');
  await ask(store, 'CREATE TABLE simulated.histories (space text PRIMARY KEY, history integer NOT NULL)');
  await ask(
    store,
    `CREATE FUNCTION simulated.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       INSERT INTO simulated.archive SELECT n.*, h.history FROM added n JOIN simulated.histories h USING (space);
       RETURN NULL;
     END $$`,
  );
  await ask(
    store,
    `CREATE TRIGGER keep AFTER INSERT ON local_data_sync.feed REFERENCING NEW TABLE AS added
       FOR EACH STATEMENT EXECUTE FUNCTION simulated.keep()`,
  );
}

export class SimulatedServer {
  readonly #parts: ServerParts;
  #machine = new Machine();
  #app: ReturnType<typeof createServerApp> | undefined;
  /** Epochs of the histories that were lost. */
  readonly #lost: string[] = [];
  #backup: { readonly epoch: string; readonly history: number; readonly version: number } | undefined;

  private constructor(parts: ServerParts) {
    this.#parts = parts;
  }

  static async start(parts: ServerParts): Promise<SimulatedServer> {
    const server = new SimulatedServer(parts);
    await ask(parts.store, 'INSERT INTO simulated.histories VALUES ($1, 0)', [parts.space]);
    server.#start();
    return server;
  }

  readonly serve = async (request: Request): Promise<Response> => {
    const app = this.#app;
    const response = await app?.fetch(request);
    // It was killed meanwhile: what it did stays done, and nobody hears of it.
    if (response === undefined || this.#app !== app)
      throw new TypeError('fetch failed', { cause: new Error('The server is gone.') });
    return response;
  };

  async restart(isKilled: boolean): Promise<void> {
    if (isKilled) await this.#kill();
    else await this.#close();
    this.#start();
  }

  /** Loses everything, and is another one from then on. */
  async reset(): Promise<void> {
    await this.#kill();
    this.#lost.push(await this.#epoch());
    await this.#transaction(async (run) => {
      for (const table of TABLES) await run(`DELETE FROM local_data_sync.${table} WHERE space = $1`);
      await run('UPDATE simulated.histories SET history = history + 1 WHERE space = $1');
    });
    this.#start();
  }

  async backUp(): Promise<void> {
    await this.#transaction(async (run) => {
      for (const table of TABLES) {
        await run(`DELETE FROM simulated.${table} WHERE space = $1`);
        await run(`INSERT INTO simulated.${table} SELECT * FROM local_data_sync.${table} WHERE space = $1`);
      }
    });
    this.#backup = { epoch: await this.#epoch(), history: this.#lost.length, version: await this.version() };
  }

  /** To the last backup, as somebody does who has lost a disk. */
  async putBack(): Promise<void> {
    const backup = this.#backup;
    if (backup === undefined) return;
    await this.#kill();
    this.#lost.push(await this.#epoch());
    await this.#transaction(async (run) => {
      await run('SET LOCAL session_replication_role = replica', []);
      for (const table of TABLES) {
        await run(`DELETE FROM local_data_sync.${table} WHERE space = $1`);
        await run(`INSERT INTO local_data_sync.${table} SELECT * FROM simulated.${table} WHERE space = $1`);
      }
      await run('UPDATE simulated.histories SET history = history + 1 WHERE space = $1');
      await run(
        `INSERT INTO simulated.archive SELECT a.space, a.version, a.id, a.client_id, a.entity_type, a.entity_id, a.operation,
           a.entity, a.data, a.timestamp, a.transaction_id, a.bytes, a.at, h.history
         FROM simulated.archive a JOIN simulated.histories h USING (space)
         WHERE a.space = $1 AND a.history = $2 AND a.version <= $3`,
        [this.#parts.space, backup.history, backup.version],
      );
    });
    this.#start();
  }

  /** All of them, whole, the present one last. */
  async histories(): Promise<ServerHistory[]> {
    const rows = await ask<FeedRow & { readonly history: number }>(
      this.#parts.store,
      `SELECT version, id, client_id, entity_type, entity_id, operation, entity, history FROM simulated.archive
       WHERE space = $1 ORDER BY history, version`,
      [this.#parts.space],
    );
    const epochs = [...this.#lost, await this.#epoch()];
    return epochs.map((epoch, index) => ({ epoch, feed: rows.filter(({ history }) => history === index) }));
  }

  async version(): Promise<number> {
    const rows = await ask<{ version: number }>(
      this.#parts.store,
      'SELECT version FROM local_data_sync.spaces WHERE space = $1',
      [this.#parts.space],
    );
    return rows[0]?.version ?? 0;
  }

  async entities(): Promise<ServerEntity[]> {
    const { space, token } = this.#parts;
    const headers = { authorization: `Bearer ${token}` };
    const entities: ServerEntity[] = [];
    for (let page = ''; ;) {
      const url = `http://server/v1/spaces/${space}/snapshot${page === '' ? '' : `?page=${page}`}`;
      const response = await this.serve(new Request(url, { headers }));
      const answer = snapshotResponseSchema.parse(await response.json());
      entities.push(...answer.entities.map((entity) => snapshotEntitySchema.parse(entity)));
      if (answer.next === null) return entities;
      page = answer.next;
    }
  }

  /** Nothing of it is left in the store, which others use after it. */
  async end(): Promise<void> {
    await this.#close();
    await this.#transaction(async (run) => {
      for (const table of TABLES) {
        await run(`DELETE FROM local_data_sync.${table} WHERE space = $1`);
        await run(`DELETE FROM simulated.${table} WHERE space = $1`);
      }
      await run('DELETE FROM simulated.archive WHERE space = $1');
      await run('DELETE FROM simulated.histories WHERE space = $1');
    });
    await this.#parts.store.maintain();
  }

  #start(): void {
    const { store, world, newId, options } = this.#parts;
    this.#app = createServerApp({
      store: new OwnStore(store),
      clock: world.clockOf(this.#machine),
      newId,
      secret: SECRET,
      ...options,
      limits: { requestsPerSecond: 100_000, requestsAtOnce: 100_000, ...options.limits },
    });
  }

  async #close(): Promise<void> {
    const app = this.#app;
    this.#app = undefined;
    await app?.close();
  }

  /** What it had begun in the database comes to its end, as it does when a server is gone whose database is not. */
  async #kill(): Promise<void> {
    this.#app = undefined;
    this.#machine.isGone = true;
    this.#machine = new Machine();
    await this.#parts.world.settle();
  }

  async #epoch(): Promise<string> {
    const rows = await ask<{ epoch: string }>(
      this.#parts.store,
      'SELECT epoch FROM local_data_sync.spaces WHERE space = $1',
      [this.#parts.space],
    );
    return rows[0]?.epoch ?? 'none yet';
  }

  #transaction(work: (run: (text: string, values?: readonly SqlValue[]) => Promise<unknown>) => Promise<void>) {
    const { store, space } = this.#parts;
    return store.transaction((session) => work((text, values = [space]) => session.run({ name: '', text }, values)));
  }
}

/** One server's view of the store that all use: what it listens to ends with it. */
class OwnStore implements Store {
  readonly #store: Store;
  readonly #listeners = new Set<FeedListener>();

  constructor(store: Store) {
    this.#store = store;
  }

  run<T extends SqlRow>(statement: Statement, values: readonly SqlValue[]): Promise<T[]> {
    return this.#store.run<T>(statement, values);
  }

  transaction<T>(work: (session: SqlTransaction) => Promise<T>): Promise<T> {
    return this.#store.transaction(work);
  }

  async notify(spaces: readonly string[], sender: FeedListener): Promise<void> {
    for (const listener of this.#listeners) if (listener !== sender) listener.onSpaces(spaces);
  }

  listen(listener: FeedListener): void {
    this.#listeners.add(listener);
  }

  isPassing(error: unknown): boolean {
    return this.#store.isPassing(error);
  }

  pool(): null {
    return null;
  }

  /** Done when the history is over. */
  async maintain(): Promise<void> {
    await Promise.resolve();
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }
}

function ask<T extends SqlRow>(store: Store, text: string, values: readonly SqlValue[] = []): Promise<T[]> {
  return store.run<T>({ name: '', text }, values);
}
