// What of a transaction is taken back together. The server takes one as a whole or not at all, but for those that are too
// large for one push.
import type { Change } from '../protocol/changes.ts';
import { type ChangeRow, lightColumns, toChange } from './change-row.ts';
import { type RepairContext, alreadySent, isOnServer } from './repair-context.ts';
import { asArray } from './sql-values.ts';

/** What a change says whose transaction is larger than a push; written when its first piece is sent. */
export const IN_PIECES = 'its transaction is too large for one push and was sent in pieces';

/**
 * The members of the given transactions that are not done. Refused where the server has one of a transaction: that was
 * taken as a whole. Of one that went in pieces, the server has none beyond its own.
 */
export async function membersTogether(context: RepairContext, transactionIds: readonly string[]): Promise<Change[]> {
  if (transactionIds.length === 0) return [];
  const rows = await context.session.run<ChangeRow & { there: boolean }>(
    `WITH members AS (
       SELECT c.*, bool_or(c.note IS NOT DISTINCT FROM '${IN_PIECES}') OVER (PARTITION BY c.transaction_id) AS in_pieces
       FROM local_changes c WHERE c.transaction_id IN (SELECT jsonb_array_elements_text($1::jsonb)) AND c.origin <> 'remote')
     SELECT ${lightColumns('c')}, ${isOnServer('c')} AND NOT c.in_pieces AS there FROM members c
     WHERE c.status <> 'discarded' ORDER BY c.seq`,
    [JSON.stringify(transactionIds)],
  );
  const there = rows.find((row) => row.there);
  if (there !== undefined) throw alreadySent(toChange(there, context), 'discarded');
  return rows.filter(({ status }) => status !== 'synced').map((row) => toChange(row, context));
}

/** The transactions that the given changes belong to. */
export async function transactionsOf({ session }: RepairContext, seqs: readonly number[]): Promise<string[]> {
  const rows = await session.run<{ id: string }>(
    `SELECT DISTINCT transaction_id AS id FROM local_changes WHERE seq = ANY($1::bigint[]) AND transaction_id IS NOT NULL`,
    [asArray(seqs)],
  );
  return rows.map(({ id }) => id);
}
