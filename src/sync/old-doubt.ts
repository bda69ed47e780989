// What left for the server so long ago that the server may have forgotten its id: sent again, it could take effect twice. A
// snapshot says what became of it. What the server has as the change left it has arrived; an insert of what it lacks is a
// person's to decide about, who may know whether it was deleted there; the rest is sent, and meets what is there by versions.
import type { Entity, Failure } from '../protocol/changes.ts';
import { sameJson } from '../protocol/canonical-json.ts';
import { SYNC_LIMITS } from '../protocol/sync.ts';
import { type ChangeRow, type Rebased, allColumns, laneOf } from '../db/change-row.ts';
import { type EntityName, effectOf, readBases } from '../db/entity-bases.ts';
import { settleDoubt } from '../db/in-doubt.ts';
import { moveChanges } from '../db/move-changes.ts';
import { asArray } from '../db/sql-values.ts';
import { type SettleContext, failPush } from './settle-push.ts';

const DAY = 86_400_000;

interface Doubtful extends EntityName {
  readonly seq: number;
  readonly effect: Rebased;
}

/** To be called when all bases of a snapshot are here, and before anything is sent. */
export async function settleOldDoubt(context: SettleContext): Promise<void> {
  const doubtful = await readDoubtful(context);
  if (doubtful.length === 0) return;
  const bases = await readBases(context.session, doubtful);
  const there = ({ entityType, entityId }: Doubtful): Entity | null =>
    bases.get(laneOf({ entityType, entityId }))?.data ?? null;
  const arrived = arrivedOf(doubtful, there);
  await settleArrived(context, [...arrived]);
  for (const change of doubtful) {
    const mayBeDeleted = change.effect.operation === 'insert' && there(change) === null;
    if (mayBeDeleted && !arrived.has(change.seq)) {
      await failPush(context, change.seq, arrivedOrNot(change, context.now), 1);
    }
  }
  await settleDoubt(
    context.session,
    doubtful.map(({ seq }) => seq),
  );
}

async function readDoubtful({ session, now }: SettleContext): Promise<Doubtful[]> {
  const rows = await session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c
     WHERE c.seq IN (SELECT unnest(in_doubt) FROM local_data.sync_binding) AND c.timestamp < $1
       AND c.status IN ('applied', 'retrying') AND c.origin <> 'remote' ORDER BY c.seq`,
    [now - SYNC_LIMITS.idDays * DAY],
  );
  return rows.map((row) => ({
    seq: row.seq,
    entityType: row.entity_type,
    entityId: row.entity_id,
    effect: effectOf(row),
  }));
}

/** The server takes a lane in order: what came before one that has arrived has arrived too. */
function arrivedOf(doubtful: readonly Doubtful[], there: (change: Doubtful) => Entity | null): ReadonlySet<number> {
  const arrived = new Set<number>();
  const lanes = new Set<string>();
  for (const change of doubtful.toReversed()) {
    const lane = laneOf(change);
    if (!lanes.has(lane) && !isIn(change.effect, there(change))) continue;
    lanes.add(lane);
    arrived.add(change.seq);
  }
  return arrived;
}

function isIn({ operation, data, removed = [] }: Rebased, entity: Entity | null): boolean {
  if (operation === 'delete') return entity === null;
  if (entity === null) return false;
  const isSame = Object.entries(data ?? {}).every(([field, value]) => sameJson(value, entity[field]));
  return isSame && removed.every((field) => !(field in entity));
}

async function settleArrived({ session, draft, now, version }: SettleContext, seqs: readonly number[]): Promise<void> {
  const set = `processed_sync = true, accepted_version = $2, accepted_at = $3, error = NULL, failure = NULL,
    next_attempt_at = NULL, note = 'found on the server'`;
  const params = [asArray(seqs), version, now];
  for (const from of ['applied', 'retrying'] as const) {
    const move = { from, set, where: 'c.seq = ANY ($1::bigint[])', params };
    await moveChanges(session, move, draft, { now, paused: false });
  }
}

function arrivedOrNot({ entityType, entityId }: Doubtful, now: number): Failure {
  const message = `It left for the server more than ${SYNC_LIMITS.idDays} days ago, no answer came, and the server has no ${entityType} "${entityId}": it never arrived, or was deleted there since. Retry sends it; Discard gives it up.`;
  return { stage: 'push', kind: 'permanent', code: 'IN_DOUBT_TOO_LONG', message, at: now };
}
