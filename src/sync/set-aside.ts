// Records that the server has something which cannot be put in place here, so that it is shown and tried again.
import { type ChangeRow, laneOf, lightColumns, toChange } from '../db/change-row.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import type { Session } from '../db/database.ts';
import type { EntityBase } from '../db/entity-bases.ts';

export interface SetAsideContext {
  readonly session: Session;
  readonly draft: CommitDraft;
  readonly now: number;
  readonly newId: () => string;
}

/** Once for each lane; `refused` says by lane why. */
export async function recordSetAside(
  context: SetAsideContext,
  bases: readonly EntityBase[],
  refused: ReadonlyMap<string, unknown>,
  code = 'CONSTRAINT_VIOLATION',
): Promise<void> {
  if (bases.length === 0) return;
  const { session, draft, now, newId } = context;
  const rows = bases.map((base) => {
    const error = refused.get(laneOf(base));
    const message = error instanceof Error ? error.message : String(error);
    const failure = { stage: 'pull', kind: 'permanent', code, message, at: now };
    return {
      id: newId(),
      t: base.entityType,
      e: base.entityId,
      o: base.data === null ? 'delete' : 'insert',
      d: base.data,
      v: base.version,
      failure,
      message,
    };
  });
  const recorded = await session.run<ChangeRow>(
    `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, data, timestamp, processed_local, processed_sync,
       origin, accepted_version, accepted_at, error, failure)
     SELECT r.id, r.t, r.e, r.o, NULLIF(r.d, 'null'), $2, false, true, 'remote', r.v, $2, r.message, r.failure
     FROM jsonb_to_recordset($1::jsonb) AS r(id text, t text, e text, o text, d jsonb, v bigint, message text, failure jsonb)
     WHERE NOT EXISTS (SELECT FROM local_changes k WHERE k.entity_type = r.t AND k.entity_id = r.e AND k.origin = 'remote'
       AND k.status = 'failed')
     RETURNING ${lightColumns('c')}`,
    [JSON.stringify(rows), now],
  );
  for (const row of recorded) draft.recorded(toChange(row, { now, paused: false }));
}
