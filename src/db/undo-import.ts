// Takes back every change of an import in bulk: what the server has is undone by recorded deletes, the rest is discarded.
// Refused where later changes or other entities stand on what it brought.
import type { Change } from '../protocol/changes.ts';
import type { UndoImportReport } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { releaseBlocked } from './apply-changes.ts';
import { aimAt, aimAtAll } from './capture.ts';
import { type ChangeRow, allColumns, isPushStage, lightColumns, toChange } from './change-row.ts';
import { LISTED_DEPENDENTS, sideEffects } from './dependents.ts';
import { deleteAndRecordUndo } from './entity-statements.ts';
import { type EntityType, keyColumn } from './entity-types.ts';
import { sendingInDoubt } from './in-doubt.ts';
import { CARRIED_CHANGES, moveChanges } from './move-changes.ts';
import { type RepairContext, isUndone, wasGivenUp } from './repair-context.ts';
import { takeBack } from './replay-lane.ts';
import { SqlError } from './sql-error.ts';

/** Rows of one statement. */
const CHUNK = 1_000;

/** What is in place here and not on the server, and which lanes of it have a base. */
const IN_PLACE = `${isPushStage('c')} AND c.discarded_at IS NULL`;
const HAS_BASE = `EXISTS (SELECT FROM local_data.entity_bases b WHERE b.entity_type = c.entity_type AND b.entity_id = c.entity_id)`;

/** A row `alias` of an import that has not been taken back. */
export function isStillImported(alias: string): string {
  return `${alias}.discarded_at IS NULL AND NOT ${wasGivenUp(alias)} AND NOT ${isUndone(alias)}`;
}

export async function undoImport(context: RepairContext, label: string): Promise<UndoImportReport> {
  const { session, draft, now } = context;
  const [known] = await session.run<{ entity_type: string }>(
    `SELECT entity_type FROM local_data.imports WHERE label = $1`,
    [label],
  );
  if (known === undefined)
    throw new LocalDataError('IMPORT_NOT_FOUND', `There is no import "${label}". Choose one of listImports().`, {
      label,
    });
  const { listed, total } = await standingOnImport(context, label);
  if (total > 0) throw importHasDependents(label, listed, total);
  await refuseRowsInDoubt(context, label);
  let undone = await takeBackImported(context, known.entity_type, label);
  for (const from of ['applied', 'pending', 'retrying', 'failed', 'conflicted', 'blocked'] as const) {
    const move = {
      from,
      set: 'discarded_at = $2',
      where: `c.label = $1 AND c.origin <> 'remote'`,
      params: [label, now],
    };
    undone += await moveChanges(session, move, draft, context);
  }
  await releaseWaiting(context, label);
  await refuseImportSideEffects(context, label);
  await session.run(`UPDATE local_data.imports SET undone_at = $2 WHERE label = $1`, [label, now]);
  return { label, undone };
}

/** Takes away what it brought; gives how many rows of it a recorded delete undoes. */
async function takeBackImported(context: RepairContext, entityType: string, label: string): Promise<number> {
  const { session } = context;
  const there = await session.run<UndoneRow>(
    `SELECT c.seq, c.entity_id FROM local_changes c WHERE c.label = $1 AND c.status = 'synced' AND ${isStillImported('c')}
     ORDER BY c.seq`,
    [label],
  );
  const type = there.length > 0 ? context.entityTypes.require(entityType) : context.entityTypes.get(entityType);
  if (type === undefined) return 0;
  // Where the server has an entity of the same id, it is what is left.
  const onBases = await session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE c.label = $1 AND ${IN_PLACE} AND ${HAS_BASE} ORDER BY c.seq`,
    [label],
  );
  await takeBack(
    context,
    onBases.map((row) => toChange(row, context)),
  );
  try {
    await deleteImported(context, type, label);
    for (let start = 0; start < there.length; start += CHUNK)
      await deleteThere(context, type, there.slice(start, start + CHUNK));
  } catch (error) {
    throw asReferredTo(label, error);
  }
  return there.length;
}

interface UndoneRow {
  readonly [column: string]: unknown;
  readonly seq: number;
  readonly entity_id: string;
}

async function deleteImported(context: RepairContext, type: EntityType, label: string): Promise<void> {
  const { session, draft } = context;
  const aim = type.referencesItself ? undefined : aimAtAll(type, 'DELETE');
  const where = `c.label = $1 AND ${IN_PLACE} AND NOT ${HAS_BASE}`;
  const ids = await session.run<{ entity_id: string }>(`SELECT c.entity_id FROM local_changes c WHERE ${where}`, [
    label,
  ]);
  const [row] = await session.run<{ deleted: number }>(
    `WITH aim AS MATERIALIZED (SELECT set_config('local_data.aim', $2, true)),
       gone AS (DELETE FROM ${type.sqlTable} t USING aim, local_changes c
         WHERE ${where} AND t.${keyColumn(type)} = c.entity_id::${type.keyType} RETURNING 1)
     SELECT count(*) AS deleted FROM gone`,
    [
      label,
      aim ??
        aimAt(
          type,
          'DELETE',
          ids.map((one) => one.entity_id),
        ),
    ],
  );
  removed(context, type, row?.deleted ?? 0);
  draft.reload.add(type.entityType);
}

/** The server has them: each is deleted by a change that says which it undoes. */
async function deleteThere(context: RepairContext, type: EntityType, rows: readonly UndoneRow[]): Promise<void> {
  const { session, draft, now, newId } = context;
  const input = rows.map(({ seq, entity_id: e }) => ({ id: newId(), e, s: seq }));
  const ids = rows.map((row) => row.entity_id);
  const recorded = await session.runList<ChangeRow & { was_there: boolean }>(deleteAndRecordUndo(type), [
    JSON.stringify(input),
    aimAt(type, 'DELETE', ids),
    now,
  ]);
  for (const row of recorded) {
    draft.count(null, row.status, 1);
    if (draft.changes.size < CARRIED_CHANGES) draft.changes.set(row.seq, toChange(row, context));
  }
  removed(context, type, recorded.filter((row) => row.was_there).length);
  draft.reload.add(type.entityType);
}

function removed({ draft }: RepairContext, { entityType }: EntityType, count: number): void {
  draft.entityCounts.set(entityType, (draft.entityCounts.get(entityType) ?? 0) - count);
}

function asReferredTo(label: string, error: unknown): unknown {
  if (!(error instanceof SqlError) || error.sqlState !== '23503') return error;
  return new LocalDataError(
    'HAS_DEPENDENTS',
    `Import "${label}" cannot be undone: other entities refer to what it brought (${error.detail ?? error.message}). Delete those first.`,
    { label, constraint: error.constraint ?? null },
    { cause: error },
  );
}

async function refuseRowsInDoubt({ session, ...context }: RepairContext, label: string): Promise<void> {
  const [row] = await session.run<ChangeRow>(
    `SELECT ${lightColumns('c')} FROM local_changes c WHERE c.label = $1 AND c.status IN ('applied', 'retrying')
       AND c.seq IN (SELECT unnest(in_doubt) FROM local_data.sync_binding) ORDER BY c.seq LIMIT 1`,
    [label],
  );
  if (row !== undefined) throw sendingInDoubt(toChange(row, context), 'undone');
}

/** What others wrote stands on a row only where the server has that row. */
async function standingOnImport(context: RepairContext, label: string): Promise<{ listed: Change[]; total: number }> {
  const rows = await context.session.run<ChangeRow & { total: number }>(
    `SELECT ${allColumns('c')}, count(*) OVER () AS total FROM local_changes c
     WHERE c.label IS DISTINCT FROM $1 AND c.status <> 'discarded' AND EXISTS (
       SELECT 1 FROM local_changes i WHERE i.label = $1 AND ${isStillImported('i')}
         AND i.entity_type = c.entity_type AND i.entity_id = c.entity_id AND i.seq < c.seq
         AND (c.origin <> 'remote' OR i.processed_sync))
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

/** What waited for an entity that it was to bring is tried again: it may be there by another way, or come by one. */
async function releaseWaiting({ session, draft, now }: RepairContext, label: string): Promise<void> {
  const heads = await session.run<{ seq: number }>(
    `SELECT i.seq FROM local_changes i WHERE i.label = $1 AND i.status = 'discarded'
       AND EXISTS (SELECT FROM local_changes c WHERE c.blocked_by = i.seq)`,
    [label],
  );
  await releaseBlocked(
    session,
    heads.map(({ seq }) => seq),
    draft,
    now,
  );
}

async function refuseImportSideEffects(context: RepairContext, label: string): Promise<void> {
  const touched = await sideEffects(context);
  if (touched.length === 0) return;
  throw importHasDependents(label, touched, touched.length);
}
