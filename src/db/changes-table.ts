// The changes table: every modification is first a row here. Records changes after checking them at the door; nothing
// that is refused leaves a trace, nothing that is recorded is lost.
import {
  type Change,
  type ChangeFilter,
  type ChangeInput,
  type ChangePage,
  type EntityMark,
  type JsonObject,
  type ListChangesOptions,
  OPERATIONS,
  WAITING_STATUSES,
} from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { type ChangeRow, type ReasonContext, allColumns, isLocalStage, lightColumns, toChange } from './change-row.ts';
import { CommitDraft } from './commit-log.ts';
import { type Parameter, type Session, byteLength } from './database.ts';
import type { EntityTypes } from './entity-types.ts';
import { canonical } from './failures.ts';
import { CHANGES_TABLE_SQL, CHANGES_TABLE_SYNC_SQL } from './migrations.ts';
import { LARGEST_PAGE, pageLimit } from './page-limit.ts';
import { SqlError } from './sql-error.ts';

export async function createChangesTable(session: Session): Promise<void> {
  await session.script(CHANGES_TABLE_SQL);
  const [column] = await session.run(
    `SELECT FROM pg_attribute WHERE attrelid = 'local_changes'::regclass AND attname = 'base_version'`,
  );
  if (column === undefined) await session.script(CHANGES_TABLE_SYNC_SQL);
}

export async function doesChangesTableExist(session: Session): Promise<boolean> {
  const [row] = await session.run<{ exists: boolean }>(
    `SELECT to_regclass('public.local_changes') IS NOT NULL AS exists`,
  );
  return row?.exists ?? false;
}

export interface RecordContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly maxPayloadBytes: number;
  readonly now: number;
  readonly paused: boolean;
  readonly newId: () => string;
}

const INSERT_ONE = `INSERT INTO local_changes (id, entity_type, entity_id, operation, data, timestamp)
  VALUES ($1, $2, $3, $4, $5, $6) RETURNING seq`;

const INSERT_MANY = `INSERT INTO local_changes (id, entity_type, entity_id, operation, data, timestamp, label)
  SELECT r.id, r.t, r.e, r.o, r.d, $2::bigint, $3
  FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS (id text, t text, e text, o text, d jsonb)) WITH ORDINALITY r
  ORDER BY r.ordinality RETURNING seq`;

/** Records one change; the caller publishes it. */
export async function recordChange(context: RecordContext, input: ChangeInput): Promise<Change> {
  const checked = checkInput(context, input);
  const id = context.newId();
  const { entityType, entityId, operation } = input;
  const canonicalId = canonicalEntityId(context, entityType, entityId);
  const [row] = await run(context.session, INSERT_ONE, [
    id,
    entityType,
    canonicalId,
    operation,
    checked.json,
    context.now,
  ]);
  return recorded(
    context,
    id,
    Number(row?.seq),
    { entityType, entityId: canonicalId, operation, data: checked.data },
    null,
  );
}

/** Records all or none, in order; the caller publishes them. */
export async function recordChanges(
  context: RecordContext,
  inputs: readonly ChangeInput[],
  label: string | null = null,
): Promise<Change[]> {
  const rows = inputs.map((input) => {
    const { data, json } = checkInput(context, input);
    const entityId = canonicalEntityId(context, input.entityType, input.entityId);
    return { id: context.newId(), t: input.entityType, e: entityId, o: input.operation, d: data, json };
  });
  if (rows.length === 0) return [];
  const seqs = await run(context.session, INSERT_MANY, [`[${rows.map(asJson).join(',')}]`, context.now, label]);
  return rows.map((row, index) => {
    const change = { entityType: row.t, entityId: row.e, operation: row.o, data: row.d };
    return recorded(context, row.id, Number(seqs[index]?.seq), change, label);
  });
}

/** The payload is JSON already; it is not written a second time. */
function asJson(row: { id: string; t: string; e: string; o: string; json: string | null }): string {
  const head = JSON.stringify({ id: row.id, t: row.t, e: row.e, o: row.o });
  return row.json === null ? head : `${head.slice(0, -1)},"d":${row.json}}`;
}

export function draftOf(changes: readonly Change[]): CommitDraft {
  const draft = new CommitDraft();
  for (const change of changes) draft.recorded(change);
  return draft;
}

export async function listChanges(
  session: Session,
  options: ListChangesOptions,
  context: ReasonContext,
): Promise<ChangePage> {
  const limit = pageLimit(options.limit);
  const descending = options.order === 'desc';
  const { where, params } = filterSql(options);
  if (options.after !== undefined) {
    params.push(options.after);
    where.push(`c.seq ${descending ? '<' : '>'} $${params.length}`);
  }
  const rows = await session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c ${where.length === 0 ? '' : `WHERE ${where.join(' AND ')}`}
     ORDER BY c.seq ${descending ? 'DESC' : 'ASC'} LIMIT ${limit + 1}`,
    params,
  );
  const page = rows.slice(0, limit).map((row) => toChange(row, context));
  return { changes: page, next: rows.length > limit ? (page.at(-1)?.seq ?? null) : null };
}

/** In the order in which a person would want to see them. */
const BY_TROUBLE = `array_position(ARRAY['failed', 'conflicted', 'blocked', 'retrying', 'pending'], c.status)`;
const IS_WAITING = `IN (${WAITING_STATUSES.map((status) => `'${status}'`).join(', ')})`;

export async function listMarks(
  session: Session,
  { entityType, entityIds }: { readonly entityType: string; readonly entityIds: readonly string[] },
  context: ReasonContext,
): Promise<EntityMark[]> {
  const rows = await session.run<ChangeRow>(
    `SELECT DISTINCT ON (c.entity_id) ${lightColumns('c')} FROM local_changes c
     WHERE c.entity_type = $1 AND c.status ${IS_WAITING}
       AND c.entity_id = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))
     ORDER BY c.entity_id, ${BY_TROUBLE}, c.seq`,
    [entityType, JSON.stringify(entityIds.slice(0, LARGEST_PAGE))],
  );
  return rows.map((row) => toMark(row, context));
}

/** By the first waiting change of each lane: behind a delete that failed the entity is still there. */
export async function listNotInserted(
  session: Session,
  { entityType, limit }: { readonly entityType: string; readonly limit?: number | undefined },
  context: ReasonContext,
): Promise<EntityMark[]> {
  const rows = await session.run<ChangeRow>(
    `SELECT ${lightColumns('c')} FROM local_changes c
     WHERE c.entity_type = $1 AND c.operation = 'insert' AND c.status ${IS_WAITING} AND c.status <> 'pending'
       AND ${isLocalStage('c')}
       AND NOT EXISTS (
         SELECT FROM local_changes earlier
         WHERE earlier.entity_type = c.entity_type AND earlier.entity_id = c.entity_id
           AND earlier.seq < c.seq AND earlier.status ${IS_WAITING}
       )
     ORDER BY c.seq LIMIT ${pageLimit(limit)}`,
    [entityType],
  );
  return rows.map((row) => toMark(row, context));
}

function toMark(row: ChangeRow, context: ReasonContext): EntityMark {
  const { id: changeId, entityId, status, reason } = toChange(row, context);
  return { entityId, changeId, status, reason };
}

export async function getChange(session: Session, id: string, context: ReasonContext): Promise<Change | undefined> {
  const [row] = await session.run<ChangeRow>(`SELECT ${allColumns('c')} FROM local_changes c WHERE c.id = $1`, [id]);
  return row === undefined ? undefined : toChange(row, context);
}

export async function requireChange(session: Session, id: string, context: ReasonContext): Promise<Change> {
  const change = await getChange(session, id, context);
  if (change !== undefined) return change;
  throw new LocalDataError(
    'CHANGE_NOT_FOUND',
    `There is no change with id "${id}". It may have been pruned; refresh the list.`,
    { id },
  );
}

/** Conditions on `local_changes c` for a filter; one status is written out, so that its partial index serves. */
export function filterSql(filter: ChangeFilter): { where: string[]; params: Parameter[] } {
  const where: string[] = [];
  const params: Parameter[] = [];
  const equals = (column: string, value: string | undefined): void => {
    if (value === undefined) return;
    params.push(value);
    where.push(`c.${column} = $${params.length}`);
  };
  if (filter.status !== undefined) {
    const statuses = typeof filter.status === 'string' ? [filter.status] : filter.status;
    where.push(`c.status IN (${statuses.map((status) => `'${status.replaceAll("'", "''")}'`).join(', ') || 'NULL'})`);
  }
  equals('entity_type', filter.entityType);
  equals('entity_id', filter.entityId);
  equals('label', filter.label);
  return { where, params };
}

interface CheckedPayload {
  readonly data: JsonObject | null;
  readonly json: string | null;
}

/** The door: what may become a change at all. Whether it can be applied is the processor's to find out. */
export function checkInput(context: Pick<RecordContext, 'maxPayloadBytes'>, input: ChangeInput): CheckedPayload {
  const { entityType, entityId, operation } = input;
  if (typeof entityType !== 'string' || entityType === '') {
    throw new LocalDataError('INVALID_ARGUMENT', `The entity type is ${quote(entityType)}; name one, such as "Task".`, {
      field: 'entityType',
    });
  }
  if (typeof entityId !== 'string' || entityId.trim() === '') {
    throw new LocalDataError(
      'EMPTY_ENTITY_ID',
      `The entity id of this ${entityType} change is ${quote(entityId)}; give a text that is not empty.`,
      { field: 'entityId', entityType },
    );
  }
  refuseUnstorable('entityType', entityType);
  refuseUnstorable('entityId', entityId);
  if (!OPERATIONS.some((known) => known === operation)) {
    throw new LocalDataError(
      'UNKNOWN_OPERATION',
      `"${String(operation)}" is no operation for ${entityType} "${entityId}"; use ${OPERATIONS.join(', ')}.`,
      { field: 'operation', value: String(operation) },
    );
  }
  return checkData(context.maxPayloadBytes, input);
}

function checkData(maxPayloadBytes: number, { entityType, entityId, operation, data }: ChangeInput): CheckedPayload {
  const name = `${entityType} "${entityId}"`;
  if (operation === 'delete') {
    if (data === undefined || data === null) return { data: null, json: null };
    throw new LocalDataError(
      'INVALID_PAYLOAD',
      `A delete of ${name} carries no data, but data was given. Leave it out.`,
      { field: 'data' },
    );
  }
  if (data === undefined || data === null) {
    const wanted = operation === 'insert' ? 'the whole entity' : 'the fields to change';
    throw new LocalDataError('MISSING_DATA', `The ${operation} of ${name} has no data; give ${wanted} as an object.`, {
      field: 'data',
    });
  }
  if (typeof data !== 'object' || Array.isArray(data)) {
    const kind = Array.isArray(data) ? 'an array' : `a ${typeof data}`;
    throw new LocalDataError(
      'INVALID_PAYLOAD',
      `The data of ${name} is ${kind}; give an object of fields, such as { "title": "…" }.`,
      { field: 'data' },
    );
  }
  const json = toJson(name, data);
  // Both are escaped in JSON, and Postgres stores neither.
  if (json.includes('\\u')) refuseUnstorable(`data of ${name}`, JSON.parse(json));
  const bytes = byteLength(json);
  if (bytes > maxPayloadBytes) {
    throw new LocalDataError(
      'PAYLOAD_TOO_LARGE',
      `The data of ${name} has ${bytes} bytes; at most ${maxPayloadBytes} are allowed. Split it, or raise the setting localData.payload.maxBytes.`,
      { field: 'data', bytes, maxPayloadBytes },
    );
  }
  return { data: JSON.parse(json) as JsonObject, json };
}

/** Values of JavaScript become their canonical JSON: bigint a string, Date ISO, bytes base64. */
function toJson(name: string, data: JsonObject): string {
  try {
    return JSON.stringify(data, function (this: Record<string, unknown>, key, value: unknown) {
      const raw = this[key];
      if (typeof value === 'bigint') return value.toString();
      if (raw instanceof Uint8Array) return Buffer.from(raw).toString('base64');
      if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
      return value;
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new LocalDataError(
      'INVALID_PAYLOAD',
      `The data of ${name} is no JSON (${why}). Give plain values only.`,
      { field: 'data' },
      { cause: error },
    );
  }
}

function refuseUnstorable(field: string, value: unknown): void {
  const texts: unknown[] = [value];
  for (const next of texts) {
    if (typeof next === 'string' && next.includes('\u0000')) {
      throw new LocalDataError(
        'NUL_CHARACTER',
        `The ${field} has the character \\u0000, which Postgres cannot store. Remove it.`,
        { field },
      );
    }
    if (typeof next === 'string' && !next.isWellFormed()) {
      throw new LocalDataError(
        'INVALID_PAYLOAD',
        `The ${field} has half of a surrogate pair, which is no text: ${JSON.stringify(next.slice(0, 60))}. Correct or remove it.`,
        { field },
      );
    }
    if (typeof next === 'object' && next !== null) texts.push(...Object.keys(next), ...Object.values(next));
  }
}

function quote(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : value === undefined ? 'missing' : `a ${typeof value}`;
}

function canonicalEntityId(context: RecordContext, entityType: string, entityId: string): string {
  const type = context.entityTypes.get(entityType);
  return type === undefined ? entityId : canonical(type, entityId);
}

function recorded(
  context: RecordContext,
  id: string,
  seq: number,
  input: { entityType: string; entityId: string; operation: Change['operation']; data: JsonObject | null },
  label: string | null,
): Change {
  return {
    id,
    seq,
    ...input,
    timestamp: context.now,
    processedLocal: false,
    processedSync: false,
    error: null,
    attempts: 0,
    status: 'pending',
    reason: context.paused ? 'paused' : 'waits for its turn',
    origin: 'local',
    transactionId: null,
    label,
    previous: null,
    result: null,
    failure: null,
    blockedBy: null,
    nextAttemptAt: null,
    appliedAt: null,
    discardedAt: null,
    awaiting: null,
    acceptedVersion: null,
    acceptedAt: null,
    conflict: null,
    clientId: null,
    note: null,
  };
}

async function run(session: Session, sql: string, params: readonly Parameter[]): Promise<{ seq: number }[]> {
  try {
    return await session.run<{ seq: number }>(sql, params);
  } catch (error) {
    throw refusedByPostgres(error);
  }
}

function refusedByPostgres(error: unknown): unknown {
  if (!(error instanceof SqlError)) return error;
  if (error.sqlState === '53100') {
    return new LocalDataError(
      'DISK_FULL',
      'The change was not recorded: the disk is full. Free some space, then try again.',
      { sqlState: error.sqlState },
      { cause: error },
    );
  }
  if (error.sqlState === '42P01') {
    return new LocalDataError(
      'UNKNOWN_TABLE',
      'The change was not recorded: there is no table local_changes. Call createChangesTable() first.',
      { sqlState: error.sqlState },
      { cause: error },
    );
  }
  return error;
}
