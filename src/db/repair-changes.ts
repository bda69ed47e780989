// What a person does with a change that waits: retry it, or edit it. Retry keeps its id and its place, edit its place, and
// its id unless it has left; a member of a transaction is repaired with its whole transaction.
import { type Change, type ChangeFilter, type JsonObject, isWaiting } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { releaseBlocked } from './apply-changes.ts';
import { type ChangeRow, type Rebased, isLocalStage, isPushStage, lightColumns, toChange } from './change-row.ts';
import { checkInput, filterSql, requireChange } from './changes-table.ts';
import type { Session } from './database.ts';
import type { OverlayChange } from './entity-bases.ts';
import { checkPayload } from './failures.ts';
import { readInDoubt, refuseInDoubt, settleDoubt } from './in-doubt.ts';
import { readLane } from './lane-states.ts';
import { moveChanges } from './move-changes.ts';
import { type RepairContext, nameOf, notAllowed, refuseDone, refuseRemote } from './repair-context.ts';
import { type Placed, asRefused, placeInLane } from './replay-lane.ts';
import { asArray } from './sql-values.ts';

/** What fails locally is applied anew, what the server refused is pushed anew; a remote change is put in place anew by sync. */
const STAGES = [isLocalStage('c'), isPushStage('c')];

/** What a change that is tried anew has lost. */
export const RESET = 'error = NULL, failure = NULL, attempts = 0, next_attempt_at = NULL';

/** Keeps id and place; attempts start anew. What waits behind it outside its transaction goes on once it is through. */
export async function retryChange(context: RepairContext, id: string): Promise<Change> {
  const change = await requireChange(context.session, id, context);
  if (change.status === 'pending') return change;
  if (change.status !== 'failed' && change.status !== 'retrying')
    throw notAllowed(change, 'retried', retryRemedy(change));
  for (const stage of STAGES) await tryAnew(context, sameUnit(change), stage);
  await releaseMembers(context);
  return requireChange(context.session, id, context);
}

/** Gives how many failed ones are tried anew, with the others of their transactions. */
export async function retryFailed(context: RepairContext, filter: ChangeFilter): Promise<number> {
  const { session, draft } = context;
  const { where, params } = filterSql({ ...filter, status: 'failed' });
  const matches = where.join(' AND ');
  const sameTransaction = `c.transaction_id IN (
    SELECT c.transaction_id FROM local_changes c WHERE ${matches} AND c.transaction_id IS NOT NULL)`;
  let retried = 0;
  for (const stage of STAGES) {
    const members = { from: 'retrying' as const, set: RESET, where: `${sameTransaction} AND ${stage}`, params };
    await moveChanges(session, members, draft, context);
    const failed = { from: 'failed' as const, set: RESET, where: `(${matches} OR ${sameTransaction}) AND ${stage}` };
    retried += await moveChanges(session, { ...failed, params }, draft, context);
  }
  await releaseMembers(context);
  return retried;
}

/** Remote changes that are set aside: by entity type one of them, and how many there are. Sync puts them in place. */
export async function findSetAside(
  session: Session,
  filter: ChangeFilter,
): Promise<{ readonly id: string; readonly count: number }[]> {
  const { where, params } = filterSql({ ...filter, status: 'failed' });
  return session.run<{ id: string; count: number }>(
    `SELECT min(c.id) AS id, count(*) AS count FROM local_changes c
     WHERE ${where.join(' AND ')} AND c.origin = 'remote' GROUP BY c.entity_type`,
    params,
  );
}

/** Members of a transaction that waited for another member which is sent anew: it goes as a whole or not at all. */
async function releaseMembers({ session, draft, ...context }: RepairContext): Promise<void> {
  const where = `c.transaction_id IS NOT NULL AND ${isPushStage('c')} AND EXISTS (SELECT FROM local_changes h
    WHERE h.seq = c.blocked_by AND h.transaction_id = c.transaction_id AND h.status = 'applied')`;
  const move = { from: 'blocked' as const, set: 'blocked_by = NULL, failure = NULL', where, params: [] };
  await moveChanges(session, move, draft, context);
}

interface Which {
  readonly where: string;
  readonly params: readonly string[];
}

async function tryAnew({ session, draft, ...context }: RepairContext, { where, params }: Which, stage: string) {
  for (const from of ['failed', 'retrying'] as const) {
    await moveChanges(session, { from, set: RESET, where: `${where} AND ${stage}`, params }, draft, context);
  }
}

/** A waiting change becomes pending again, or is sent anew; what is in place here shows the new data at once. */
export async function editChange(context: RepairContext, id: string, data: JsonObject): Promise<Change> {
  const { session, draft } = context;
  const change = await requireChange(session, id, context);
  refuseRemote(change, 'edited');
  await refuseDone(context, change, 'edited');
  if (!isWaiting(change) && change.awaiting !== 'push')
    throw notAllowed(change, 'edited', 'Record a new change instead.');
  if (change.operation === 'delete')
    throw notAllowed(change, 'edited', 'A delete carries no data; discard it instead.');
  const payload = checkInput(context, { ...change, data }).data ?? {};
  const { seq } = change;
  const editedId = change.processedLocal ? await editInPlace(context, change, payload) : id;
  if (!change.processedLocal) await editWaiting(context, change, payload);
  const edited = await requireChange(session, editedId, context);
  draft.changes.set(seq, { ...edited, previous: null, result: null });
  return edited;
}

/** Not applied yet: the processor finds out whether it can be. */
async function editWaiting({ session, draft, ...context }: RepairContext, change: Change, data: JsonObject) {
  await session.run(`UPDATE local_changes SET data = $2::jsonb WHERE id = $1`, [change.id, data]);
  const releases = change.status === 'blocked' && change.failure?.awaits === undefined ? [] : [change.status];
  for (const from of releases) {
    await moveChanges(session, { from, set: `${RESET}, blocked_by = NULL`, ...sameUnit(change) }, draft, context);
  }
}

/** Applied here: its effect is taken out of the entity and the new one put in its place. Gives its id from now on. */
async function editInPlace(context: RepairContext, change: Change, data: JsonObject): Promise<string> {
  const { session, draft } = context;
  const unit = await unitInPlace(context, change);
  await refuseInDoubt(session, unit, 'edited');
  const placed = await placeEdited(context, change, data);
  const wasInDoubt = (await readInDoubt(session)).has(change.seq);
  // The server may know it by its id, and takes no other content under that.
  const hasLeft = wasInDoubt || ['failed', 'retrying', 'conflicted'].includes(change.status);
  const id = hasLeft ? context.newId() : change.id;
  if (wasInDoubt) await settleDoubt(session, [change.seq]);
  // What is said anew is said now: a server that lets the last write win must not take it for an old one.
  const timestamp = hasLeft ? context.now : change.timestamp;
  const set = `${RESET}, id = $2, timestamp = $8, data = $3::jsonb, previous = $4::jsonb, result = $5::jsonb, rebased = $6::jsonb,
    conflict = CASE WHEN c.conflict->'resolution' = 'null' THEN NULL ELSE c.conflict END,
    blocked_by = CASE WHEN c.blocked_by = ANY ($7::bigint[]) THEN NULL ELSE c.blocked_by END`;
  const { previous, result, rebased } = placed;
  const seqs = unit.map((member) => member.seq);
  const effect = rebased === null ? null : { ...rebased };
  const params = [change.seq, id, data, previous, result, effect, asArray(seqs), timestamp];
  await moveChanges(session, { from: change.status, set, where: 'c.seq = $1', params }, draft, context);
  await tryAnew(context, sameUnit({ ...change, id }), isPushStage('c'));
  await releaseBehind(context, seqs);
  return id;
}

async function placeEdited(context: RepairContext, change: Change, data: JsonObject): Promise<Placed> {
  try {
    const unfit = checkPayload(context.entityTypes.require(change.entityType), change.entityId, data);
    if (unfit !== undefined) throw unfit;
    const lane = await readLane(context, change, change.seq);
    const was = lane.changes.find(({ seq }) => seq === change.seq);
    if (was === undefined) throw new LocalDataError('INTERNAL', `${nameOf(change)} is in no lane.`, { id: change.id });
    const edited: OverlayChange = { ...was, data, result: null, rebased: rebasedOf(was, data) };
    return await placeInLane(context, change, { lane, change: edited, was, kept: madeByDefaults(was) });
  } catch (error) {
    throw asRefused(context, { ...change, data }, 'edited', error);
  }
}

/** What a conflict was settled by says as what the change is sent: what the server has deleted comes back whole. */
function rebasedOf({ rebased, previous }: OverlayChange, data: JsonObject): Rebased | null {
  if (rebased === null) return null;
  return { operation: rebased.operation, data: rebased.operation === 'insert' ? { ...previous, ...data } : data };
}

/** Of an insert, the fields that nobody gave: they stay as they were made. */
function madeByDefaults({ operation, data, result }: OverlayChange): JsonObject {
  if (operation !== 'insert') return {};
  return Object.fromEntries(Object.entries(result ?? {}).filter(([field]) => !Object.hasOwn(data ?? {}, field)));
}

/** The members of its transaction that are in place here and not through, or the change alone. */
async function unitInPlace(context: RepairContext, change: Change): Promise<Change[]> {
  if (change.transactionId === null) return [change];
  const members = await context.session.run<ChangeRow>(
    `SELECT ${lightColumns('c')} FROM local_changes c
     WHERE c.transaction_id = $1 AND ${isPushStage('c')} AND c.discarded_at IS NULL ORDER BY c.seq`,
    [change.transactionId],
  );
  return members.map((row) => toChange(row, context));
}

/** Lets go what waits behind those of the given changes that may go themselves. */
async function releaseBehind({ session, draft, now }: RepairContext, seqs: readonly number[]): Promise<void> {
  const free = await session.run<{ seq: number }>(
    `SELECT c.seq FROM local_changes c WHERE c.seq = ANY ($1::bigint[]) AND c.status = 'applied'`,
    [asArray(seqs)],
  );
  await releaseBlocked(
    session,
    free.map(({ seq }) => seq),
    draft,
    now,
  );
}

function retryRemedy(change: Change): string {
  return change.status === 'blocked'
    ? `It ${change.reason ?? 'waits for another change'}; repair that one.`
    : 'Only failed and retrying changes can be retried.';
}

function sameUnit(change: Change): Which {
  if (change.transactionId === null) return { where: 'c.id = $1', params: [change.id] };
  return { where: 'c.transaction_id = $1', params: [change.transactionId] };
}
