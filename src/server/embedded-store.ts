// The store on a Postgres inside this process: in memory, or in a data directory that is this process's alone. For a demo,
// for tests and for one person's own server; no second server can share it.
import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { PGlite, type Transaction } from '@electric-sql/pglite';
import { acquireDataDirectoryLock } from '../db/data-directory-lock.ts';
import { SentStatements } from './sent-statements.ts';
import type { FeedListener, SqlRow, SqlTransaction, SqlValue, Statement, Store } from './store.ts';

const INT8 = 20;
const JSON_TEXT = 114;
const JSONB = 3802;
const parsers = { [INT8]: Number, [JSON_TEXT]: (text: string) => text, [JSONB]: (text: string) => text };

const SETTINGS = ['shared_buffers=16MB', 'max_connections=10', 'wal_buffers=2MB'];
const startParams = [...PGlite.defaultStartParams, ...SETTINGS.flatMap((setting) => ['-c', setting])];

/** Without a directory: in memory. */
export async function openEmbeddedStore(dataDir?: string): Promise<Store> {
  if (dataDir === undefined) return start('memory://', async () => undefined);
  const directory = resolve(dataDir);
  await mkdir(dirname(directory), { recursive: true, mode: 0o700 });
  const lock = await acquireDataDirectoryLock(directory);
  try {
    return await start(directory, () => lock.release());
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function start(dataDir: string, release: () => Promise<void>): Promise<Store> {
  const pglite = await PGlite.create({ dataDir, parsers, startParams });
  await pglite.exec(`SET TimeZone = 'UTC'; SET jit = off; SET wal_init_zero = off`);
  return new EmbeddedStore(pglite, release);
}

class EmbeddedStore implements Store {
  readonly #pglite: PGlite;
  readonly #release: () => Promise<void>;
  readonly #listeners = new Set<FeedListener>();

  constructor(pglite: PGlite, release: () => Promise<void>) {
    this.#pglite = pglite;
    this.#release = release;
  }

  run<T extends SqlRow>(statement: Statement, values: readonly SqlValue[]): Promise<T[]> {
    return runOn<T>(this.#pglite, statement, values);
  }

  transaction<T>(work: (session: SqlTransaction) => Promise<T>): Promise<T> {
    return this.#pglite.transaction(async (transaction) => {
      const sent = new SentStatements();
      const result = await work({
        run: (statement, values) => sent.add(runOn(transaction, statement, values)),
        send: (statement, values) => void sent.add(runOn(transaction, statement, values)),
      });
      await sent.done();
      return result;
    });
  }

  /** Several servers in one process may share this store: each hears what the others say. */
  async notify(spaces: readonly string[], sender: FeedListener): Promise<void> {
    for (const listener of this.#listeners) if (listener !== sender) listener.onSpaces(spaces);
  }

  listen(listener: FeedListener): void {
    this.#listeners.add(listener);
  }

  isPassing(): boolean {
    return this.#pglite.closed;
  }

  pool(): null {
    return null;
  }

  /** Nothing in here runs by itself. */
  async maintain(): Promise<void> {
    await this.#pglite.exec('VACUUM');
    await this.#pglite.exec('CHECKPOINT');
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    try {
      if (!this.#pglite.closed) await this.#pglite.close();
    } finally {
      await this.#release();
    }
  }
}

async function runOn<T extends SqlRow>(
  runner: PGlite | Transaction,
  { text }: Statement,
  values: readonly SqlValue[],
): Promise<T[]> {
  const { rows } = await runner.query<T>(text, [...values]);
  return rows;
}
