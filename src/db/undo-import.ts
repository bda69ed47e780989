// Takes back every change of an import in bulk; refused where later changes or other entities stand on what it brought.
import type { Change } from '../protocol/changes.ts';
import type { UndoImportReport } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { aimAt, aimAtAll } from './capture.ts';
import { type ChangeRow, allColumns, toChange } from './change-row.ts';
import { LISTED_DEPENDENTS, sideEffects } from './dependents.ts';
import { type EntityType, keyColumn } from './entity-types.ts';
import { moveChanges } from './move-changes.ts';
import type { RepairContext } from './repair-context.ts';
import { SqlError } from './sql-error.ts';

export async function undoImport(context: RepairContext, label: string): Promise<UndoImportReport> {
  const { session, draft, now } = context;
  const [known] = await session.run<{ entity_type: string; undone_at: number | null }>(
    `SELECT entity_type, undone_at FROM local_data.imports WHERE label = $1`,
    [label],
  );
  if (known === undefined)
    throw new LocalDataError('IMPORT_NOT_FOUND', `There is no import "${label}". Choose one of listImports().`, {
      label,
    });
  const { listed, total } = await standingOnImport(context, label);
  if (total > 0) throw importHasDependents(label, listed, total);
  const type = context.entityTypes.get(known.entity_type);
  if (type !== undefined) await deleteImported(context, type, label);
  let undone = 0;
  for (const from of ['applied', 'pending', 'retrying', 'failed', 'blocked'] as const) {
    const move = { from, set: 'discarded_at = $2', where: 'c.label = $1', params: [label, now] };
    undone += await moveChanges(session, move, draft, context);
  }
  await refuseImportSideEffects(context, label);
  await session.run(`UPDATE local_data.imports SET undone_at = $2 WHERE label = $1`, [label, now]);
  return { label, undone };
}

async function deleteImported(context: RepairContext, type: EntityType, label: string): Promise<void> {
  const { session, draft } = context;
  const aim = type.referencesItself ? undefined : aimAtAll(type, 'DELETE');
  const ids = await session.run<{ entity_id: string }>(
    `SELECT entity_id FROM local_changes WHERE label = $1 AND status = 'applied'`,
    [label],
  );
  try {
    const [row] = await session.run<{ deleted: number }>(
      `WITH aim AS MATERIALIZED (SELECT set_config('local_data.aim', $2, true)),
         gone AS (DELETE FROM ${type.sqlTable} t USING aim, local_changes c
           WHERE c.label = $1 AND c.status = 'applied' AND t.${keyColumn(type)} = c.entity_id::${type.keyType} RETURNING 1)
       SELECT count(*) AS deleted FROM gone`,
      [
        label,
        aim ??
          aimAt(
            type,
            'DELETE',
            ids.map((row) => row.entity_id),
          ),
      ],
    );
    draft.entityCounts.set(type.entityType, -(row?.deleted ?? 0));
    draft.reload.add(type.entityType);
  } catch (error) {
    if (!(error instanceof SqlError) || error.sqlState !== '23503') throw error;
    throw new LocalDataError(
      'HAS_DEPENDENTS',
      `Import "${label}" cannot be undone: other entities refer to what it brought (${error.detail ?? error.message}). Delete those first.`,
      { label, constraint: error.constraint ?? null },
      { cause: error },
    );
  }
}

async function standingOnImport(context: RepairContext, label: string): Promise<{ listed: Change[]; total: number }> {
  const rows = await context.session.run<ChangeRow & { total: number }>(
    `SELECT ${allColumns('c')}, count(*) OVER () AS total FROM local_changes c
     WHERE c.label IS DISTINCT FROM $1 AND c.status <> 'discarded' AND EXISTS (
       SELECT 1 FROM local_changes i WHERE i.label = $1 AND i.status <> 'discarded'
         AND i.entity_type = c.entity_type AND i.entity_id = c.entity_id AND i.seq < c.seq)
     ORDER BY c.seq LIMIT ${LISTED_DEPENDENTS}`,
    [label],
  );
  return { listed: rows.map((row) => toChange(row, context)), total: rows[0]?.total ?? 0 };
}

function importHasDependents(label: string, listed: readonly Change[], total: number): LocalDataError {
  const names = listed
    .slice(0, 3)
    .map((change) => `change ${change.seq} (${change.operation} of ${change.entityType} "${change.entityId}")`);
  return new LocalDataError(
    'HAS_DEPENDENTS',
    `Import "${label}" cannot be undone: ${total} later change${total === 1 ? ' stands' : 's stand'} on it: ${names.join(', ')}${total > 3 ? ', …' : ''}. Discard those first.`,
    { label, dependents: listed.map((change) => change.id), total },
  );
}

async function refuseImportSideEffects(context: RepairContext, label: string): Promise<void> {
  const touched = await sideEffects(context);
  if (touched.length === 0) return;
  throw importHasDependents(label, touched, touched.length);
}
