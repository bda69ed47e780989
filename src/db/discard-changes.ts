// Takes a change back, with all of its transaction, and puts it back again. A discard undoes the local effect and never
// leaves what depends on it standing alone: it is refused, with a list, or takes that along when told to.
import type { Change } from '../protocol/changes.ts';
import type { DiscardPreview } from '../protocol/engine.ts';
import { releaseBlocked } from './apply-changes.ts';
import { type ChangeRow, allColumns, toChange } from './change-row.ts';
import { requireChange } from './changes-table.ts';
import { LISTED_DEPENDENTS, changesBySeq, dependentsOf, hasDependents, sideEffects } from './dependents.ts';
import type { OverlayChange } from './entity-bases.ts';
import { refuseInDoubt } from './in-doubt.ts';
import { type Lane, readLane, stateBefore } from './lane-states.ts';
import { moveChanges } from './move-changes.ts';
import { RESET } from './repair-changes.ts';
import { type RepairContext, notAllowed, refuseDone, refuseRemote } from './repair-context.ts';
import { asRefused, currentEntity, entityWithout, placeInLane, takeBack } from './replay-lane.ts';
import { asArray } from './sql-values.ts';
import { membersTogether } from './transaction-units.ts';

export async function previewDiscard(context: RepairContext, id: string): Promise<DiscardPreview> {
  const change = await requireChange(context.session, id, context);
  refuseRemote(change, 'discarded');
  const members = await unitOf(context, change);
  const { listed, total } = await dependentsOf(context, members);
  const before = await currentEntity(context, change);
  const after = await entityWithout(context, change, members, before);
  const others = members.filter((member) => member.id !== id).slice(0, LISTED_DEPENDENTS);
  const listedMembers = await changesBySeq(
    context,
    others.map(({ seq }) => seq),
  );
  return { change, members: listedMembers, dependents: listed, dependentsTotal: total, before, after };
}

/** Runs within the caller's transaction; throws HAS_DEPENDENTS rather than leaving anything standing alone. */
export async function discardChange(context: RepairContext, id: string, withDependents: boolean): Promise<Change> {
  const { session, draft } = context;
  const change = await requireChange(session, id, context);
  if (change.status === 'discarded') return change;
  refuseRemote(change, 'discarded');
  await refuseDone(context, change, 'discarded');
  let members = await unitOf(context, change);
  const { listed, total, seqs } = await dependentsOf(context, members);
  if (total > 0 && !withDependents) throw hasDependents(change, listed, total);
  if (total > 0) members = [...members, ...(await changesBySeq(context, seqs))].sort((a, b) => a.seq - b.seq);
  await refuseInDoubt(session, members, 'discarded');
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

/** What a change that is put back has lost: it is made anew. */
const ANEW = `${RESET}, discarded_at = NULL, blocked_by = NULL, rebased = NULL, conflict = NULL`;

/**
 * Puts a discarded change back in its place, with its transaction: where later changes of a lane are in place, under them;
 * else it is applied anew.
 */
export async function restoreChange(context: RepairContext, id: string): Promise<Change> {
  const { session, draft } = context;
  const change = await requireChange(session, id, context);
  if (change.status !== 'discarded') throw notAllowed(change, 'restored', 'Only discarded changes can be restored.');
  const members = await discardedUnit(context, change);
  const lanes: Lane[] = [];
  for (const member of members) lanes.push(await readLane(context, member, member.seq));
  const isOvertaken = members.some(({ seq }, index) => lanes[index]?.changes.some((later) => later.seq > seq));
  if (isOvertaken) {
    for (const member of members) await restoreInPlace(context, member);
    return requireChange(session, id, context);
  }
  const set = `${ANEW}, previous = NULL, result = NULL, applied_at = NULL, processed_local = false`;
  const params = [asArray(members.map(({ seq }) => seq))];
  const move = { from: 'discarded' as const, set, where: 'c.seq = ANY($1::bigint[])', params };
  await moveChanges(session, move, draft, context);
  return requireChange(session, id, context);
}

async function restoreInPlace(context: RepairContext, member: Change): Promise<void> {
  const { session, draft, now } = context;
  const lane = await laneToRestoreIn(context, member);
  const found = stateBefore(lane, member.seq);
  if (member.operation === 'insert' && found !== null)
    throw notAllowed(member, 'restored', 'Its entity exists by now.');
  if (member.operation === 'update' && found === null)
    throw notAllowed(member, 'restored', 'Its entity did not exist at that place.');
  const { id, seq, entityType, entityId, operation, data } = member;
  const name = { id, seq, entityType, entityId };
  const change: OverlayChange = { ...name, operation, data, previous: member.previous, result: null, rebased: null };
  try {
    const { previous, result } = await placeInLane(context, member, { lane, change, was: undefined });
    const set = `${ANEW}, previous = $2::jsonb, result = $3::jsonb, applied_at = $4, processed_local = true`;
    const params = [seq, previous, result, now];
    await moveChanges(session, { from: 'discarded', set, where: 'c.seq = $1', params }, draft, context);
  } catch (error) {
    throw asRefused(context, member, 'restored', error);
  }
}

/** Where nothing later and no base says what was there before it, it is what is there now. */
async function laneToRestoreIn(context: RepairContext, member: Change): Promise<Lane> {
  const lane = await readLane(context, member, member.seq);
  if (lane.base !== 'none' || lane.changes.length > 0) return lane;
  return { ...lane, start: await currentEntity(context, member) };
}

/** A change with the others of its transaction that go with it. */
async function unitOf(context: RepairContext, change: Change): Promise<Change[]> {
  return change.transactionId === null ? [change] : membersTogether(context, [change.transactionId]);
}

async function discardedUnit(context: RepairContext, change: Change): Promise<Change[]> {
  if (change.transactionId === null) return [change];
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.transaction_id = $1 AND c.status = 'discarded' ORDER BY c.seq`,
    [change.transactionId],
  );
  return rows.map((row) => toChange(row, context));
}

async function refuseSideEffects(context: RepairContext, change: Change): Promise<void> {
  const touched = (await sideEffects(context)).filter((effect) => effect.operation === 'delete');
  if (touched.length > 0) throw hasDependents(change, touched, touched.length);
}
