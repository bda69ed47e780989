// Which changes have left for the server without an answer: they may have been applied there. Written down before they
// leave, so that it is known whatever happens then; in the row that binds this database to its server.
import type { Session } from './database.ts';
import { asArray } from './sql-values.ts';

export async function addInDoubt(session: Session, seqs: readonly number[]): Promise<void> {
  await session.run(
    `UPDATE local_data.sync_binding SET in_doubt =
       ARRAY(SELECT s FROM unnest(in_doubt) AS s UNION SELECT s FROM unnest($1::bigint[]) AS s)`,
    [asArray(seqs)],
  );
}

export async function settleDoubt(session: Session, seqs: readonly number[]): Promise<void> {
  await session.run(
    `UPDATE local_data.sync_binding SET in_doubt =
       ARRAY(SELECT s FROM unnest(in_doubt) AS s WHERE NOT s = ANY($1::bigint[]))`,
    [asArray(seqs)],
  );
}

export async function readInDoubt(session: Session): Promise<ReadonlySet<number>> {
  const rows = await session.run<{ seq: number }>(`SELECT unnest(in_doubt) AS seq FROM local_data.sync_binding`);
  return new Set(rows.map(({ seq }) => seq));
}
