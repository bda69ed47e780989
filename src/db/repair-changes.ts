// What a person does with a change that waits: retry it, or edit it. Both keep its id and its place; a member of a
// transaction is repaired with its whole transaction.
import { type Change, type ChangeFilter, type JsonObject, isWaiting } from '../protocol/changes.ts';
import { isLocalStage, isPushStage } from './change-row.ts';
import { checkInput, filterSql, requireChange } from './changes-table.ts';
import { moveChanges } from './move-changes.ts';
import { type RepairContext, notAllowed } from './repair-context.ts';

/** What fails locally is applied anew, what the server refused is pushed anew; a remote change is put in place anew by sync. */
const STAGES = [isLocalStage('c'), isPushStage('c')];

/** What a change that is tried anew has lost. */
export const RESET = 'error = NULL, failure = NULL, attempts = 0, next_attempt_at = NULL';

/** Keeps id and place; attempts start anew. */
export async function retryChange(context: RepairContext, id: string): Promise<Change> {
  const change = await requireChange(context.session, id, context);
  if (change.status === 'pending') return change;
  if (change.status !== 'failed' && change.status !== 'retrying')
    throw notAllowed(change, 'retried', retryRemedy(change));
  const same = sameUnit(change);
  for (const from of ['failed', 'retrying'] as const) {
    for (const stage of STAGES) {
      const where = `${same.where} AND ${stage}`;
      await moveChanges(context.session, { from, set: RESET, where, params: same.params }, context.draft, context);
    }
  }
  return requireChange(context.session, id, context);
}

export async function retryFailed(context: RepairContext, filter: ChangeFilter): Promise<number> {
  const { where, params } = filterSql({ ...filter, status: 'failed' });
  let retried = 0;
  for (const stage of STAGES) {
    const move = { from: 'failed' as const, set: RESET, where: [...where, stage].join(' AND '), params };
    retried += await moveChanges(context.session, move, context.draft, context);
  }
  return retried;
}

/** Keeps id and place; a failed change becomes pending again. */
export async function editChange(context: RepairContext, id: string, data: JsonObject): Promise<Change> {
  const { session, draft } = context;
  const change = await requireChange(session, id, context);
  if (!isWaiting(change)) throw notAllowed(change, 'edited', 'Record a new change instead.');
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

function retryRemedy(change: Change): string {
  return change.status === 'blocked'
    ? `It ${change.reason ?? 'waits for another change'}; repair that one.`
    : 'Only failed and retrying changes can be retried.';
}

function sameUnit(change: Change): { readonly where: string; readonly params: readonly string[] } {
  if (change.transactionId === null) return { where: 'c.id = $1', params: [change.id] };
  return { where: 'c.transaction_id = $1', params: [change.transactionId] };
}
