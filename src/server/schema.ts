// The server's tables. Every key begins with the space, so that the tables distribute by it as they are. Nothing here may
// call a clock or make a random value: both come in as parameters.
import type { SqlSession, Store } from './store.ts';

export const SCHEMA = 'local_data_sync';
export const SCHEMA_VERSION = 1;

export interface Table {
  readonly name: string;
  /** Without a closing semicolon, so that `PARTITION BY HASH (space)` can follow. */
  readonly sql: string;
}

/**
 * Texts are compared byte by byte (COLLATE "C"), which is quick, the same everywhere, and what the digests are made of.
 * `fields` is `[default write, {field: write}]`, a write being `[version, client id, timestamp]`: an inserted entity has one
 * write for all its fields. `bytes` lets a page end by its size before its rows are read.
 */
export const TABLES: readonly Table[] = [
  {
    name: 'spaces',
    sql: `CREATE TABLE ${SCHEMA}.spaces (
      space text COLLATE "C" PRIMARY KEY,
      epoch text NOT NULL,
      version bigint NOT NULL,
      last_id text NOT NULL,
      feed_from bigint NOT NULL,
      feed_from_id text NOT NULL,
      created_at bigint NOT NULL,
      retained_at bigint NOT NULL
    )`,
  },
  {
    name: 'entities',
    sql: `CREATE TABLE ${SCHEMA}.entities (
      space text COLLATE "C" NOT NULL,
      entity_type text COLLATE "C" NOT NULL,
      entity_id text COLLATE "C" NOT NULL,
      version bigint NOT NULL,
      timestamp bigint NOT NULL,
      client_id text NOT NULL,
      deleted boolean NOT NULL,
      data jsonb,
      fields json NOT NULL,
      hash text NOT NULL,
      bucket smallint NOT NULL,
      bytes integer NOT NULL,
      at bigint NOT NULL,
      PRIMARY KEY (space, entity_type, entity_id)
    )`,
  },
  {
    name: 'feed',
    sql: `CREATE TABLE ${SCHEMA}.feed (
      space text COLLATE "C" NOT NULL,
      version bigint NOT NULL,
      id text NOT NULL,
      client_id text NOT NULL,
      entity_type text NOT NULL,
      entity_id text NOT NULL,
      operation text NOT NULL,
      entity json,
      data json,
      timestamp bigint NOT NULL,
      transaction_id text,
      bytes integer NOT NULL,
      at bigint NOT NULL,
      PRIMARY KEY (space, version)
    )`,
  },
  {
    name: 'applied_changes',
    sql: `CREATE TABLE ${SCHEMA}.applied_changes (
      space text COLLATE "C" NOT NULL,
      id text COLLATE "C" NOT NULL,
      version bigint NOT NULL,
      payload_hash text NOT NULL,
      at bigint NOT NULL,
      PRIMARY KEY (space, id)
    )`,
  },
];

export const INDEXES: readonly string[] = [
  `CREATE INDEX entities_by_bucket ON ${SCHEMA}.entities (space, bucket)`,
  `CREATE INDEX entities_deleted ON ${SCHEMA}.entities (space, at) WHERE deleted`,
  `CREATE INDEX applied_changes_by_age ON ${SCHEMA}.applied_changes (space, at)`,
];

/** Any number that all servers share: one of them at a time makes the tables. */
const MIGRATION_LOCK = 730_216_541;

export async function migrate(store: Store): Promise<void> {
  await store.transaction(async (session) => {
    await session.run({ name: '', text: 'SELECT pg_advisory_xact_lock($1)' }, [MIGRATION_LOCK]);
    const found = await readSchemaVersion(session);
    if (found === SCHEMA_VERSION) return;
    if (found > SCHEMA_VERSION) {
      throw new Error(
        `The database's schema "${SCHEMA}" has version ${found}; this server knows up to ${SCHEMA_VERSION}. Update the server.`,
      );
    }
    for (const sql of [...TABLES.map((table) => table.sql), ...INDEXES]) await session.run({ name: '', text: sql }, []);
    await session.run({ name: '', text: `INSERT INTO ${SCHEMA}.schema_version (version) VALUES ($1)` }, [
      SCHEMA_VERSION,
    ]);
  });
}

async function readSchemaVersion(session: SqlSession): Promise<number> {
  await session.run({ name: '', text: `CREATE SCHEMA IF NOT EXISTS ${SCHEMA}` }, []);
  await session.run(
    { name: '', text: `CREATE TABLE IF NOT EXISTS ${SCHEMA}.schema_version (version integer PRIMARY KEY)` },
    [],
  );
  const [row] = await session.run<{ version: number | null }>(
    { name: '', text: `SELECT max(version) AS version FROM ${SCHEMA}.schema_version` },
    [],
  );
  return row?.version ?? 0;
}
