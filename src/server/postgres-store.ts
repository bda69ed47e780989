// The store on a real Postgres: a bounded pool for the statements, one connection of its own that listens. Whatever is lost
// there is made up for: a reconnect says so, and so every reader looks again.
import { Socket } from 'node:net';
import pg from 'pg';
import type { ServerClock } from './server-clock.ts';
import { SentStatements } from './sent-statements.ts';
import type { FeedListener, SqlRow, SqlTransaction, SqlValue, Statement, Store } from './store.ts';

export interface PostgresStoreOptions {
  readonly databaseUrl: string;
  readonly clock: ServerClock;
  /** Names this server in what it tells the others, so that it does not listen to itself. */
  readonly serverId: string;
  readonly connections?: number;
  readonly statementMs?: number;
}

const CHANNEL = 'local_data_sync';
const CONNECT_MS = 5_000;
const FIRST_RECONNECT_MS = 100;
const LAST_RECONNECT_MS = 5_000;
/** A payload ends at 7,999 bytes, and a space's name at 100. */
const SPACES_IN_A_NOTICE = 70;

/** With a name: the driver sends what has none in a write of its own. */
const BEGIN: Statement = { name: 'begin', text: 'BEGIN ISOLATION LEVEL READ COMMITTED' };

const INT8 = 20;
const JSON_TYPES: ReadonlySet<number> = new Set([114, 3802]);

const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => {
    if (oid === INT8) return Number;
    if (JSON_TYPES.has(oid)) return (text: string) => text;
    return pg.types.getTypeParser(oid, format);
  },
};

export function openPostgresStore(options: PostgresStoreOptions): Store {
  return new PostgresStore(options);
}

class PostgresStore implements Store {
  readonly #pool: pg.Pool;
  readonly #options: PostgresStoreOptions;
  #listening: PostgresListener | null = null;

  constructor(options: PostgresStoreOptions) {
    this.#options = options;
    const limit = options.statementMs ?? 15_000;
    this.#pool = new pg.Pool({
      connectionString: options.databaseUrl,
      max: options.connections ?? 10,
      connectionTimeoutMillis: CONNECT_MS,
      idleTimeoutMillis: 30_000,
      statement_timeout: limit,
      idle_in_transaction_session_timeout: 2 * limit,
      keepAlive: true,
      application_name: 'local-data-server',
      types,
      pipeline: true,
      stream: () => new StepSocket(),
    });
    // A connection that breaks while idle is replaced by the pool; without a listener the process would end.
    this.#pool.on('error', () => undefined);
  }

  async run<T extends SqlRow>(statement: Statement, values: readonly SqlValue[]): Promise<T[]> {
    const client = await this.#connect();
    let failure: unknown = null;
    try {
      return await runOn<T>(client, statement, values);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      client.release(isConnectionLost(failure));
    }
  }

  async transaction<T>(work: (session: SqlTransaction) => Promise<T>): Promise<T> {
    const client = await this.#connect();
    const sent = new SentStatements();
    let isBroken = false;
    try {
      void sent.add(runOn(client, BEGIN, []));
      const result = await work({
        run: (statement, values) => sent.add(runOn(client, statement, values)),
        send: (statement, values) => void sent.add(runOn(client, statement, values)),
      });
      // Goes with what was sent last. Where one of them failed, Postgres makes a ROLLBACK of it.
      void sent.add(client.query('COMMIT'));
      await sent.done();
      return result;
    } catch (error) {
      await sent.settled();
      // A connection on which not even this works must not go back into the pool.
      await client.query('ROLLBACK').catch(() => (isBroken = true));
      throw error;
    } finally {
      client.release(isBroken);
    }
  }

  async notify(spaces: readonly string[]): Promise<void> {
    for (let from = 0; from < spaces.length; from += SPACES_IN_A_NOTICE) {
      const payload = `${this.#options.serverId} ${spaces.slice(from, from + SPACES_IN_A_NOTICE).join(' ')}`;
      await this.run({ name: 'notify', text: 'SELECT pg_notify($1, $2)' }, [CHANNEL, payload]);
    }
  }

  listen(listener: FeedListener): void {
    this.#listening = new PostgresListener(this.#options, listener);
  }

  isPassing(error: unknown): boolean {
    return error instanceof NoConnectionError || isConnectionLost(error) || isOverload(error);
  }

  pool(): { used: number; waiting: number } {
    return { used: this.#pool.totalCount - this.#pool.idleCount, waiting: this.#pool.waitingCount };
  }

  async maintain(): Promise<void> {
    // Postgres does this by itself.
  }

  async close(): Promise<void> {
    await this.#listening?.close();
    await this.#pool.end();
  }

  async #connect(): Promise<pg.PoolClient> {
    try {
      return await this.#pool.connect();
    } catch (error) {
      throw new NoConnectionError(error);
    }
  }
}

/** Statements that are sent in one step of the program leave in one write: the driver asks for one write each. */
class StepSocket extends Socket {
  override uncork(): void {
    process.nextTick(() => super.uncork());
  }
}

class NoConnectionError extends Error {
  constructor(cause: unknown) {
    super('The database gave no connection.', { cause });
    this.name = 'NoConnectionError';
  }
}

async function runOn<T extends SqlRow>(
  client: pg.ClientBase,
  { name, text }: Statement,
  values: readonly SqlValue[],
): Promise<T[]> {
  const result = await client.query<T>({ text, values: [...values], ...(name === '' ? {} : { name }) });
  return result.rows;
}

function isConnectionLost(error: unknown): boolean {
  const code = codeOf(error);
  if (code === null) return error instanceof Error && !(error instanceof pg.DatabaseError) && isFromSocket(error);
  return code.startsWith('08') || code.startsWith('57P') || /^E[A-Z]+$/.test(code);
}

/** The driver's own errors of a connection that ended carry no code; they come without a statement's position or class. */
function isFromSocket(error: Error): boolean {
  return error.constructor === Error;
}

/** Out of resources, cancelled by the time limit, a lock that was not given, a deadlock: the same may go well later. */
function isOverload(error: unknown): boolean {
  const code = codeOf(error) ?? '';
  return ['53', '57', '40', '55'].some((start) => code.startsWith(start)) || code === '25P03' || code === '25006';
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

/** Holds one connection that listens, and takes a new one whenever it ends. */
class PostgresListener {
  readonly #options: PostgresStoreOptions;
  readonly #listener: FeedListener;
  #client: pg.Client | null = null;
  #cancelTimer: (() => void) | null = null;
  #waitMs = FIRST_RECONNECT_MS;
  #isClosed = false;
  #connecting: Promise<void>;

  constructor(options: PostgresStoreOptions, listener: FeedListener) {
    this.#options = options;
    this.#listener = listener;
    this.#connecting = this.#connect();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTimer?.();
    await this.#connecting;
    await this.#client?.end().catch(() => undefined);
  }

  async #connect(): Promise<void> {
    const client = new pg.Client({
      connectionString: this.#options.databaseUrl,
      connectionTimeoutMillis: CONNECT_MS,
      keepAlive: true,
      application_name: 'local-data-server listens',
    });
    client.on('error', () => this.#lost(client));
    client.on('end', () => this.#lost(client));
    client.on('notification', ({ payload }) => this.#hear(payload ?? ''));
    this.#client = client;
    try {
      await client.connect();
      await client.query(`LISTEN ${CHANNEL}`);
      this.#waitMs = FIRST_RECONNECT_MS;
      // Also the first time: what others wrote before this moment was not heard.
      this.#listener.onGap();
    } catch {
      this.#lost(client);
    }
  }

  #lost(client: pg.Client): void {
    if (this.#client !== client) return;
    this.#client = null;
    void client.end().catch(() => undefined);
    if (this.#isClosed) return;
    this.#cancelTimer = this.#options.clock.setTimer(() => {
      this.#connecting = this.#connect();
    }, this.#waitMs);
    this.#waitMs = Math.min(this.#waitMs * 2, LAST_RECONNECT_MS);
  }

  #hear(payload: string): void {
    const [serverId, ...spaces] = payload.split(' ');
    if (serverId !== this.#options.serverId) this.#listener.onSpaces(spaces);
  }
}
