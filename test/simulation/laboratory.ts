// What one simulated history after the other is played with: starting a PGlite costs a second, so that they are used again. What
// a history leaves behind is cleared away, or a long run would grow without end.
import { PGlite } from '@electric-sql/pglite';
import type { Store } from '../../src/server/store.ts';
import { openServerStore } from '../support/server.ts';
import { prepareArchive } from './simulated-server.ts';

const RESET = `
  DROP SCHEMA IF EXISTS local_data CASCADE;
  DROP SCHEMA public CASCADE;
  CREATE SCHEMA public;
  DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'local_data_reader') THEN
      DROP OWNED BY local_data_reader;
      DROP ROLE local_data_reader;
    END IF;
  END $$;`;

/** As the engine starts its own. */
const SETTINGS = ['shared_buffers=16MB', 'max_connections=10', 'wal_buffers=2MB'];
const startParams = [...PGlite.defaultStartParams, ...SETTINGS.flatMap((setting) => ['-c', setting])];

/** Histories that one PGlite is for: its memory only grows. */
const HISTORIES = 50;

export class Laboratory implements AsyncDisposable {
  #store: Store;
  readonly #spare: PGlite[] = [];
  readonly #uses = new Map<PGlite, number>();
  #histories = 0;

  static async open(): Promise<Laboratory> {
    return new Laboratory(await openStore());
  }

  private constructor(store: Store) {
    this.#store = store;
  }

  /** The server's, which the histories share. */
  get store(): Store {
    return this.#store;
  }

  /** Gives the number of the history that begins. */
  async begin(): Promise<number> {
    this.#histories += 1;
    if (this.#histories % HISTORIES === 0) {
      await this.#store.close();
      this.#store = await openStore();
    }
    return this.#histories;
  }

  async takePglite(): Promise<PGlite> {
    return this.#spare.pop() ?? PGlite.create({ dataDir: 'memory://', startParams });
  }

  /** Catalogs too are cleared: every history makes its tables anew, and PGlite has nobody who would do it. */
  async giveBack(pglite: PGlite): Promise<void> {
    const uses = (this.#uses.get(pglite) ?? 0) + 1;
    this.#uses.set(pglite, uses);
    if (uses === HISTORIES) {
      this.#uses.delete(pglite);
      return pglite.close();
    }
    await pglite.exec(RESET);
    await pglite.exec('DISCARD ALL');
    await pglite.exec('VACUUM');
    await pglite.exec('CHECKPOINT');
    this.#spare.push(pglite);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pglite of this.#spare) await pglite.close();
    await this.#store.close();
  }
}

async function openStore(): Promise<Store> {
  const store = await openServerStore({ memory: true });
  await prepareArchive(store);
  return store;
}
