// Of changes that need somebody or wait: the transactions they belong to, which fail, wait and are repaired as a whole. Asked
// for a page at a time, and only where a page has any. Must not import `vscode`.
import type { LocalData } from '../../engine/local-data.ts';
import type { Change, ChangeStatus } from '../../protocol/changes.ts';

export interface Transaction {
  /** How many of its changes are not done. */
  readonly size: number;
  /** `seq` of the one that is at fault, for which the others wait; null where none of them is. */
  readonly head: number | null;
}

const SHOWN_FOR: readonly ChangeStatus[] = ['failed', 'conflicted', 'retrying', 'blocked'];
const MOST = 1_000;

const TRANSACTIONS = `SELECT c.transaction_id AS id, count(*) AS size,
    min(c.seq) FILTER (WHERE c.status IN ('failed', 'conflicted', 'retrying')) AS head
  FROM local_changes c
  WHERE c.transaction_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))
    AND c.status NOT IN ('synced', 'discarded')
  GROUP BY c.transaction_id`;

/** By id; of those alone that have more than one change which is not done. */
export async function transactionsOf(
  data: Pick<LocalData, 'query'>,
  changes: readonly Pick<Change, 'status' | 'transactionId'>[],
): Promise<ReadonlyMap<string, Transaction>> {
  const ids = changes.flatMap(({ status, transactionId }) =>
    transactionId !== null && SHOWN_FOR.includes(status) ? [transactionId] : [],
  );
  if (ids.length === 0) return new Map();
  const asked = JSON.stringify([...new Set(ids)].slice(0, MOST));
  const { rows } = await data.query(TRANSACTIONS, [asked], { limit: MOST });
  return new Map(
    rows.flatMap(({ id, size, head }) =>
      Number(size) < 2 ? [] : [[String(id), { size: Number(size), head: head === null ? null : Number(head) }]],
    ),
  );
}

/** What of it stands before the reason of a change, or in its place: the others of a transaction wait for one. */
export function inTransaction(change: Change, reason: string, transaction: Transaction | undefined): string {
  if (transaction === undefined) return reason;
  const { size, head } = transaction;
  if (change.status !== 'blocked') return `transaction of ${size.toLocaleString()}: ${reason}`;
  return head === null || head === change.seq ? reason : `with change ${head} (transaction)`;
}

/** Such as ", with 2 others of its transaction"; empty for a change of its own. */
export async function withOthers(data: Pick<LocalData, 'query'>, change: Change): Promise<string> {
  const { transactionId } = change;
  if (transactionId === null) return '';
  const others = ((await transactionsOf(data, [change])).get(transactionId)?.size ?? 1) - 1;
  if (others === 0) return '';
  return others === 1
    ? ', with the other of its transaction'
    : `, with ${others.toLocaleString()} others of its transaction`;
}
