// What cannot stand without a change: found before a discard, so that nothing is left standing alone.
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { type ChangeRow, allColumns, isPushStage, toChange } from './change-row.ts';
import { columnOfKey, keyColumn } from './entity-types.ts';
import { CARRIED_CHANGES } from './move-changes.ts';
import type { RepairContext } from './repair-context.ts';
import { asArray, quoteIdentifier } from './sql-values.ts';

export const LISTED_DEPENDENTS = 100;

/**
 * What cannot stand without the given changes: what waits for an entity they create, what refers to one by a foreign
 * key, and, after an insert, everything later in its lane.
 */
export async function dependentsOf(
  context: RepairContext,
  members: readonly Change[],
): Promise<{ listed: Change[]; total: number; seqs: number[] }> {
  const own = members.map((member) => member.seq);
  let gone = own;
  for (;;) {
    const reached = await followLanes(context, gone);
    const referring = await referringChanges(context, reached);
    const grown = [...new Set([...reached, ...referring])];
    if (grown.length === gone.length) break;
    gone = grown;
  }
  const ownSeqs = new Set(own);
  const seqs = gone.filter((seq) => !ownSeqs.has(seq)).sort((a, b) => a - b);
  return { listed: await changesBySeq(context, seqs.slice(0, LISTED_DEPENDENTS)), total: seqs.length, seqs };
}

/** The given changes, what is blocked by them, and what follows their inserts in its lane. */
async function followLanes(context: RepairContext, seqs: readonly number[]): Promise<number[]> {
  const rows = await context.session.run<{ seq: number }>(
    `WITH RECURSIVE gone(seq, entity_type, entity_id, operation) AS (
       SELECT seq, entity_type, entity_id, operation FROM local_changes WHERE seq = ANY($1::bigint[])
       UNION
       SELECT c.seq, c.entity_type, c.entity_id, c.operation FROM gone g JOIN local_changes c
         ON (c.blocked_by = g.seq AND c.failure->'awaits' IS NOT NULL)
         OR (g.operation = 'insert' AND c.entity_type = g.entity_type AND c.entity_id = g.entity_id AND c.seq > g.seq)
       WHERE c.status NOT IN ('discarded', 'synced') AND c.origin <> 'remote')
     SELECT seq FROM gone`,
    [asArray(seqs)],
  );
  return rows.map((row) => row.seq);
}

/** Applied changes that made an entity refer to one which the given inserts made. */
async function referringChanges(context: RepairContext, seqs: readonly number[]): Promise<number[]> {
  const found: number[] = [];
  for (const parent of context.entityTypes.all()) {
    for (const child of context.entityTypes.all()) {
      for (const foreignKey of child.foreignKeys) {
        const column = columnOfKey(foreignKey, parent);
        if (column === undefined) continue;
        const rows = await context.session.run<{ seq: number }>(
          `SELECT c.seq FROM local_changes p
           JOIN ${child.sqlTable} t ON t.${quoteIdentifier(column)}::text = p.entity_id
           JOIN local_changes c ON c.entity_type = $2 AND c.entity_id = t.${keyColumn(child)}::text
             AND ${isPushStage('c')} AND c.discarded_at IS NULL AND c.data->>$3 = p.entity_id
           WHERE p.seq = ANY($1::bigint[]) AND p.entity_type = $4 AND p.operation = 'insert' AND ${isPushStage('p')}`,
          [asArray(seqs), child.entityType, column, parent.entityType],
        );
        found.push(...rows.map((row) => row.seq));
      }
    }
  }
  return found;
}

export async function changesBySeq(context: RepairContext, seqs: readonly number[]): Promise<Change[]> {
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.seq = ANY($1::bigint[]) ORDER BY c.seq`,
    [asArray(seqs)],
  );
  return rows.map((row) => toChange(row, context));
}

/** Rows that cascades or triggers touched during this repair, beyond those it aimed at. */
export async function sideEffects(context: RepairContext): Promise<Change[]> {
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.transaction_id = $1 AND c.origin = 'sql' ORDER BY c.seq LIMIT ${CARRIED_CHANGES}`,
    [context.transactionId],
  );
  return rows.map((row) => toChange(row, context));
}

export function hasDependents(change: Change, dependents: readonly Change[], total: number): LocalDataError {
  const names = dependents
    .slice(0, 3)
    .map((dependent) => `${dependent.operation} of ${dependent.entityType} "${dependent.entityId}"`);
  return new LocalDataError(
    'HAS_DEPENDENTS',
    `Change ${change.seq} (${change.operation} of ${change.entityType} "${change.entityId}") has ${total} that depend${total === 1 ? 's' : ''} on it: ${names.join(', ')}${total > 3 ? ', …' : ''}. Discard them with it, or keep it.`,
    { id: change.id, dependents: dependents.map((dependent) => dependent.id), total },
  );
}
