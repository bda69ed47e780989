// What a person does with a change: retry, edit, discard, restore, undo an import. A member of a transaction is repaired
// with its whole transaction; a discard takes back the local effect and never leaves what depends on it standing alone.
import type { Change, ChangeFilter, ChangeStatus, Entity, JsonObject } from '../protocol/changes.ts';
import type { DiscardPreview, UndoImportReport } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { releaseBlocked, retryAwaiting } from './apply-changes.ts';
import { aimAt, aimAtAll } from './capture.ts';
import { type ChangeRow, allColumns, toChange } from './change-row.ts';
import { checkInput, filterSql, requireChange } from './changes-table.ts';
import { CommitDraft } from './commit-log.ts';
import type { Session } from './database.ts';
import { putEntity, readEntity } from './entity-statements.ts';
import { type EntityType, type EntityTypes, keyColumn } from './entity-types.ts';
import { quoteIdentifier } from './sql-values.ts';
import { CARRIED_CHANGES, moveChanges } from './move-changes.ts';
import { SqlError } from './sql-error.ts';

export interface RepairContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly maxPayloadBytes: number;
  readonly now: number;
  readonly paused: boolean;
  readonly draft: CommitDraft;
  /** What captured side effects of this repair are recorded with. */
  readonly transactionId: string;
}

const LISTED_DEPENDENTS = 100;
const WAITING = `('pending', 'retrying', 'failed', 'conflicted', 'blocked')`;
const RESET = 'error = NULL, failure = NULL, attempts = 0, next_attempt_at = NULL';

/** Keeps id and place; attempts start anew. */
export async function retryChange(context: RepairContext, id: string): Promise<Change> {
  const change = await requireChange(context.session, id, context);
  if (change.status === 'pending') return change;
  if (change.status !== 'failed' && change.status !== 'retrying')
    throw notAllowed(change, 'retried', retryRemedy(change));
  const same = sameUnit(change);
  for (const from of ['failed', 'retrying'] as const) {
    await moveChanges(context.session, { from, set: RESET, ...same }, context.draft, context);
  }
  return requireChange(context.session, id, context);
}

export async function retryFailed(context: RepairContext, filter: ChangeFilter): Promise<number> {
  const { where, params } = filterSql({ ...filter, status: 'failed' });
  const move = { from: 'failed' as const, set: RESET, where: where.join(' AND '), params };
  return moveChanges(context.session, move, context.draft, context);
}

/** Keeps id and place; a failed change becomes pending again. */
export async function editChange(context: RepairContext, id: string, data: JsonObject): Promise<Change> {
  const { session, draft } = context;
  const change = await requireChange(session, id, context);
  if (!isWaiting(change.status)) throw notAllowed(change, 'edited', 'Record a new change instead.');
  if (change.operation === 'delete')
    throw notAllowed(change, 'edited', 'A delete carries no data; discard it instead.');
  const { json } = checkInput(context, { ...change, data });
  await session.run(`UPDATE local_changes SET data = $2::jsonb WHERE id = $1`, [id, json]);
  const releases = change.status === 'blocked' && change.failure?.awaits === undefined ? [] : [change.status];
  for (const from of releases) {
    await moveChanges(session, { from, set: `${RESET}, blocked_by = NULL`, ...sameUnit(change) }, draft, context);
  }
  const edited = await requireChange(session, id, context);
  draft.changes.set(edited.seq, { ...edited, previous: null, result: null });
  return edited;
}

export async function previewDiscard(context: RepairContext, id: string): Promise<DiscardPreview> {
  const change = await requireChange(context.session, id, context);
  const members = await unitOf(context, change);
  const { listed, total } = await dependentsOf(context, members);
  const before = await currentEntity(context, change.entityType, change.entityId);
  const after = await entityWithout(context, change, members, before);
  const others = members.filter((member) => member.id !== id).slice(0, LISTED_DEPENDENTS);
  return { change, members: others, dependents: listed, dependentsTotal: total, before, after };
}

/** Runs within the caller's transaction; throws HAS_DEPENDENTS rather than leaving anything standing alone. */
export async function discardChange(context: RepairContext, id: string, withDependents: boolean): Promise<Change> {
  const { session, draft } = context;
  const change = await requireChange(session, id, context);
  if (change.status === 'discarded') return change;
  if (change.status === 'synced')
    throw notAllowed(change, 'discarded', 'It has reached the server; record a change that undoes it.');
  let members = await unitOf(context, change);
  const { listed, total, seqs } = await dependentsOf(context, members);
  if (total > 0 && !withDependents) throw hasDependents(change, listed, total);
  if (total > 0) members = [...members, ...(await changesBySeq(context, seqs))].sort((a, b) => a.seq - b.seq);
  await takeBack(context, members);
  for (const from of new Set(members.map((member) => member.status))) {
    const inStatus = members.filter((member) => member.status === from).map((member) => member.seq);
    const move = {
      from,
      set: 'discarded_at = $2',
      where: 'c.seq = ANY($1::bigint[])',
      params: [asArray(inStatus), context.now],
    };
    await moveChanges(session, move, draft, context);
  }
  await releaseBlocked(
    session,
    members.map((member) => member.seq),
    draft,
    context.now,
  );
  await refuseSideEffects(context, change);
  return requireChange(session, id, context);
}

/** Puts a discarded change back in its place; one with later applied changes in its lane is replayed under them. */
export async function restoreChange(context: RepairContext, id: string): Promise<Change> {
  const { session, draft } = context;
  const change = await requireChange(session, id, context);
  if (change.status !== 'discarded') throw notAllowed(change, 'restored', 'Only discarded changes can be restored.');
  const members = await discardedUnit(context, change);
  for (const member of members) {
    const later = await laterApplied(context, member);
    const set = `discarded_at = NULL, blocked_by = NULL, ${RESET}, previous = NULL, result = NULL, applied_at = NULL, processed_local = false`;
    const where = { where: 'c.seq = $1', params: [member.seq] };
    await moveChanges(session, { from: 'discarded', set, ...where }, draft, context);
    if (later.length > 0) await replayUnder(context, member, later);
  }
  return requireChange(session, id, context);
}

/** Takes back every change of an import, in bulk; refused where later changes or other entities stand on it. */
export async function undoImport(context: RepairContext, label: string): Promise<UndoImportReport> {
  const { session, draft, now } = context;
  const [known] = await session.run<{ entity_type: string; undone_at: number | null }>(
    `SELECT entity_type, undone_at FROM local_data.imports WHERE label = $1`,
    [label],
  );
  if (known === undefined)
    throw new LocalDataError('IMPORT_NOT_FOUND', `There is no import "${label}". Choose one of listImports().`, {
      label,
    });
  const { listed, total } = await standingOnImport(context, label);
  if (total > 0) throw importHasDependents(label, listed, total);
  const type = context.entityTypes.get(known.entity_type);
  if (type !== undefined) await deleteImported(context, type, label);
  let undone = 0;
  for (const from of ['applied', 'pending', 'retrying', 'failed', 'blocked'] as const) {
    const move = { from, set: 'discarded_at = $2', where: 'c.label = $1', params: [label, now] };
    undone += await moveChanges(session, move, draft, context);
  }
  await refuseImportSideEffects(context, label);
  await session.run(`UPDATE local_data.imports SET undone_at = $2 WHERE label = $1`, [label, now]);
  return { label, undone };
}

async function deleteImported(context: RepairContext, type: EntityType, label: string): Promise<void> {
  const { session, draft } = context;
  const aim = type.referencesItself ? undefined : aimAtAll(type, 'DELETE');
  const ids = await session.run<{ entity_id: string }>(
    `SELECT entity_id FROM local_changes WHERE label = $1 AND status = 'applied'`,
    [label],
  );
  try {
    const [row] = await session.run<{ deleted: number }>(
      `WITH aim AS MATERIALIZED (SELECT set_config('local_data.aim', $2, true)),
         gone AS (DELETE FROM ${type.sqlTable} t USING aim, local_changes c
           WHERE c.label = $1 AND c.status = 'applied' AND t.${keyColumn(type)} = c.entity_id::${type.keyType} RETURNING 1)
       SELECT count(*) AS deleted FROM gone`,
      [
        label,
        aim ??
          aimAt(
            type,
            'DELETE',
            ids.map((row) => row.entity_id),
          ),
      ],
    );
    draft.entityCounts.set(type.entityType, -(row?.deleted ?? 0));
    draft.reload.add(type.entityType);
  } catch (error) {
    if (!(error instanceof SqlError) || error.sqlState !== '23503') throw error;
    throw new LocalDataError(
      'HAS_DEPENDENTS',
      `Import "${label}" cannot be undone: other entities refer to what it brought (${error.detail ?? error.message}). Delete those first.`,
      { label, constraint: error.constraint ?? null },
      { cause: error },
    );
  }
}

async function standingOnImport(context: RepairContext, label: string): Promise<{ listed: Change[]; total: number }> {
  const rows = await context.session.run<ChangeRow & { total: number }>(
    `SELECT ${allColumns('c')}, count(*) OVER () AS total FROM local_changes c
     WHERE c.label IS DISTINCT FROM $1 AND c.status <> 'discarded' AND EXISTS (
       SELECT 1 FROM local_changes i WHERE i.label = $1 AND i.status <> 'discarded'
         AND i.entity_type = c.entity_type AND i.entity_id = c.entity_id AND i.seq < c.seq)
     ORDER BY c.seq LIMIT ${LISTED_DEPENDENTS}`,
    [label],
  );
  return { listed: rows.map((row) => toChange(row, context)), total: rows[0]?.total ?? 0 };
}

function importHasDependents(label: string, listed: readonly Change[], total: number): LocalDataError {
  const names = listed
    .slice(0, 3)
    .map((change) => `change ${change.seq} (${change.operation} of ${change.entityType} "${change.entityId}")`);
  return new LocalDataError(
    'HAS_DEPENDENTS',
    `Import "${label}" cannot be undone: ${total} later change${total === 1 ? ' stands' : 's stand'} on it: ${names.join(', ')}${total > 3 ? ', …' : ''}. Discard those first.`,
    { label, dependents: listed.map((change) => change.id), total },
  );
}

async function refuseImportSideEffects(context: RepairContext, label: string): Promise<void> {
  const touched = await sideEffects(context);
  if (touched.length === 0) return;
  throw importHasDependents(label, touched, touched.length);
}

/** A transaction's members that can be discarded together, or the change alone. */
async function unitOf(context: RepairContext, change: Change): Promise<Change[]> {
  if (change.transactionId === null) return [change];
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.transaction_id = $1 AND c.status <> 'discarded' ORDER BY c.seq`,
    [change.transactionId],
  );
  return rows.map((row) => toChange(row, context));
}

async function discardedUnit(context: RepairContext, change: Change): Promise<Change[]> {
  if (change.transactionId === null) return [change];
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.transaction_id = $1 AND c.status = 'discarded' ORDER BY c.seq`,
    [change.transactionId],
  );
  return rows.map((row) => toChange(row, context));
}

async function changesBySeq(context: RepairContext, seqs: readonly number[]): Promise<Change[]> {
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.seq = ANY($1::bigint[]) ORDER BY c.seq`,
    [asArray(seqs)],
  );
  return rows.map((row) => toChange(row, context));
}

/**
 * What cannot stand without the given changes: what waits for an entity they create, what refers to one by a foreign
 * key, and, after an insert, everything later in its lane.
 */
async function dependentsOf(
  context: RepairContext,
  members: readonly Change[],
): Promise<{ listed: Change[]; total: number; seqs: number[] }> {
  const own = members.map((member) => member.seq);
  let gone = own;
  for (;;) {
    const reached = await followLanes(context, gone);
    const referring = await referringChanges(context, reached);
    const grown = [...new Set([...reached, ...referring])];
    if (grown.length === gone.length) break;
    gone = grown;
  }
  const ownSeqs = new Set(own);
  const seqs = gone.filter((seq) => !ownSeqs.has(seq)).sort((a, b) => a - b);
  return { listed: await changesBySeq(context, seqs.slice(0, LISTED_DEPENDENTS)), total: seqs.length, seqs };
}

/** The given changes, what is blocked by them, and what follows their inserts in its lane. */
async function followLanes(context: RepairContext, seqs: readonly number[]): Promise<number[]> {
  const rows = await context.session.run<{ seq: number }>(
    `WITH RECURSIVE gone(seq, entity_type, entity_id, operation) AS (
       SELECT seq, entity_type, entity_id, operation FROM local_changes WHERE seq = ANY($1::bigint[])
       UNION
       SELECT c.seq, c.entity_type, c.entity_id, c.operation FROM gone g JOIN local_changes c
         ON (c.blocked_by = g.seq AND c.failure->'awaits' IS NOT NULL)
         OR (g.operation = 'insert' AND c.entity_type = g.entity_type AND c.entity_id = g.entity_id AND c.seq > g.seq)
       WHERE c.status NOT IN ('discarded', 'synced'))
     SELECT seq FROM gone`,
    [asArray(seqs)],
  );
  return rows.map((row) => row.seq);
}

/** Applied changes that made an entity refer to one which the given inserts made. */
async function referringChanges(context: RepairContext, seqs: readonly number[]): Promise<number[]> {
  const found: number[] = [];
  for (const parent of context.entityTypes.all()) {
    for (const child of context.entityTypes.all()) {
      for (const foreignKey of child.foreignKeys) {
        const [column] = foreignKey.columns;
        if (foreignKey.referencedTable !== parent.sqlTable || column === undefined) continue;
        const rows = await context.session.run<{ seq: number }>(
          `SELECT c.seq FROM local_changes p
           JOIN ${child.sqlTable} t ON t.${quoteIdentifier(column)}::text = p.entity_id
           JOIN local_changes c ON c.entity_type = $2 AND c.entity_id = t.${keyColumn(child)}::text
             AND c.status = 'applied' AND c.data->>$3 = p.entity_id
           WHERE p.seq = ANY($1::bigint[]) AND p.entity_type = $4 AND p.operation = 'insert' AND p.status = 'applied'`,
          [asArray(seqs), child.entityType, column, parent.entityType],
        );
        found.push(...rows.map((row) => row.seq));
      }
    }
  }
  return found;
}

/** Puts each touched entity to what it is without the given applied changes. */
async function takeBack(context: RepairContext, members: readonly Change[]): Promise<void> {
  const applied = members.filter((member) => member.status === 'applied');
  const lanes = new Map<string, Change[]>();
  for (const change of applied) {
    const lane = JSON.stringify([change.entityType, change.entityId]);
    lanes.set(lane, [...(lanes.get(lane) ?? []), change]);
  }
  // Last made, first unmade: children go before the parents they were made after.
  const ordered = [...lanes.values()].sort((a, b) => (b.at(-1)?.seq ?? 0) - (a.at(-1)?.seq ?? 0));
  for (const lane of ordered) await takeBackLane(context, lane);
}

async function takeBackLane(context: RepairContext, discarded: readonly Change[]): Promise<void> {
  const [first] = discarded;
  if (first === undefined) return;
  const gone = new Set(discarded.map((change) => change.seq));
  const later = (await laterApplied(context, first)).filter((change) => !gone.has(change.seq));
  const final = await replay(context, first, first.previous, later);
  await put(context, first, final);
}

/** Replays later applied changes on a state, keeping each one's `previous` true; gives the final state. */
async function replay(
  context: RepairContext,
  cause: Change,
  start: Entity | null,
  later: readonly Change[],
): Promise<Entity | null> {
  let state = start;
  for (const change of later) {
    const previous = state;
    state = stepOver(cause, change, state, later);
    await context.session.run(`UPDATE local_changes SET previous = $2::jsonb, result = NULL WHERE seq = $1`, [
      change.seq,
      previous,
    ]);
  }
  return state;
}

function stepOver(cause: Change, change: Change, state: Entity | null, later: readonly Change[]): Entity | null {
  switch (change.operation) {
    case 'delete':
      return null;
    case 'insert':
      if (state !== null) throw hasDependents(cause, later, later.length);
      return change.result ?? change.data ?? {};
    case 'update':
      if (state === null) throw hasDependents(cause, later, later.length);
      return { ...state, ...change.data };
  }
}

async function replayUnder(context: RepairContext, restored: Change, later: readonly Change[]): Promise<void> {
  const [next] = later;
  const before = next === undefined ? null : next.previous;
  if (restored.operation === 'insert' && before !== null)
    throw notAllowed(restored, 'restored', 'Its entity exists by now.');
  if (restored.operation === 'update' && before === null)
    throw notAllowed(restored, 'restored', 'Its entity did not exist at that place.');
  const state = restored.operation === 'delete' ? null : { ...before, ...restored.data };
  const final = await replay(context, restored, state, later);
  await put(context, restored, final);
  const set = 'processed_local = true, previous = $2::jsonb, applied_at = $3';
  const params = [restored.seq, before, context.now];
  await moveChanges(context.session, { from: 'pending', set, where: 'c.seq = $1', params }, context.draft, context);
}

async function laterApplied(context: RepairContext, change: Change): Promise<Change[]> {
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c
     WHERE c.entity_type = $1 AND c.entity_id = $2 AND c.seq > $3 AND c.status = 'applied' ORDER BY c.seq`,
    [change.entityType, change.entityId, change.seq],
  );
  return rows.map((row) => toChange(row, context));
}

async function entityWithout(
  context: RepairContext,
  change: Change,
  members: readonly Change[],
  now: Entity | null,
): Promise<Entity | null> {
  if (change.status !== 'applied') return now;
  const gone = new Set(members.map((member) => member.seq));
  const lane = members.filter(
    (member) => member.entityType === change.entityType && member.entityId === change.entityId,
  );
  const [first] = lane;
  if (first === undefined) return now;
  const later = (await laterApplied(context, first)).filter((candidate) => !gone.has(candidate.seq));
  return later.reduce<Entity | null>((state, step) => {
    if (step.operation === 'delete') return null;
    return step.operation === 'insert' ? step.data : state === null ? null : { ...state, ...step.data };
  }, first.previous);
}

async function put(context: RepairContext, change: Change, entity: Entity | null): Promise<void> {
  const { session, draft, entityTypes } = context;
  const type = entityTypes.require(change.entityType);
  const { entityId } = change;
  const sql = putEntity(type);
  const current = await currentEntity(context, change.entityType, entityId);
  try {
    if (entity === null) {
      if (current === null) return;
      await session.run(sql.remove, [entityId, aimAt(type, 'DELETE', [entityId])]);
      draft.entityDeleted(type.entityType, entityId);
      return;
    }
    const operation = current === null ? 'INSERT' : 'UPDATE';
    const statement = current === null ? sql.insert : sql.update;
    const [row] = await session.run<{ entity: Entity }>(statement, [
      entityId,
      entity,
      aimAt(type, operation, [entityId]),
    ]);
    if (row === undefined) return;
    if (current === null) draft.entityInserted(type.entityType, entityId, row.entity);
    else draft.entityUpdated(type.entityType, entityId, row.entity);
    if (current === null) await retryAwaiting(session, [change], draft, context.now);
  } catch (error) {
    if (!(error instanceof SqlError) || !error.sqlState.startsWith('23')) throw error;
    throw new LocalDataError(
      'HAS_DEPENDENTS',
      `Change ${change.seq} (${change.operation} of ${change.entityType} "${entityId}") cannot be taken back: ${error.message}.${error.detail === undefined ? '' : ` ${error.detail}`} Discard or change what depends on it first.`,
      { id: change.id, sqlState: error.sqlState, constraint: error.constraint ?? null },
      { cause: error },
    );
  }
}

async function currentEntity(context: RepairContext, entityType: string, entityId: string): Promise<Entity | null> {
  const type = context.entityTypes.get(entityType);
  if (type === undefined) return null;
  try {
    const [row] = await context.session.run<{ entity: Entity }>(readEntity(type), [entityId]);
    return row?.entity ?? null;
  } catch (error) {
    if (error instanceof SqlError && error.sqlState.startsWith('22')) return null;
    throw error;
  }
}

/** Rows that cascades or triggers touched during this repair, beyond those it aimed at. */
async function sideEffects(context: RepairContext): Promise<Change[]> {
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.transaction_id = $1 AND c.origin = 'sql' ORDER BY c.seq LIMIT ${CARRIED_CHANGES}`,
    [context.transactionId],
  );
  return rows.map((row) => toChange(row, context));
}

async function refuseSideEffects(context: RepairContext, change: Change): Promise<void> {
  const touched = (await sideEffects(context)).filter((effect) => effect.operation === 'delete');
  if (touched.length > 0) throw hasDependents(change, touched, touched.length);
}

function hasDependents(change: Change, dependents: readonly Change[], total: number): LocalDataError {
  const names = dependents
    .slice(0, 3)
    .map((dependent) => `${dependent.operation} of ${dependent.entityType} "${dependent.entityId}"`);
  return new LocalDataError(
    'HAS_DEPENDENTS',
    `Change ${change.seq} (${change.operation} of ${change.entityType} "${change.entityId}") has ${total} that depend${total === 1 ? 's' : ''} on it: ${names.join(', ')}${total > 3 ? ', …' : ''}. Discard them with it, or keep it.`,
    { id: change.id, dependents: dependents.map((dependent) => dependent.id), total },
  );
}

function notAllowed(change: Change, action: string, remedy: string): LocalDataError {
  return new LocalDataError(
    'CHANGE_NOT_ALLOWED',
    `Change ${change.seq} (${change.operation} of ${change.entityType} "${change.entityId}") is ${change.status} and cannot be ${action}. ${remedy}`,
    { id: change.id, status: change.status },
  );
}

function retryRemedy(change: Change): string {
  return change.status === 'blocked'
    ? `It ${change.reason ?? 'waits for another change'}; repair that one.`
    : 'Only failed and retrying changes can be retried.';
}

function sameUnit(change: Change): { readonly where: string; readonly params: readonly string[] } {
  if (change.transactionId === null) return { where: 'c.id = $1', params: [change.id] };
  return { where: 'c.transaction_id = $1', params: [change.transactionId] };
}

function isWaiting(status: ChangeStatus): boolean {
  return WAITING.includes(`'${status}'`);
}

function asArray(seqs: readonly number[]): string {
  return `{${seqs.join(',')}}`;
}
