// Moves any number of changes from one status to another in one statement, counting all and carrying the first thousand.
import type { ChangeStatus } from '../protocol/changes.ts';
import { type ChangeRow, type ReasonContext, lightColumns, toChange } from './change-row.ts';
import type { CommitDraft } from './commit-log.ts';
import type { Parameter, Session } from './database.ts';

/** Changes that one event carries at the most; counts are always whole. */
export const CARRIED_CHANGES = 1_000;

export interface Move {
  readonly from: ChangeStatus;
  /** SET list of `local_changes c`. */
  readonly set: string;
  /** Further FROM items of the UPDATE. */
  readonly using?: string;
  /** Conditions besides the status. */
  readonly where: string;
  readonly params: readonly Parameter[];
}

/** Gives how many moved. */
export async function moveChanges(
  session: Session,
  move: Move,
  draft: CommitDraft,
  context: ReasonContext,
): Promise<number> {
  const rows = await session.run<ChangeRow & { total: number }>(
    `WITH moved AS (
       UPDATE local_changes c SET ${move.set} ${move.using === undefined ? '' : `FROM ${move.using}`}
       WHERE c.status = '${move.from}' AND ${move.where} RETURNING ${lightColumns('c')})
     SELECT *, count(*) OVER () AS total FROM moved ORDER BY seq LIMIT ${CARRIED_CHANGES}`,
    move.params,
  );
  const [first] = rows;
  if (first === undefined) return 0;
  draft.count(move.from, first.status, first.total);
  for (const row of rows) draft.changes.set(row.seq, toChange(row, context));
  return first.total;
}
