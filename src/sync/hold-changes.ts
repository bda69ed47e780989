// What must wait for a change that the server has not taken: the rest of its lane, of its transaction, and what refers to
// the entity it makes. Each says for what it waits.
import { isPushStage, laneOf } from '../db/change-row.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import type { Session } from '../db/database.ts';
import { effectOf } from '../db/entity-bases.ts';
import { type EntityTypes, columnOfKey } from '../db/entity-types.ts';
import { canonical } from '../db/failures.ts';
import { moveChanges } from '../db/move-changes.ts';
import type { PushContext, QueuedChange } from './push-batch.ts';

/** What a change waits for that the server has not taken. */
export interface Hold {
  readonly head: number;
  readonly because: 'lane' | 'transaction' | 'parent';
}

/** Nothing overtakes a change of its lane, or of what it belongs to, that the server has not taken. */
export async function holdBehindStuck(context: PushContext, changes: readonly QueuedChange[]): Promise<QueuedChange[]> {
  if (changes.length === 0) return [];
  const { session, draft, now } = context;
  const holds = new Map<number, Hold>();
  for (const found of [
    await stuckLanes(context, changes),
    await stuckParents(context, changes),
    await stuckMembers(context, changes),
  ]) {
    for (const [seq, hold] of found) if (!holds.has(seq)) holds.set(seq, hold);
  }
  if (holds.size === 0) return [...changes];
  spreadHolds(changes, holds, context.entityTypes);
  await hold(session, holds, draft, now);
  return changes.filter((change) => !holds.has(change.seq));
}

/** Writes down what waits, and for what. */
export async function hold(
  session: Session,
  holds: ReadonlyMap<number, Hold>,
  draft: CommitDraft,
  now: number,
): Promise<void> {
  const rows = [...holds].map(([seq, { head, because }]) => {
    const waits = { lane: '', transaction: ' of the same transaction', parent: ', which creates what it refers to' }[
      because
    ];
    const failure = {
      stage: 'push',
      kind: 'blocked',
      code: 'HELD',
      message: `waits for change ${head}${waits}`,
      at: now,
    };
    return { s: seq, h: head, f: because === 'lane' ? null : failure };
  });
  await moveChanges(
    session,
    {
      from: 'applied',
      set: `blocked_by = h.h, failure = NULLIF(h.f, 'null')`,
      using: 'jsonb_to_recordset($1::jsonb) AS h(s bigint, h bigint, f jsonb)',
      where: 'c.seq = h.s',
      params: [JSON.stringify(rows)],
    },
    draft,
    { now, paused: false },
  );
}

/** What is held in a batch holds what in the same batch is behind it: its lane, its transaction, and who refers to it. */
function spreadHolds(changes: readonly QueuedChange[], holds: Map<number, Hold>, entityTypes: EntityTypes): void {
  const transactions = new Map<string, number>();
  for (let before = -1; before !== holds.size;) {
    before = holds.size;
    const lanes = new Map<string, number>();
    const inserts = new Map<string, number>();
    for (const change of changes) {
      const { seq, transactionId, operation } = change;
      const parent = parentsOf(change, entityTypes).find((one) => inserts.has(laneOf(one)));
      const found =
        holds.get(seq) ??
        holdOf('lane', lanes.get(laneOf(change))) ??
        holdOf('transaction', transactions.get(transactionId ?? '')) ??
        holdOf('parent', parent === undefined ? undefined : inserts.get(laneOf(parent)));
      if (found === undefined) continue;
      holds.set(seq, found);
      lanes.set(laneOf(change), found.head);
      if (operation === 'insert') inserts.set(laneOf(change), found.head);
      if (transactionId !== null) transactions.set(transactionId, found.head);
    }
  }
}

function holdOf(because: Hold['because'], head: number | undefined): Hold | undefined {
  return head === undefined ? undefined : { head, because };
}

async function stuckLanes({ session }: PushContext, changes: readonly QueuedChange[]): Promise<Map<number, Hold>> {
  const behind = await session.run<{ seq: number; head: number }>(
    `SELECT b.seq, s.seq AS head FROM jsonb_to_recordset($1::jsonb) AS b(seq bigint, t text, e text)
     CROSS JOIN LATERAL (
       SELECT w.seq FROM local_changes w WHERE w.entity_type = b.t AND w.entity_id = b.e AND w.seq < b.seq
         AND w.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${isPushStage('w')}
       ORDER BY w.seq LIMIT 1) s`,
    [JSON.stringify(changes.map(({ seq, entityType, entityId }) => ({ seq, t: entityType, e: entityId })))],
  );
  return holdsOf(behind, 'lane');
}

function holdsOf(
  rows: readonly { readonly seq: number; readonly head: number }[],
  because: Hold['because'],
): Map<number, Hold> {
  return new Map(rows.map(({ seq, head }) => [seq, { head, because }]));
}

/**
 * Changes that refer to an entity whose insert the server has not taken: they would be orphans there. What stays here is
 * never there, and nothing waits for it.
 */
async function stuckParents(
  { session, entityTypes, localOnly }: PushContext,
  changes: readonly QueuedChange[],
): Promise<Map<number, Hold>> {
  const references = changes.flatMap((change) =>
    parentsOf(change, entityTypes).map((parent) => ({ seq: change.seq, t: parent.entityType, e: parent.entityId })),
  );
  if (references.length === 0) return new Map();
  const rows = await session.run<{ seq: number; head: number }>(
    `SELECT b.seq, w.seq AS head FROM jsonb_to_recordset($1::jsonb) AS b(seq bigint, t text, e text)
     JOIN local_changes w ON w.entity_type = b.t AND w.entity_id = b.e AND w.operation = 'insert'
       AND w.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${isPushStage('w')}
       AND NOT w.entity_type IN (SELECT jsonb_array_elements_text($2::jsonb))`,
    [JSON.stringify(references), JSON.stringify(localOnly)],
  );
  return holdsOf(rows, 'parent');
}

/** Members of a transaction of which another member that is to go was not taken. */
async function stuckMembers(
  { session, localOnly }: PushContext,
  changes: readonly QueuedChange[],
): Promise<Map<number, Hold>> {
  const ids = new Set(changes.map(({ transactionId }) => transactionId).filter((id) => id !== null));
  if (ids.size === 0) return new Map();
  const rows = await session.run<{ transaction_id: string; head: number }>(
    `SELECT w.transaction_id, min(w.seq) AS head FROM local_changes w
     WHERE w.transaction_id IN (SELECT jsonb_array_elements_text($1::jsonb))
       AND NOT w.entity_type IN (SELECT jsonb_array_elements_text($2::jsonb))
       AND w.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${isPushStage('w')} GROUP BY w.transaction_id`,
    [JSON.stringify([...ids]), JSON.stringify(localOnly)],
  );
  const heads = new Map(rows.map((row) => [row.transaction_id, row.head]));
  return new Map(
    changes.flatMap(({ seq, transactionId }): [number, Hold][] => {
      const head = transactionId === null ? undefined : heads.get(transactionId);
      return head === undefined ? [] : [[seq, { head, because: 'transaction' }]];
    }),
  );
}

export function parentsOf(
  change: QueuedChange,
  entityTypes: EntityTypes,
): { readonly entityType: string; readonly entityId: string }[] {
  const type = entityTypes.get(change.entityType);
  if (type === undefined || change.operation === 'delete') return [];
  const { data } = effectOf(change);
  return type.foreignKeys.flatMap((foreignKey) => {
    const parent = entityTypes.byTable(foreignKey.referencedTable);
    const column = parent === undefined ? undefined : columnOfKey(foreignKey, parent);
    const value = column === undefined ? undefined : data?.[column];
    if (parent === undefined || value === undefined || value === null) return [];
    return [{ entityType: parent.entityType, entityId: canonical(parent, String(value)) }];
  });
}
