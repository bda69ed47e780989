// The schema of a data directory, in steps that are applied once each and never edited afterwards.
import type { Session } from './database.ts';

/** The changes table as the founding document gives it, plus what order, retry, undo and audit need. */
export const CHANGES_TABLE_SQL = `
CREATE TABLE IF NOT EXISTS local_changes (
  id TEXT PRIMARY KEY,
  entity_type TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  operation TEXT NOT NULL,
  data JSONB,
  timestamp BIGINT NOT NULL,
  processed_local BOOLEAN DEFAULT FALSE,
  processed_sync BOOLEAN DEFAULT FALSE,
  error TEXT,
  attempts INTEGER DEFAULT 0,
  seq BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
  origin TEXT NOT NULL DEFAULT 'local' CHECK (origin IN ('local', 'sql', 'remote')),
  transaction_id TEXT,
  label TEXT,
  previous JSONB,
  result JSONB,
  failure JSONB,
  blocked_by BIGINT,
  next_attempt_at BIGINT,
  applied_at BIGINT,
  discarded_at BIGINT,
  status TEXT NOT NULL GENERATED ALWAYS AS (
    CASE
      WHEN discarded_at IS NOT NULL THEN 'discarded'
      WHEN processed_sync THEN 'synced'
      WHEN processed_local THEN 'applied'
      WHEN blocked_by IS NOT NULL THEN 'blocked'
      WHEN error IS NULL THEN 'pending'
      WHEN next_attempt_at IS NOT NULL THEN 'retrying'
      ELSE 'failed'
    END
  ) STORED,
  CHECK (operation IN ('insert', 'update', 'delete'))
);
CREATE INDEX IF NOT EXISTS idx_local_changes_processed_local ON local_changes(processed_local);
CREATE INDEX IF NOT EXISTS idx_local_changes_processed_sync ON local_changes(processed_sync);
CREATE INDEX IF NOT EXISTS idx_local_changes_entity ON local_changes(entity_type, entity_id);
CREATE INDEX IF NOT EXISTS idx_local_changes_waiting ON local_changes(status, seq)
  WHERE status IN ('pending', 'retrying', 'failed', 'conflicted', 'blocked');
CREATE INDEX IF NOT EXISTS idx_local_changes_waiting_lane ON local_changes(entity_type, entity_id, seq)
  WHERE status IN ('pending', 'retrying', 'failed', 'conflicted', 'blocked');
CREATE INDEX IF NOT EXISTS idx_local_changes_blocked_by ON local_changes(blocked_by) WHERE blocked_by IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_local_changes_transaction ON local_changes(transaction_id)
  WHERE transaction_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_local_changes_label ON local_changes(label, seq) WHERE label IS NOT NULL;
`;

/**
 * What synchronisation adds to it. `processed_local` tells the stages apart: a change that has an error before it is set
 * failed locally, one that has an error after it was refused by the server, and a remote change without it is set aside.
 */
export const CHANGES_TABLE_SYNC_SQL = `
ALTER TABLE local_changes
  ADD COLUMN base_version BIGINT,
  ADD COLUMN base_timestamp BIGINT,
  ADD COLUMN rebased JSONB,
  ADD COLUMN conflict JSONB,
  ADD COLUMN accepted_version BIGINT,
  ADD COLUMN accepted_at BIGINT,
  ADD COLUMN client_id TEXT,
  ADD COLUMN note TEXT,
  ALTER COLUMN status SET EXPRESSION AS (
    CASE
      WHEN discarded_at IS NOT NULL THEN 'discarded'
      WHEN processed_sync AND (processed_local OR error IS NULL) THEN 'synced'
      WHEN blocked_by IS NOT NULL THEN 'blocked'
      WHEN error IS NULL AND processed_local THEN 'applied'
      WHEN error IS NULL THEN 'pending'
      WHEN conflict IS NOT NULL AND conflict->'resolution' = 'null' THEN 'conflicted'
      WHEN next_attempt_at IS NOT NULL THEN 'retrying'
      ELSE 'failed'
    END
  );
`;

const SYNC_SCHEMA_SQL = `
-- The last state of each entity that the server is known to have; only the feed and snapshots move it.
CREATE TABLE local_data.entity_bases (
  entity_type TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  version BIGINT NOT NULL,
  timestamp BIGINT NOT NULL,
  deleted BOOLEAN NOT NULL DEFAULT FALSE,
  data JSONB,
  snapshot INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (entity_type, entity_id)
);
-- The one server and space this database belongs to; at most one row.
CREATE TABLE local_data.sync_binding (
  one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
  url TEXT NOT NULL,
  space TEXT NOT NULL,
  epoch TEXT NOT NULL,
  client_id TEXT NOT NULL,
  phase TEXT NOT NULL CHECK (phase IN ('snapshot', 'applying', 'linked')),
  connected BOOLEAN NOT NULL DEFAULT TRUE,
  paused BOOLEAN NOT NULL DEFAULT FALSE,
  cursor TEXT,
  version BIGINT NOT NULL DEFAULT 0,
  snapshot INTEGER NOT NULL DEFAULT 0,
  snapshot_page TEXT,
  snapshot_cursor TEXT,
  snapshot_version BIGINT,
  snapshot_total BIGINT,
  in_doubt BIGINT[] NOT NULL DEFAULT '{}',
  last_push_at BIGINT,
  last_pull_at BIGINT
);
-- Up to which version the feed had come when: the last line of a change's receipt.
CREATE TABLE local_data.feed_pages (version BIGINT PRIMARY KEY, at BIGINT NOT NULL);
`;

const TYPES_IN_STEP_SQL = `
-- Which entity types are in step with the server. Of one that is not, up to which version of the feed its entities here have
-- come; of one that is, the shape of its table when its bases were put in place (null: they are still to be).
CREATE TABLE local_data.synced_types (
  entity_type TEXT PRIMARY KEY,
  in_step BOOLEAN NOT NULL,
  left_version BIGINT NOT NULL DEFAULT 0,
  shape JSONB
);
INSERT INTO local_data.synced_types (entity_type, in_step)
  SELECT entity_type, TRUE FROM local_data.entity_types WHERE EXISTS (SELECT FROM local_data.sync_binding);
-- What the server's earlier history had and its new one lacks: kept here, and a person is asked.
CREATE TABLE local_data.missing_entities (
  entity_type TEXT NOT NULL,
  entity_id TEXT NOT NULL,
  timestamp BIGINT NOT NULL,
  PRIMARY KEY (entity_type, entity_id)
);
-- How entity types take part; null where nobody has said so yet.
ALTER TABLE local_data.sync_binding ADD COLUMN rules JSONB;
`;

const ENGINE_SCHEMA_SQL = `
CREATE SCHEMA local_data;
CREATE TABLE local_data.entity_types (
  entity_type TEXT PRIMARY KEY,
  table_name TEXT NOT NULL UNIQUE,
  key TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('table', 'document'))
);
CREATE TABLE local_data.imports (
  label TEXT PRIMARY KEY,
  entity_type TEXT NOT NULL,
  file TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  undone_at BIGINT
);
CREATE SEQUENCE local_data.captured_changes;

-- The clock and randomness come from the engine; a session without it falls back to the server's own.
CREATE FUNCTION local_data.setting(name TEXT) RETURNS TEXT LANGUAGE sql STABLE
  RETURN NULLIF(current_setting('local_data.' || name, true), '');
CREATE FUNCTION local_data.now_ms() RETURNS BIGINT LANGUAGE sql STABLE
  RETURN COALESCE(local_data.setting('now')::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint);
CREATE FUNCTION local_data.captured_id() RETURNS TEXT LANGUAGE sql VOLATILE
  RETURN md5(COALESCE(local_data.setting('seed'), gen_random_uuid()::text)
    || ':' || nextval('local_data.captured_changes')::text)::uuid::text;

CREATE FUNCTION local_data.announce_schema_change() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('local_data_schema', '');
END $$;
CREATE EVENT TRIGGER local_data_schema_changed ON ddl_command_end EXECUTE FUNCTION local_data.announce_schema_change();
CREATE EVENT TRIGGER local_data_schema_dropped ON sql_drop EXECUTE FUNCTION local_data.announce_schema_change();

-- Reads for people: no writes, no server files, no way back to the owner's rights.
CREATE ROLE local_data_reader NOLOGIN;
GRANT pg_read_all_data TO local_data_reader;
REVOKE EXECUTE ON FUNCTION set_config(text, text, boolean) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_to_xml(text, boolean, boolean, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_to_xmlschema(text, boolean, boolean, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION query_to_xml_and_xmlschema(text, boolean, boolean, text) FROM PUBLIC;
`;

const MIGRATIONS: readonly string[] = [
  `${ENGINE_SCHEMA_SQL}\n${CHANGES_TABLE_SQL}`,
  `${SYNC_SCHEMA_SQL}\n${CHANGES_TABLE_SYNC_SQL}`,
  TYPES_IN_STEP_SQL,
];

export const SCHEMA_VERSION = MIGRATIONS.length;

/** Brings a data directory to this version's schema; a newer one than this is refused by the caller. */
export async function migrate(session: Session, from: number): Promise<void> {
  for (const [index, sql] of MIGRATIONS.entries()) {
    if (index < from) continue;
    await session.transaction(async () => {
      await session.script(sql);
      await session.run(`COMMENT ON SCHEMA local_data IS '${index + 1}'`);
    });
  }
}

/** 0 on a database that was never opened by the engine. */
export async function readSchemaVersion(session: Session): Promise<number> {
  const [row] = await session.run<{ version: string | null }>(
    `SELECT obj_description(oid, 'pg_namespace') AS version FROM pg_namespace WHERE nspname = 'local_data'`,
  );
  return Number(row?.version ?? 0);
}
