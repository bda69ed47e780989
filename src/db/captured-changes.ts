// Tells what the capture triggers recorded: reads the captured rows since the last time and publishes them as one commit.
import type { Entity } from '../protocol/changes.ts';
import { retryAwaiting } from './apply-changes.ts';
import { type ChangeRow, type ReasonContext, allColumns, toChange } from './change-row.ts';
import { CommitDraft, type CommitLog } from './commit-log.ts';
import type { Session } from './database.ts';
import type { EntityTypes } from './entity-types.ts';
import { CARRIED_CHANGES } from './move-changes.ts';

/** Gives the `seq` up to which captured changes have been published. */
export async function publishCaptured(
  session: Session,
  after: number,
  entityTypes: EntityTypes,
  commits: CommitLog,
  context: ReasonContext,
): Promise<number> {
  const rows = await session.run<ChangeRow & { total: number; last: number }>(
    `SELECT ${allColumns('c')}, count(*) OVER () AS total, max(c.seq) OVER () AS last FROM local_changes c
     WHERE c.seq > $1 AND c.origin = 'sql' ORDER BY c.seq LIMIT ${CARRIED_CHANGES}`,
    [after],
  );
  const [first] = rows;
  if (first === undefined) return after;
  const draft = new CommitDraft();
  const changes = rows.map((row) => toChange(row, context));
  for (const change of changes) draft.changes.set(change.seq, { ...change, previous: null, result: null });
  draft.count(null, 'applied', first.total);
  if (first.total > rows.length) await reloadTypes(session, after, entityTypes, draft);
  else {
    for (const change of changes) {
      const entity: Entity | null = change.operation === 'delete' ? null : (change.result ?? {});
      if (entity === null) draft.entityDeleted(change.entityType, change.entityId);
      else if (change.operation === 'insert') draft.entityInserted(change.entityType, change.entityId, entity);
      else draft.entityUpdated(change.entityType, change.entityId, entity);
    }
  }
  if (commits.stuck > 0) {
    await retryAwaiting(
      session,
      changes.filter((change) => change.operation === 'insert'),
      draft,
      context.now,
    );
  }
  commits.publish(draft);
  return first.last;
}

/** Too many to carry: whoever shows these types reads them again. */
async function reloadTypes(
  session: Session,
  after: number,
  entityTypes: EntityTypes,
  draft: CommitDraft,
): Promise<void> {
  const touched = await session.run<{ entity_type: string }>(
    `SELECT DISTINCT entity_type FROM local_changes WHERE seq > $1 AND origin = 'sql'`,
    [after],
  );
  for (const { entity_type: name } of touched) {
    const type = entityTypes.get(name);
    if (type === undefined) continue;
    await entityTypes.recount(session, type);
    draft.reload.add(name);
  }
}
