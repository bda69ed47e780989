// The entity API: writes an entity and the change that records it in one statement, so that what it returns is already
// true. Reads entities by id and in pages.
import { isDeepStrictEqual } from 'node:util';
import type { Change, Entity, JsonObject } from '../protocol/changes.ts';
import type { TransactionOperation, TransactionResult } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { retryAwaiting } from '../db/apply-changes.ts';
import { aimAt } from '../db/capture.ts';
import { type ChangeRow, isLocalStage, lightColumns, toChange } from '../db/change-row.ts';
import { checkInput } from '../db/changes-table.ts';
import { CommitDraft } from '../db/commit-log.ts';
import { type Session, byteLength } from '../db/database.ts';
import {
  deleteAndRecord,
  insertAndRecord,
  readEntity,
  readForUpsert,
  updateAndRecord,
} from '../db/entity-statements.ts';
import type { EntityType, EntityTypes } from '../db/entity-types.ts';
import { type Attempted, canonical, checkPayload, describeMissing, explain, missingParent } from '../db/failures.ts';
import { SqlError } from '../db/sql-error.ts';

export interface WriteContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly maxPayloadBytes: number;
  readonly now: number;
  readonly newId: () => string;
  /** Set when this write is part of a transaction. */
  readonly transactionId: string | null;
  /** Failed changes are there, which may have waited for an entity to appear. */
  readonly anyFailed: boolean;
  /** Applies what still waits in the entity's lane first; refuses when the lane is blocked. */
  readonly drainLane: (type: EntityType, entityId: string, draft: CommitDraft) => Promise<void>;
}

export interface EntityWrite {
  readonly entity: Entity | undefined;
  readonly draft: CommitDraft;
}

export async function upsertEntity(
  context: WriteContext,
  entityType: string,
  entityId: string,
  data: JsonObject,
): Promise<EntityWrite & { readonly entity: Entity }> {
  const type = context.entityTypes.require(entityType);
  checkInput(context, { entityType, entityId, operation: 'update', data });
  const id = canonical(type, entityId);
  const draft = new CommitDraft();
  refuseUnfit(type, id, data);
  try {
    await context.drainLane(type, id, draft);
    const payload = JSON.stringify(data);
    const [state] = await context.session.run<{ current: Entity | null; wanted: Entity }>(readForUpsert(type), [
      id,
      payload,
    ]);
    if (state === undefined) throw new LocalDataError('INTERNAL', `Reading ${entityType} "${id}" gave nothing.`);
    const entity =
      state.current === null
        ? await insert(context, type, id, data, draft)
        : await update(context, type, id, differing(type, data, state.wanted, state.current), state.current, draft);
    return { entity, draft };
  } catch (error) {
    throw asEntityError(error, context.entityTypes, { entityType, entityId: id, operation: 'update', data });
  }
}

export async function deleteEntity(context: WriteContext, entityType: string, entityId: string): Promise<EntityWrite> {
  const type = context.entityTypes.require(entityType);
  checkInput(context, { entityType, entityId, operation: 'delete' });
  const id = canonical(type, entityId);
  const draft = new CommitDraft();
  try {
    await context.drainLane(type, id, draft);
    const params = [id, aimAt(type, 'DELETE', [id]), context.newId(), context.now, context.transactionId];
    const [row] = await context.session.run<ChangeRow>(deleteAndRecord(type), params);
    if (row === undefined) return { entity: undefined, draft };
    draft.recorded(toChange(row, { now: context.now, paused: false }));
    draft.entityDeleted(entityType, id);
    return { entity: {}, draft };
  } catch (error) {
    throw asEntityError(error, context.entityTypes, { entityType, entityId: id, operation: 'delete', data: null });
  }
}

export async function getEntity(session: Session, type: EntityType, entityId: string): Promise<Entity | undefined> {
  try {
    const [row] = await session.run<{ entity: Entity }>(readEntity(type), [canonical(type, entityId)]);
    return row?.entity;
  } catch (error) {
    // An id that the key's type cannot hold is the id of no entity.
    if (error instanceof SqlError && error.sqlState.startsWith('22')) return undefined;
    throw error;
  }
}

const TRANSACTION_CHANGES = 1_000;
const TRANSACTION_BYTES = 4 * 1024 * 1024;

/** Applies and records all operations within the caller's database transaction. */
export async function applyTransaction(
  context: WriteContext,
  operations: readonly TransactionOperation[],
): Promise<TransactionResult & { readonly draft: CommitDraft }> {
  checkTransactionSize(operations);
  const whole = new CommitDraft();
  for (const operation of operations) {
    const { entityType, entityId } = operation;
    const { draft } =
      operation.kind === 'upsert'
        ? await upsertEntity(context, entityType, entityId, operation.data)
        : await deleteEntity(context, entityType, entityId);
    whole.include(draft);
  }
  const changes = [...whole.changes.values()].filter((change) => change.transactionId === context.transactionId);
  return { transactionId: changes.length === 0 ? null : context.transactionId, changes, draft: whole };
}

function checkTransactionSize(operations: readonly TransactionOperation[]): void {
  const bytes = operations.reduce(
    (total, operation) =>
      total + (operation.kind === 'upsert' ? byteLength(JSON.stringify(operation.data ?? null)) : 0),
    0,
  );
  if (operations.length <= TRANSACTION_CHANGES && bytes <= TRANSACTION_BYTES) return;
  throw new LocalDataError(
    'TRANSACTION_TOO_LARGE',
    `The transaction has ${operations.length} operations and ${bytes} bytes; at most ${TRANSACTION_CHANGES} operations and ${TRANSACTION_BYTES} bytes are allowed. Split it.`,
    { operations: operations.length, bytes },
  );
}

async function insert(
  context: WriteContext,
  type: EntityType,
  id: string,
  data: JsonObject,
  draft: CommitDraft,
): Promise<Entity> {
  const sql = insertAndRecord(type, Object.keys(data).sort());
  const { entity, row } = await write(context, sql, type, 'INSERT', id, data);
  draft.recorded(toChange(row, { now: context.now, paused: false }));
  draft.entityInserted(type.entityType, id, entity);
  if (context.anyFailed)
    await retryAwaiting(context.session, [{ entityType: type.entityType, entityId: id }], draft, context.now);
  return entity;
}

async function update(
  context: WriteContext,
  type: EntityType,
  id: string,
  patch: JsonObject,
  current: Entity,
  draft: CommitDraft,
): Promise<Entity> {
  if (Object.keys(patch).length === 0) return current;
  const { entity, row } = await write(context, updateAndRecord(type), type, 'UPDATE', id, patch);
  draft.recorded(toChange(row, { now: context.now, paused: false }));
  draft.entityUpdated(type.entityType, id, entity);
  return entity;
}

async function write(
  context: WriteContext,
  sql: string,
  type: EntityType,
  operation: 'INSERT' | 'UPDATE',
  id: string,
  data: JsonObject,
): Promise<{ readonly entity: Entity; readonly row: ChangeRow }> {
  const params = [id, data, aimAt(type, operation, [id]), context.newId(), context.now, context.transactionId];
  const [row] = await context.session.run<ChangeRow & { entity: Entity }>(sql, params);
  if (row === undefined) {
    throw new LocalDataError(
      'CONSTRAINT_VIOLATION',
      `Writing ${type.entityType} "${id}" changed nothing: a trigger or rule of table "${type.table}" held it back. Look at the table's triggers.`,
      { entityType: type.entityType, entityId: id },
    );
  }
  return { entity: row.entity, row };
}

/** The fields of `data` whose value, in the column's own type, is another than the present one. */
function differing(type: EntityType, data: JsonObject, wanted: Entity, current: Entity): JsonObject {
  const generated = new Set(type.columns.filter((column) => column.generated).map((column) => column.name));
  const patch: JsonObject = {};
  for (const [name, value] of Object.entries(data)) {
    if (name === type.key || value === undefined || (type.kind === 'table' && generated.has(name))) continue;
    if (!isDeepStrictEqual(wanted[name], current[name])) patch[name] = value;
  }
  return patch;
}

function refuseUnfit(type: EntityType, id: string, data: JsonObject): void {
  const unfit = checkPayload(type, id, data);
  if (unfit === undefined) return;
  const code = unfit.code === 'KEY_MISMATCH' ? 'KEY_MISMATCH' : 'UNKNOWN_COLUMN';
  throw new LocalDataError(code, unfit.message, { entityType: type.entityType, entityId: id, ...unfit.concerns });
}

/** What Postgres refuses becomes an error that names the entity, the value and the remedy. */
function asEntityError(error: unknown, entityTypes: EntityTypes, attempted: Attempted): unknown {
  if (!(error instanceof SqlError)) return error;
  const { entityType, entityId } = attempted;
  const details = {
    entityType,
    entityId,
    sqlState: error.sqlState,
    ...(error.constraint === undefined ? {} : { constraint: error.constraint }),
    ...(error.column === undefined ? {} : { column: error.column }),
    ...(error.table === undefined ? {} : { table: error.table }),
  };
  const name = `${entityType} "${entityId}"`;
  if (error.sqlState === '53100') {
    const message = `${name} was not written: the disk is full. Free some space, then try again.`;
    return new LocalDataError('DISK_FULL', message, details, { cause: error });
  }
  const parent = missingParent(attempted, entityTypes, error);
  const why =
    parent === undefined ? explain(attempted, entityTypes.get(entityType), error) : describeMissing(attempted, parent);
  const violated = error.sqlState.startsWith('23') || error.sqlState.startsWith('22') || error.sqlState === 'P0001';
  const code = violated ? 'CONSTRAINT_VIOLATION' : 'SQL_ERROR';
  return new LocalDataError(code, `${name} was not written. ${why}`, details, { cause: error });
}

/** Reads changes of one lane that still wait, oldest first. */
export async function waitingInLane(
  session: Session,
  entityType: string,
  entityId: string,
  now: number,
): Promise<Change[]> {
  const rows = await session.run<ChangeRow>(
    `SELECT ${lightColumns('c')} FROM local_changes c WHERE c.entity_type = $1 AND c.entity_id = $2
       AND c.status IN ('pending', 'retrying', 'failed', 'conflicted', 'blocked') AND ${isLocalStage('c')} ORDER BY c.seq`,
    [entityType, entityId],
  );
  return rows.map((row) => toChange(row, { now, paused: false }));
}
