// Puts one entity to a state without recording a change, and gives what the table made of it. A field that the state does
// not name stays as it is: a base need not know every column that is here.
import type { Entity, JsonObject } from '../protocol/changes.ts';
import { retryAwaiting } from './apply-changes.ts';
import { aimAt } from './capture.ts';
import type { EntityName } from './entity-bases.ts';
import { bulkPutAbsent, bulkPutPresent, bulkRemove, insertOver } from './entity-statements.ts';
import type { EntityType } from './entity-types.ts';
import type { RepairContext } from './repair-context.ts';

/** Null takes it away. Throws what Postgres says. */
export async function putState(
  context: RepairContext,
  { entityType, entityId }: EntityName,
  state: Entity | null,
): Promise<Entity | null> {
  const { session, draft } = context;
  const type = context.entityTypes.require(entityType);
  if (state === null) {
    const aim = aimAt(type, 'DELETE', [entityId]);
    const gone = await session.runList(bulkRemove(type), [JSON.stringify([{ e: entityId }]), aim]);
    if (gone.length > 0) draft.entityDeleted(entityType, entityId);
    return null;
  }
  const aim = aimAt(type, 'UPDATE', [entityId]);
  const rows = JSON.stringify([{ e: entityId, d: state }]);
  const [there] = await session.runList<[id: string, before: Entity, now: Entity | null]>(bulkPutPresent(type), [
    rows,
    aim,
  ]);
  if (there === undefined) return putAbsent(context, type, entityId, state);
  const [, before, now] = there;
  if (now !== null) draft.entityUpdated(entityType, entityId, now);
  return now ?? before;
}

/** The row as an insert of this payload makes it, defaults included, whether it is there already or not. */
export async function putInserted(
  context: RepairContext,
  { entityType, entityId }: EntityName,
  payload: JsonObject,
): Promise<Entity | null> {
  const type = context.entityTypes.require(entityType);
  const sql = insertOver(type, Object.keys(payload).sort());
  const aim = aimAt(type, 'UPDATE', [entityId]);
  const [row] = await context.session.run<{ entity: Entity }>(sql, [entityId, payload, aim]);
  if (row === undefined) return putAbsent(context, type, entityId, payload);
  context.draft.entityUpdated(entityType, entityId, row.entity);
  return row.entity;
}

async function putAbsent(
  { session, draft, now }: RepairContext,
  type: EntityType,
  entityId: string,
  payload: JsonObject,
): Promise<Entity | null> {
  const { entityType } = type;
  const [row] = await session.runList<{ entity: Entity }>(bulkPutAbsent(type, Object.keys(payload).sort()), [
    JSON.stringify([{ e: entityId, d: payload }]),
    aimAt(type, 'INSERT', [entityId]),
  ]);
  // A trigger or rule of the table may hold a row back.
  if (row === undefined) return null;
  draft.entityInserted(entityType, entityId, row.entity);
  await retryAwaiting(session, [{ entityType, entityId }], draft, now);
  return row.entity;
}
