// Puts an entity to what it is without a change, or with one put back: the later applied changes of its lane are replayed
// on the state before, and each keeps a true `previous`. Nothing here decides whether that is allowed.
import type { Change, Entity } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { retryAwaiting } from './apply-changes.ts';
import { aimAt } from './capture.ts';
import { type ChangeRow, allColumns, isPushStage, laneOf, toChange } from './change-row.ts';
import { hasDependents } from './dependents.ts';
import { type EntityBase, readBase, readOverlay, replayOverlay } from './entity-bases.ts';
import { putEntity, readEntity } from './entity-statements.ts';
import { moveChanges } from './move-changes.ts';
import { type RepairContext, notAllowed } from './repair-context.ts';
import { SqlError } from './sql-error.ts';

/** Puts each touched entity to what it is without the given applied changes. */
export async function takeBack(context: RepairContext, members: readonly Change[]): Promise<void> {
  const applied = members.filter(isInPlace);
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
  const base = await readBase(context.session, first);
  if (base !== undefined) {
    await put(context, first, await onBase(context, base, gone));
    return;
  }
  const later = (await laterApplied(context, first)).filter((change) => !gone.has(change.seq));
  const final = await replay(context, first, first.previous, later);
  await put(context, first, final);
}

/** Applied here and not yet part of what the server is known to have. */
function isInPlace(change: Change): boolean {
  return change.processedLocal && !change.processedSync && change.status !== 'discarded' && change.origin !== 'remote';
}

/** What the entity is on its base with the waiting changes that stay. */
async function onBase(context: RepairContext, base: EntityBase, gone: ReadonlySet<number>): Promise<Entity | null> {
  const overlay = await readOverlay(context.session, [base]);
  const staying = (overlay.get(laneOf(base)) ?? []).filter((change) => !gone.has(change.seq));
  return replayOverlay(base.data, staying);
}

export async function replayUnder(context: RepairContext, restored: Change, later: readonly Change[]): Promise<void> {
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

export async function entityWithout(
  context: RepairContext,
  change: Change,
  members: readonly Change[],
  now: Entity | null,
): Promise<Entity | null> {
  if (!isInPlace(change)) return now;
  const gone = new Set(members.map((member) => member.seq));
  const base = await readBase(context.session, change);
  if (base !== undefined) return onBase(context, base, gone);
  const lane = members.filter(
    (member) => member.entityType === change.entityType && member.entityId === change.entityId,
  );
  const [first] = lane;
  if (first === undefined) return now;
  const later = (await laterApplied(context, first)).filter((candidate) => !gone.has(candidate.seq));
  return later.reduce<Entity | null>((state, step) => {
    if (step.operation === 'delete') return null;
    return step.operation === 'insert'
      ? (step.result ?? step.data)
      : state === null
        ? null
        : { ...state, ...step.data };
  }, first.previous);
}

export async function laterApplied(context: RepairContext, change: Change): Promise<Change[]> {
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c
     WHERE c.entity_type = $1 AND c.entity_id = $2 AND c.seq > $3 AND ${isPushStage('c')} AND c.discarded_at IS NULL AND c.origin <> 'remote'
     ORDER BY c.seq`,
    [change.entityType, change.entityId, change.seq],
  );
  return rows.map((row) => toChange(row, context));
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

export async function currentEntity(
  context: RepairContext,
  entityType: string,
  entityId: string,
): Promise<Entity | null> {
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
