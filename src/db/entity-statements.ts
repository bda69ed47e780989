// The SQL that writes entities of one type: in bulk from waiting changes, and for one entity together with the change
// that records it. Each is one statement, so that the entity and its change stand or fall together.
import { type EntityType, type ForeignKey, entityAsJson, keyColumn, writableColumns } from './entity-types.ts';
import { lightColumns } from './change-row.ts';
import { UNDOES } from './repair-context.ts';
import { quoteIdentifier, quoteLiteral } from './sql-values.ts';

/** `$aim` must be referenced by the statement, or Postgres does not evaluate it. */
function announceAim(parameter: string): string {
  return `aim AS MATERIALIZED (SELECT set_config('local_data.aim', ${parameter}, true) AS announced)`;
}

/** A payload as `jsonb_populate_record` reads it: bytea comes as base64 and goes in as hex. */
function readablePayload(type: EntityType, payload: string): string {
  const binary = type.columns.filter((column) => column.type === 'bytea');
  return binary.reduce((sql, { name }) => {
    const key = quoteLiteral(name);
    const hex = `to_jsonb('\\x' || encode(decode(${payload}->>${key}, 'base64'), 'hex'))`;
    return `(${sql} || CASE WHEN ${payload}->>${key} IS NULL THEN '{}'::jsonb ELSE jsonb_build_object(${key}, ${hex}) END)`;
  }, payload);
}

/** A row of the type's table from a whole entity. */
export function rowFromEntity(type: EntityType, payload: string, entityId: string): string {
  if (type.kind === 'document') {
    const document = `${payload} - ${quoteLiteral(type.key)}`;
    return `jsonb_populate_record(NULL::${type.sqlTable}, jsonb_build_object('id', ${entityId}, 'data', ${document}))`;
  }
  const withKey = `${readablePayload(type, payload)} || jsonb_build_object(${quoteLiteral(type.key)}, ${entityId})`;
  return `jsonb_populate_record(NULL::${type.sqlTable}, ${withKey})`;
}

/** A row of the type's table from the present row and a patch: keys present only. A column may have the row's own name. */
export function rowFromPatch(type: EntityType, row: string, patch: string): string {
  if (type.kind === 'document') {
    const document = `${row}."data" || (${patch} - ${quoteLiteral(type.key)})`;
    return `jsonb_populate_record(${row}.*, jsonb_build_object('data', ${document}))`;
  }
  return `jsonb_populate_record(${row}.*, (${readablePayload(type, patch)}) - ${quoteLiteral(type.key)})`;
}

function insertColumns(type: EntityType, payloadKeys: readonly string[]): string[] {
  if (type.kind === 'document') return ['id', 'data'];
  const given = new Set(payloadKeys);
  return [type.key, ...writableColumns(type).filter((column) => given.has(column))];
}

function columnList(columns: readonly string[], prefix = ''): string {
  return columns.map((column) => `${prefix}${quoteIdentifier(column)}`).join(', ');
}

/** An identity column that is generated always takes no value unless told so; a key given by us is given on purpose. */
function overriding(type: EntityType): string {
  return type.columns.some((column) => column.name === type.key && column.generated) ? 'OVERRIDING SYSTEM VALUE' : '';
}

function assignments(type: EntityType): string {
  const columns = writableColumns(type);
  if (columns.length === 0) return `${keyColumn(type)} = t.${keyColumn(type)}`;
  return columns.map((column) => `${quoteIdentifier(column)} = (x.r).${quoteIdentifier(column)}`).join(', ');
}

const APPLIED = `processed_local = true, error = NULL, failure = NULL, next_attempt_at = NULL, blocked_by = NULL`;

/** `$1` seqs, `$2` aim, `$3` now. Applies inserts with one set of keys and marks them; one JSON list of { seq, result }. */
export function bulkInsert(type: EntityType, payloadKeys: readonly string[]): string {
  const columns = insertColumns(type, payloadKeys);
  return `WITH ${announceAim('$2')},
    source AS MATERIALIZED (
      SELECT c.seq, ${rowFromEntity(type, 'c.data', 'c.entity_id')} AS r
      FROM local_changes c, aim WHERE c.seq = ANY($1::bigint[]) ORDER BY c.seq),
    written AS (
      INSERT INTO ${type.sqlTable} AS t (${columnList(columns)}) ${overriding(type)}
      SELECT ${columnList(columns, '(r).')} FROM source
      RETURNING t.${keyColumn(type)} AS k, ${entityAsJson(type, 't')} AS entity),
    marked AS (
      UPDATE local_changes c SET ${APPLIED}, applied_at = $3, previous = NULL, result = NULLIF(w.entity, c.data)
      FROM written w WHERE c.seq = ANY($1::bigint[]) AND c.entity_id::${type.keyType} = w.k
      RETURNING c.seq, c.result)
    SELECT json_agg(marked) AS rows FROM marked`;
}

/** `$1` rows of change id, entity id and payload with these keys, `$2` aim, `$3` now, `$4` label. Rows: seq, in order. */
export function bulkInsertAndRecord(type: EntityType, payloadKeys: readonly string[]): string {
  const columns = insertColumns(type, payloadKeys);
  return `WITH ${announceAim('$2')},
    input AS MATERIALIZED (
      SELECT i.id, i.e, i.d, i.n
      FROM aim, ROWS FROM (jsonb_to_recordset($1::jsonb) AS (id text, e text, d jsonb)) WITH ORDINALITY AS i(id, e, d, n)),
    source AS MATERIALIZED (SELECT ${rowFromEntity(type, 'i.d', 'i.e')} AS r FROM input i),
    written AS (
      INSERT INTO ${type.sqlTable} AS t (${columnList(columns)}) ${overriding(type)}
      SELECT ${columnList(columns, '(r).')} FROM source
      RETURNING t.${keyColumn(type)} AS k, ${entityAsJson(type, 't')} AS entity),
    recorded AS (
      INSERT INTO local_changes
        (id, entity_type, entity_id, operation, data, timestamp, label, processed_local, result, applied_at)
      SELECT i.id, ${quoteLiteral(type.entityType)}, i.e, 'insert', i.d, $3::bigint, $4, true, NULLIF(w.entity, i.d), $3::bigint
      FROM input i JOIN written w ON w.k = i.e::${type.keyType} ORDER BY i.n
      RETURNING seq)
    SELECT json_agg(recorded ORDER BY seq) AS rows FROM recorded`;
}

/** Parameters as {@link bulkInsert}. A seq that does not come back had no entity to update; gives lists of seq and entity. */
export function bulkUpdate(type: EntityType): string {
  return `WITH ${announceAim('$2')},
    source AS MATERIALIZED (
      SELECT c.seq, t.${keyColumn(type)} AS k, ${entityAsJson(type, 't')} AS previous, ${rowFromPatch(type, 't', 'c.data')} AS r
      FROM aim, local_changes c JOIN ${type.sqlTable} t ON t.${keyColumn(type)} = c.entity_id::${type.keyType}
      WHERE c.seq = ANY($1::bigint[])),
    written AS (
      UPDATE ${type.sqlTable} t SET ${assignments(type)} FROM source x WHERE t.${keyColumn(type)} = x.k
      RETURNING x.seq, x.previous, ${entityAsJson(type, 't')} AS entity),
    marked AS (
      UPDATE local_changes c SET ${APPLIED}, applied_at = $3, previous = w.previous,
        result = NULLIF(w.entity, w.previous || c.data)
      FROM written w WHERE c.seq = w.seq
      RETURNING c.seq, w.entity)
    SELECT json_agg(json_build_array(seq, entity)) AS rows FROM marked`;
}

/** Parameters as {@link bulkInsert}. Deleting what is not there is applied too; gives { seq, deleted }. */
export function bulkDelete(type: EntityType): string {
  return `WITH ${announceAim('$2')},
    source AS MATERIALIZED (
      SELECT c.seq, c.entity_id::${type.keyType} AS k FROM local_changes c, aim WHERE c.seq = ANY($1::bigint[])),
    written AS (
      DELETE FROM ${type.sqlTable} t USING source x WHERE t.${keyColumn(type)} = x.k
      RETURNING x.seq, ${entityAsJson(type, 't')} AS previous),
    marked AS (
      UPDATE local_changes c SET ${APPLIED}, applied_at = $3, previous = w.previous, result = NULL
      FROM source s LEFT JOIN written w ON w.seq = s.seq WHERE c.seq = s.seq
      RETURNING c.seq, w.previous IS NOT NULL AS deleted)
    SELECT json_agg(marked) AS rows FROM marked`;
}

/** `$1` entity id, `$2` payload. What is there and what the payload means in the columns' own types. */
export function readForUpsert(type: EntityType): string {
  return `SELECT (SELECT ${entityAsJson(type, 't')} FROM ${type.sqlTable} t
      WHERE t.${keyColumn(type)} = $1::${type.keyType}) AS current, ${entityAsJson(type, 'r')} AS wanted
    FROM ${rowFromEntity(type, '$2::jsonb', '$1::text')} r`;
}

/** `$1` entity id. */
export function readEntity(type: EntityType): string {
  return `SELECT ${entityAsJson(type, 't')} AS entity FROM ${type.sqlTable} t WHERE t.${keyColumn(type)} = $1::${type.keyType}`;
}

const RECORD_COLUMNS = `(id, entity_type, entity_id, operation, data, timestamp, processed_local, transaction_id, previous, result, applied_at)`;

/** `$1` entity id, `$2` payload, `$3` aim, `$4` change id, `$5` now, `$6` transaction. Rows: the change, and `entity`. */
export function insertAndRecord(type: EntityType, payloadKeys: readonly string[]): string {
  const columns = insertColumns(type, payloadKeys);
  return `WITH ${announceAim('$3')},
    source AS MATERIALIZED (SELECT ${rowFromEntity(type, '$2::jsonb', '$1::text')} AS r FROM aim),
    written AS (
      INSERT INTO ${type.sqlTable} AS t (${columnList(columns)}) ${overriding(type)}
      SELECT ${columnList(columns, '(r).')} FROM source RETURNING ${entityAsJson(type, 't')} AS entity)
    INSERT INTO local_changes AS c ${RECORD_COLUMNS}
    SELECT $4, ${quoteLiteral(type.entityType)}, $1, 'insert', $2::jsonb, $5::bigint, true, $6, NULL, NULLIF(w.entity, $2::jsonb), $5::bigint
    FROM written w RETURNING ${lightColumns('c')}, coalesce(c.result, c.data) AS entity`;
}

/** Parameters as {@link insertAndRecord}; no row when there is no such entity. */
export function updateAndRecord(type: EntityType): string {
  return `WITH ${announceAim('$3')},
    source AS MATERIALIZED (
      SELECT t.${keyColumn(type)} AS k, ${entityAsJson(type, 't')} AS previous, ${rowFromPatch(type, 't', '$2::jsonb')} AS r
      FROM aim, ${type.sqlTable} t WHERE t.${keyColumn(type)} = $1::${type.keyType}),
    written AS (
      UPDATE ${type.sqlTable} t SET ${assignments(type)} FROM source x WHERE t.${keyColumn(type)} = x.k
      RETURNING x.previous, ${entityAsJson(type, 't')} AS entity)
    INSERT INTO local_changes AS c ${RECORD_COLUMNS}
    SELECT $4, ${quoteLiteral(type.entityType)}, $1, 'update', $2::jsonb, $5::bigint, true, $6, w.previous,
      NULLIF(w.entity, w.previous || $2::jsonb), $5::bigint
    FROM written w RETURNING ${lightColumns('c')}, coalesce(c.result, c.previous || c.data) AS entity`;
}

/** `$1` entity id, `$2` aim, `$3` change id, `$4` now, `$5` transaction; no row when there is no such entity. */
export function deleteAndRecord(type: EntityType): string {
  return `WITH ${announceAim('$2')},
    written AS (
      DELETE FROM ${type.sqlTable} t USING aim WHERE t.${keyColumn(type)} = $1::${type.keyType}
      RETURNING ${entityAsJson(type, 't')} AS previous)
    INSERT INTO local_changes AS c ${RECORD_COLUMNS}
    SELECT $3, ${quoteLiteral(type.entityType)}, $1, 'delete', NULL, $4::bigint, true, $5, w.previous, NULL, $4::bigint
    FROM written w RETURNING ${lightColumns('c')}`;
}

/**
 * `$1` list of { id: change id, e: entity id, s: seq of what is undone }, `$2` aim, `$3` now. Deletes them and records it, also
 * of those that are gone. One list of the changes, each with `was_there`.
 */
export function deleteAndRecordUndo(type: EntityType): string {
  return `WITH ${announceAim('$2')},
    input AS MATERIALIZED (SELECT i.* FROM aim, jsonb_to_recordset($1::jsonb) AS i(id text, e text, s bigint)),
    written AS (
      DELETE FROM ${type.sqlTable} t USING input i WHERE t.${keyColumn(type)} = i.e::${type.keyType}
      RETURNING i.e, ${entityAsJson(type, 't')} AS previous),
    recorded AS (
      INSERT INTO local_changes AS c
        (id, entity_type, entity_id, operation, timestamp, processed_local, previous, applied_at, note)
      SELECT i.id, ${quoteLiteral(type.entityType)}, i.e, 'delete', $3::bigint, true, w.previous, $3::bigint, '${UNDOES}' || i.s
      FROM input i LEFT JOIN written w ON w.e = i.e ORDER BY i.s
      RETURNING ${lightColumns('c')}, c.previous IS NOT NULL AS was_there)
    SELECT json_agg(recorded ORDER BY seq) AS rows FROM recorded`;
}

/** `$1` entity id, `$2` payload with these keys, `$3` aim. Makes a row that is there what an insert of it would have made. */
export function insertOver(type: EntityType, payloadKeys: readonly string[]): string {
  const given = new Set(insertColumns(type, payloadKeys));
  const columns = writableColumns(type).map((column) => {
    const name = quoteIdentifier(column);
    return `${name} = ${given.has(column) ? `(x.r).${name}` : 'DEFAULT'}`;
  });
  const nothing = `${keyColumn(type)} = t.${keyColumn(type)}`;
  return `WITH ${announceAim('$3')},
    x AS MATERIALIZED (SELECT ${rowFromEntity(type, '$2::jsonb', '$1::text')} AS r FROM aim)
    UPDATE ${type.sqlTable} t SET ${columns.length === 0 ? nothing : columns.join(', ')} FROM x
    WHERE t.${keyColumn(type)} = $1::${type.keyType} RETURNING ${entityAsJson(type, 't')} AS entity`;
}

const GIVEN = `jsonb_to_recordset($1::jsonb) AS i(e text, d jsonb)`;

/**
 * `$1` list of { e: entity id, d: whole entity }, `$2` aim. Writes those that are there and differ; a column that the given
 * entity does not name stays as it is. One list of [entity id, entity before, entity now or null where nothing changed].
 */
export function bulkPutPresent(type: EntityType): string {
  const row = type.kind === 'document' ? rowFromEntity(type, 'i.d', 'i.e') : rowFromPatch(type, 't', 'i.d');
  return `WITH ${announceAim('$2')},
    source AS MATERIALIZED (
      SELECT t.${keyColumn(type)} AS k, i.e, ${entityAsJson(type, 't')} AS previous, ${row} AS r
      FROM aim, ${GIVEN} JOIN ${type.sqlTable} t ON t.${keyColumn(type)} = i.e::${type.keyType}),
    written AS (
      UPDATE ${type.sqlTable} t SET ${assignments(type)} FROM source x
      WHERE t.${keyColumn(type)} = x.k AND x.previous IS DISTINCT FROM ${entityAsJson(type, '(x.r)')}
      RETURNING x.k, ${entityAsJson(type, 't')} AS entity)
    SELECT json_agg(json_build_array(s.e, s.previous, w.entity)) AS rows FROM source s LEFT JOIN written w ON w.k = s.k`;
}

/** As {@link bulkPutPresent}, for entities that are not there, all with these keys. One list of { id, entity }. */
export function bulkPutAbsent(type: EntityType, keys: readonly string[]): string {
  const columns = insertColumns(type, keys);
  return `WITH ${announceAim('$2')},
    source AS MATERIALIZED (SELECT ${rowFromEntity(type, 'i.d', 'i.e')} AS r FROM aim, ${GIVEN}),
    written AS (
      INSERT INTO ${type.sqlTable} AS t (${columnList(columns)}) ${overriding(type)}
      SELECT ${columnList(columns, '(r).')} FROM source
      RETURNING t.${keyColumn(type)}::text AS id, ${entityAsJson(type, 't')} AS entity)
    SELECT json_agg(written) AS rows FROM written`;
}

/** `$1` list of { e: entity id }, `$2` aim. One list of { id, previous } of those that were there. */
export function bulkRemove(type: EntityType): string {
  return `WITH ${announceAim('$2')},
    written AS (
      DELETE FROM ${type.sqlTable} t USING aim, ${GIVEN} WHERE t.${keyColumn(type)} = i.e::${type.keyType}
      RETURNING i.e AS id, ${entityAsJson(type, 't')} AS previous)
    SELECT json_agg(written) AS rows FROM written`;
}

/**
 * `$1` as {@link bulkRemove}: those of them that rows of `child` refer to by the foreign key, whatever columns it has,
 * beyond rows that are removed with them.
 */
export function stillReferredTo(type: EntityType, child: EntityType, foreignKey: ForeignKey): string {
  const removedToo = `AND NOT EXISTS (SELECT FROM jsonb_to_recordset($1::jsonb) AS g(e text) WHERE g.e = t.${keyColumn(child)}::text)`;
  const refersTo = foreignKey.referencedColumns.map(
    (referenced, n) => `t.${quoteIdentifier(foreignKey.columns[n] ?? '')} = p.${quoteIdentifier(referenced)}`,
  );
  return `SELECT DISTINCT i.e AS id FROM ${GIVEN} JOIN ${type.sqlTable} p ON p.${keyColumn(type)} = i.e::${type.keyType}
      JOIN ${child.sqlTable} t ON ${refersTo.join(' AND ')}
    WHERE true ${child.entityType === type.entityType ? removedToo : ''}`;
}
