// Records plain SQL writes on entity tables as changes, in the same transaction, by statement-level triggers. The
// engine's own writes announce the rows they aim at in `local_data.aim`; whatever else a statement touches (ON DELETE
// CASCADE, someone's triggers) is recorded too.
import type { Session } from './database.ts';
import type { EntityType } from './entity-types.ts';
import { entityAsJson, keyColumn } from './entity-types.ts';
import { quoteLiteral } from './sql-values.ts';

export const CAPTURED_CHANNEL = 'local_data_captured';
export const SCHEMA_CHANNEL = 'local_data_schema';

type AimedOperation = 'INSERT' | 'UPDATE' | 'DELETE';

/**
 * What one statement of the engine's own writes: rows of one table by one operation. The ids are named only where the
 * statement may touch further rows of the same table by the same operation.
 */
export function aimAt(type: EntityType, operation: AimedOperation, entityIds: readonly string[]): string {
  const mayTouchMore =
    type.hasUserTriggers || (operation === 'DELETE' && (type.referencesItself || type.referencedBy === 'cascades'));
  if (!mayTouchMore) return aimAtAll(type, operation);
  const ids = Object.fromEntries(entityIds.map((id) => [id, 1]));
  return JSON.stringify({ table: String(type.relationId), operation, ids });
}

/** For a statement known to touch nothing of this table by this operation but what it means to. */
export function aimAtAll(type: EntityType, operation: AimedOperation): string {
  return JSON.stringify({ table: String(type.relationId), operation, all: true });
}

/** (Re)makes the capture triggers of a table from its present columns. */
export async function installCapture(session: Session, type: EntityType): Promise<void> {
  const name = `local_data.capture_${type.relationId}`;
  const table = type.sqlTable;
  await session.script(`
    CREATE OR REPLACE FUNCTION ${name}() RETURNS trigger LANGUAGE plpgsql AS ${quoteBody(captureBody(type))};
    CREATE OR REPLACE TRIGGER local_data_capture_insert AFTER INSERT ON ${table}
      REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ${name}();
    CREATE OR REPLACE TRIGGER local_data_capture_update AFTER UPDATE ON ${table}
      REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ${name}();
    CREATE OR REPLACE TRIGGER local_data_capture_delete AFTER DELETE ON ${table}
      REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION ${name}();
    CREATE OR REPLACE TRIGGER local_data_capture_truncate BEFORE TRUNCATE ON ${table}
      FOR EACH STATEMENT EXECUTE FUNCTION ${name}();
  `);
}

function quoteBody(body: string): string {
  return `$local_data$${body}$local_data$`;
}

function captureBody(type: EntityType): string {
  const key = keyColumn(type);
  const generatedNames = type.columns.filter((column) => column.generated).map((column) => quoteLiteral(column.name));
  const generated = `ARRAY[${generatedNames.join(', ')}]::text[]`;
  const record = (rows: string): string => `
    INSERT INTO public.local_changes
      (id, entity_type, entity_id, operation, data, timestamp, processed_local, origin, transaction_id, previous, result, applied_at)
    SELECT local_data.captured_id(), ${quoteLiteral(type.entityType)}, w.entity_id, w.operation, w.data, local_data.now_ms(),
      true, 'sql', local_data.setting('transaction'), w.previous,
      CASE WHEN w.operation = 'update' THEN NULLIF(w.entity, w.previous || w.data) END, local_data.now_ms()
    FROM (${rows}) w WHERE NOT (aimed ? w.entity_id);`;
  const rowsOf = (relation: string): string =>
    `SELECT x.${key}::text AS entity_id, ${entityAsJson(type, 'x')} AS entity FROM ${relation} x`;
  return `
DECLARE
  aim jsonb := local_data.setting('aim')::jsonb;
  aimed jsonb := '{}';
  captured bigint;
BEGIN
  IF aim->>'table' = TG_RELID::text AND aim->>'operation' = TG_OP THEN
    IF (aim->>'all')::boolean THEN
      RETURN NULL;
    END IF;
    aimed := aim->'ids';
  END IF;
  IF TG_OP = 'INSERT' THEN ${record(
    `SELECT entity_id, 'insert' AS operation, entity AS data, NULL::jsonb AS previous, entity FROM (${rowsOf('new_rows')}) n`,
  )}
  ELSIF TG_OP = 'DELETE' THEN ${record(
    `SELECT entity_id, 'delete' AS operation, NULL::jsonb AS data, entity AS previous, NULL::jsonb AS entity FROM (${rowsOf('old_rows')}) o`,
  )}
  ELSIF TG_OP = 'TRUNCATE' THEN ${record(
    `SELECT entity_id, 'delete' AS operation, NULL::jsonb AS data, entity AS previous, NULL::jsonb AS entity FROM (${rowsOf(type.sqlTable)}) o`,
  )}
  ELSE ${record(`
    SELECT coalesce(n.entity_id, o.entity_id) AS entity_id,
      CASE WHEN o.entity_id IS NULL THEN 'insert' WHEN n.entity_id IS NULL THEN 'delete' ELSE 'update' END AS operation,
      CASE WHEN o.entity_id IS NULL THEN n.entity WHEN n.entity_id IS NULL THEN NULL ELSE
        (SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(n.entity) e WHERE e.value IS DISTINCT FROM o.entity->e.key
          AND e.key <> ALL (${generated}))
      END AS data,
      o.entity AS previous, n.entity
    FROM (${rowsOf('old_rows')}) o FULL JOIN (${rowsOf('new_rows')}) n ON n.entity_id = o.entity_id
    WHERE n.entity IS DISTINCT FROM o.entity
    ORDER BY n.entity_id IS NOT NULL, o.entity_id IS NULL`)}
  END IF;
  GET DIAGNOSTICS captured = ROW_COUNT;
  IF captured > 0 THEN
    PERFORM pg_notify('${CAPTURED_CHANNEL}', '');
  END IF;
  RETURN NULL;
END `;
}
