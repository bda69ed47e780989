// Records inserts that are applied in the same statement, as `upsertEntity` does for one: for imports, whose rows need
// not go through the queue while nothing waits in it. All or none; whoever calls it records them the usual way instead
// when the database refuses one, so that the change at fault is found and shown.
import type { Change, ChangeInput } from '../protocol/changes.ts';
import { aimAt } from './capture.ts';
import { CommitDraft } from './commit-log.ts';
import type { Session } from './database.ts';
import { bulkInsertAndRecord } from './entity-statements.ts';
import type { EntityType } from './entity-types.ts';

export interface RecordAppliedContext {
  readonly session: Session;
  readonly now: number;
  readonly newId: () => string;
}

/** `inputs` are inserts of this type that have been checked; within the caller's transaction. Throws what Postgres says. */
export async function recordApplied(
  context: RecordAppliedContext,
  type: EntityType,
  inputs: readonly ChangeInput[],
  label: string,
): Promise<CommitDraft> {
  const draft = new CommitDraft();
  await context.session.savepoint(async () => {
    for (const group of groupByKeys(inputs).values()) await recordGroup(context, type, group, label, draft);
    await context.session.run('SET CONSTRAINTS ALL IMMEDIATE');
  });
  draft.entityCounts.set(type.entityType, inputs.length);
  draft.reload.add(type.entityType);
  return draft;
}

/** Absent keys mean defaults, so that only rows with the same keys share a statement. */
function groupByKeys(inputs: readonly ChangeInput[]): Map<string, ChangeInput[]> {
  const groups = new Map<string, ChangeInput[]>();
  for (const input of inputs) {
    const keys = JSON.stringify(Object.keys(input.data ?? {}).sort());
    const group = groups.get(keys);
    if (group === undefined) groups.set(keys, [input]);
    else group.push(input);
  }
  return groups;
}

async function recordGroup(
  { session, now, newId }: RecordAppliedContext,
  type: EntityType,
  group: readonly ChangeInput[],
  label: string,
  draft: CommitDraft,
): Promise<void> {
  const rows = group.map(({ entityId, data }) => ({ id: newId(), e: entityId, d: data ?? {} }));
  const sql = bulkInsertAndRecord(type, Object.keys(rows[0]?.d ?? {}).sort());
  const aim = aimAt(
    type,
    'INSERT',
    rows.map((row) => row.e),
  );
  const seqs = await session.runList<{ seq: number }>(sql, [JSON.stringify(rows), aim, now, label]);
  for (const [index, { id, e, d }] of rows.entries()) {
    const seq = Number(seqs[index]?.seq);
    const { entityType } = type;
    draft.recorded({
      ...APPLIED_INSERT,
      id,
      seq,
      entityType,
      entityId: e,
      data: d,
      timestamp: now,
      label,
      appliedAt: now,
    });
  }
}

const APPLIED_INSERT = {
  operation: 'insert',
  processedLocal: true,
  processedSync: false,
  error: null,
  attempts: 0,
  status: 'applied',
  reason: null,
  origin: 'local',
  transactionId: null,
  previous: null,
  result: null,
  failure: null,
  blockedBy: null,
  nextAttemptAt: null,
  discardedAt: null,
  awaiting: null,
  acceptedVersion: null,
  acceptedAt: null,
  conflict: null,
  clientId: null,
  note: null,
} as const satisfies Partial<Change>;
