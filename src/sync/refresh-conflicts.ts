// Keeps conflicts that wait for a person true while the other side goes on: what is theirs is what the server has now, so
// that the person decides about that, and what was decided is sent on that version.
import { isPushStage, laneOf } from '../db/change-row.ts';
import type { JsonObject } from '../protocol/changes.ts';
import { sameJson } from '../protocol/canonical-json.ts';
import type { FeedChange } from '../protocol/sync.ts';
import type { Conflict, ConflictField } from '../protocol/sync-state.ts';
import type { Session } from '../db/database.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import { moveChanges } from '../db/move-changes.ts';

export interface RefreshContext {
  readonly session: Session;
  readonly draft: CommitDraft;
  readonly now: number;
}

/** `changes` are others', in the order of the feed. */
export async function refreshConflicts(context: RefreshContext, changes: readonly FeedChange[]): Promise<void> {
  if (changes.length === 0) return;
  const { session, draft, now } = context;
  const names = changes.map(({ entityType, entityId }) => ({ t: entityType, e: entityId }));
  const waiting = await session.run<{
    seq: number;
    entity_type: string;
    entity_id: string;
    data: JsonObject | null;
    conflict: Conflict;
  }>(
    `SELECT c.seq, c.entity_type, c.entity_id, c.data, c.conflict FROM local_changes c
     WHERE c.status = 'conflicted' AND ${isPushStage('c')}
       AND (c.entity_type, c.entity_id) IN (SELECT n.t, n.e FROM jsonb_to_recordset($1::jsonb) AS n(t text, e text))`,
    [JSON.stringify(names)],
  );
  for (const { seq, entity_type: entityType, entity_id: entityId, data, conflict } of waiting) {
    const lane = laneOf({ entityType, entityId });
    const later = changes.filter((change) => laneOf(change) === lane && change.version > conflict.version);
    if (later.length === 0) continue;
    const refreshed = later.reduce((state, change) => onto(state, change, data ?? {}), conflict);
    const move = { from: 'conflicted' as const, set: 'conflict = $2::jsonb', where: 'c.seq = $1' };
    await moveChanges(session, { ...move, params: [seq, JSON.stringify(refreshed)] }, draft, { now, paused: false });
  }
}

function onto(
  conflict: Conflict,
  { version, entity, data, clientId, timestamp }: FeedChange,
  mine: JsonObject,
): Conflict {
  // Where one side is a delete, the conflict is the entity's as a whole.
  if (entity === null || conflict.operation === 'delete' || conflict.theirs === null)
    return { ...conflict, version, theirs: entity, fields: {} };
  const fields: Record<string, ConflictField> = { ...conflict.fields };
  for (const field of Object.keys(data ?? {})) {
    const known = fields[field];
    if (known === undefined && !(field in mine)) continue;
    const theirs = entity[field] ?? null;
    const side = known ?? { base: conflict.base?.[field] ?? null, mine: conflict.mine?.[field] ?? null };
    if (known === undefined && sameJson(side.mine, theirs)) continue;
    fields[field] = { ...side, theirs, theirClientId: clientId, theirTimestamp: timestamp };
  }
  return { ...conflict, version, theirs: entity, fields };
}
