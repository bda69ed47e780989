// Which changes have left for the server without an answer: they may have been applied there. Written down before they
// leave, so that it is known whatever happens then; in the row that binds this database to its server.
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { Session } from './database.ts';
import { asArray } from './sql-values.ts';

export async function addInDoubt(session: Session, seqs: readonly number[]): Promise<void> {
  await session.run(
    `UPDATE local_data.sync_binding SET in_doubt =
       ARRAY(SELECT unnest(in_doubt) UNION SELECT unnest($1::bigint[]))`,
    [asArray(seqs)],
  );
}

export async function settleDoubt(session: Session, seqs: readonly number[]): Promise<void> {
  await session.run(
    `UPDATE local_data.sync_binding SET in_doubt =
       ARRAY(SELECT unnest(in_doubt) EXCEPT SELECT unnest($1::bigint[]))`,
    [asArray(seqs)],
  );
}

export async function readInDoubt(session: Session): Promise<ReadonlySet<number>> {
  return new Set(await session.runList<number>(`SELECT to_json(in_doubt) AS rows FROM local_data.sync_binding`));
}

/**
 * An answer is still to come for those that are sent by themselves. One that was given up, or waits behind another, is a
 * person's to decide: nobody asks the server about it any more.
 */
function awaitsAnswer({ status, origin }: Change): boolean {
  return origin !== 'remote' && (status === 'applied' || status === 'retrying');
}

/** What becomes of a change that may be on the server is not decided before the server has said so. */
export async function refuseInDoubt(session: Session, changes: readonly Change[], action: string): Promise<void> {
  const candidates = changes.filter(awaitsAnswer);
  if (candidates.length === 0) return;
  const inDoubt = await readInDoubt(session);
  const one = candidates.find(({ seq }) => inDoubt.has(seq));
  if (one === undefined) return;
  throw sendingInDoubt(one, action);
}

export function sendingInDoubt({ id, seq, operation, entityType, entityId }: Change, action: string): LocalDataError {
  return new LocalDataError(
    'SENDING_IN_DOUBT',
    `Change ${seq} (${operation} of ${entityType} "${entityId}") has left for the server, and no answer has come: it may be there already and cannot be ${action} now. It is settled as soon as the server answers; go online where you work offline, then try again.`,
    { id, seq, entityType, entityId },
  );
}
