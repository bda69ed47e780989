// Chooses what is pushed next: changes in `seq` order, transactions whole, nothing behind a change of its lane that the
// server refused. What was inserted and deleted again before any of it left is not sent at all.
import type { JsonObject, Operation } from '../protocol/changes.ts';
import { type PushedChange, SYNC_LIMITS } from '../protocol/sync.ts';
import { type Rebased, isPushStage, laneOf } from '../db/change-row.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import type { Parameter, Session } from '../db/database.ts';
import { type EntityName, effectOf } from '../db/entity-bases.ts';
import type { EntityTypes } from '../db/entity-types.ts';
import { moveChanges } from '../db/move-changes.ts';

export interface PushContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly draft: CommitDraft;
  readonly now: number;
  /** Entity types that stay on this machine. */
  readonly localOnly: readonly string[];
  /** Changes the server refused or that conflict: while there are none, nothing is looked for. */
  readonly stuck: number;
  readonly inDoubt: ReadonlySet<number>;
  /** Under way already. */
  readonly inFlight: ReadonlySet<number>;
}

export interface QueuedChange {
  readonly seq: number;
  readonly id: string;
  readonly entityType: string;
  readonly entityId: string;
  readonly operation: Operation;
  readonly data: JsonObject | null;
  readonly previous: JsonObject | null;
  readonly result: JsonObject | null;
  readonly rebased: Rebased | null;
  readonly timestamp: number;
  readonly transactionId: string | null;
  readonly attempts: number;
  readonly baseVersion: number;
  readonly baseTimestamp: number;
  readonly bytes: number;
  /** It has left before, and no answer came. */
  readonly wasInDoubt: boolean;
}

export interface PushBatch {
  readonly queued: readonly QueuedChange[];
  /** At the same indexes. */
  readonly changes: readonly PushedChange[];
  /** Nothing that may go waits up to here. */
  readonly upTo: number;
  /** Entities whose waiting changes were cancelled out: they are as the server has them. */
  readonly cancelled: readonly EntityName[];
  /** There was more than this batch took, or something was settled that lets more go. */
  readonly more: boolean;
}

const BATCH_BYTES = 3 * 1024 * 1024;

/** A list of values, because names would be half of what crosses; read by {@link toQueued}. */
const QUEUED = `json_build_array(c.seq, c.id, c.entity_type, c.entity_id, c.operation, c.data,
  CASE WHEN c.operation = 'insert' THEN NULL ELSE c.previous END, c.result, c.rebased, c.timestamp, c.transaction_id,
  c.attempts, coalesce(pg_column_size(c.data), 0), coalesce(c.base_version, b.version, 0),
  coalesce(c.base_timestamp, b.timestamp, 0))`;

const WITH_BASE = `LEFT JOIN LATERAL (SELECT version, timestamp FROM local_data.entity_bases b
  WHERE b.entity_type = c.entity_type AND b.entity_id = c.entity_id OFFSET 0) b ON true`;

async function readQueued(
  { session, inDoubt }: PushContext,
  condition: string,
  params: readonly Parameter[],
  limit?: number,
): Promise<QueuedChange[]> {
  const rows = await session.runList<QueuedRow>(
    `SELECT json_agg(${QUEUED} ORDER BY c.seq) AS rows
     FROM (SELECT * FROM local_changes l WHERE ${condition} ORDER BY l.seq ${limit === undefined ? '' : `LIMIT ${limit}`}) c
     ${WITH_BASE}`,
    params,
  );
  return rows.map((row) => toQueued(row, inDoubt));
}

type QueuedRow = readonly [
  seq: number,
  id: string,
  entityType: string,
  entityId: string,
  operation: Operation,
  data: JsonObject | null,
  previous: JsonObject | null,
  result: JsonObject | null,
  rebased: Rebased | null,
  timestamp: number,
  transactionId: string | null,
  attempts: number,
  bytes: number,
  baseVersion: number,
  baseTimestamp: number,
];

function toQueued(row: QueuedRow, inDoubt: ReadonlySet<number>): QueuedChange {
  const [seq, id, entityType, entityId, operation, data, previous, result, rebased, timestamp, transactionId, ...rest] =
    row;
  const [attempts, bytes, baseVersion, baseTimestamp] = rest;
  const change = {
    seq,
    id,
    entityType,
    entityId,
    operation,
    data,
    previous,
    result,
    rebased,
    timestamp,
    transactionId,
  };
  return { ...change, attempts, bytes, baseVersion, baseTimestamp, wasInDoubt: inDoubt.has(seq) };
}

/** Within the caller's transaction, because holding and cancelling out write. */
export async function takePushBatch(context: PushContext, after: number, limit: number): Promise<PushBatch> {
  const { localOnly, now } = context;
  const read = await readQueued(
    context,
    `l.seq > $1 AND l.status = 'applied' AND l.origin <> 'remote'
       AND NOT l.entity_type IN (SELECT jsonb_array_elements_text($2::jsonb))`,
    [after, JSON.stringify(localOnly)],
    limit + context.inFlight.size,
  );
  const first = read.filter(({ seq }) => !context.inFlight.has(seq)).slice(0, limit);
  const due = context.stuck === 0 ? [] : await dueAgain(context, now, limit);
  const bounded = boundBytes([...due, ...first].sort((a, b) => a.seq - b.seq));
  const upTo = bounded.at(-1)?.seq ?? after;
  const whole = (await completeTransactions(context, bounded)).filter(({ seq }) => !context.inFlight.has(seq));
  const going = context.stuck === 0 ? whole : await holdBehindStuck(context, whole);
  const { kept: queued, cancelled } = await cancelOut(context, going);
  return {
    queued,
    changes: toPushed(queued, context.entityTypes),
    upTo,
    cancelled,
    more:
      first.length === limit || bounded.length < first.length || cancelled.length > 0 || queued.length < whole.length,
  };
}

/** Refused by something that passes: their time has come. */
async function dueAgain(context: PushContext, now: number, limit: number): Promise<QueuedChange[]> {
  const condition = `l.status = 'retrying' AND ${isPushStage('l')} AND l.next_attempt_at <= $1`;
  return readQueued(context, condition, [now], limit);
}

function boundBytes(changes: readonly QueuedChange[]): QueuedChange[] {
  let bytes = 0;
  const end = changes.findIndex((change) => (bytes += 2 * change.bytes) > BATCH_BYTES);
  return end <= 0 ? [...changes.slice(0, end === 0 ? 1 : undefined)] : changes.slice(0, end);
}

/** A batch's edge must not cut a transaction; one that is larger than a push goes in pieces. */
async function completeTransactions(context: PushContext, changes: readonly QueuedChange[]): Promise<QueuedChange[]> {
  const ids = new Set(changes.map((change) => change.transactionId).filter((id) => id !== null));
  const last = changes.at(-1)?.transactionId ?? null;
  if (ids.size === 0) return [...changes];
  const members = await readQueued(
    context,
    `l.transaction_id IN (SELECT jsonb_array_elements_text($1::jsonb)) AND l.origin <> 'remote' AND l.status = 'applied' AND l.seq > $2`,
    [JSON.stringify([...ids]), changes.at(-1)?.seq ?? 0],
  );
  if (members.length === 0) return [...changes];
  const all = [...changes, ...members].sort((a, b) => a.seq - b.seq);
  if (all.length <= SYNC_LIMITS.changes) return all;
  const withoutLast = changes.filter((change) => change.transactionId !== last);
  if (withoutLast.length > 0) return withoutLast;
  // Too large to go as one: this piece is sent by itself, and says so by having no transaction.
  return changes.map((change) => ({ ...change, transactionId: null }));
}

/** Nothing overtakes a change of its lane, or of what it belongs to, that the server has not taken. */
async function holdBehindStuck(context: PushContext, changes: readonly QueuedChange[]): Promise<QueuedChange[]> {
  if (changes.length === 0) return [];
  const { session, draft, now } = context;
  const inBatch = new Set(changes.map((change) => change.seq));
  const behind = await session.run<{ seq: number; head: number }>(
    `SELECT b.seq, s.seq AS head FROM jsonb_to_recordset($1::jsonb) AS b(seq bigint, t text, e text)
     CROSS JOIN LATERAL (
       SELECT w.seq FROM local_changes w WHERE w.entity_type = b.t AND w.entity_id = b.e AND w.seq < b.seq
         AND w.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${isPushStage('w')}
       ORDER BY w.seq LIMIT 1) s`,
    [JSON.stringify(changes.map(({ seq, entityType, entityId }) => ({ seq, t: entityType, e: entityId })))],
  );
  const heads = new Map(behind.filter(({ head }) => !inBatch.has(head)).map(({ seq, head }) => [seq, head]));
  for (const [seq, head] of await stuckParents(context, changes, inBatch)) if (!heads.has(seq)) heads.set(seq, head);
  for (const [seq, head] of await stuckMembers(context, changes, inBatch)) if (!heads.has(seq)) heads.set(seq, head);
  if (heads.size === 0) return [...changes];
  spreadHolds(changes, heads, context.entityTypes);
  await moveChanges(
    session,
    {
      from: 'applied',
      set: 'blocked_by = h.h',
      using: 'jsonb_to_recordset($1::jsonb) AS h(s bigint, h bigint)',
      where: 'c.seq = h.s',
      params: [JSON.stringify([...heads].map(([s, h]) => ({ s, h })))],
    },
    draft,
    { now, paused: false },
  );
  return changes.filter((change) => !heads.has(change.seq));
}

/** What is held in a batch holds what in the same batch is behind it: its lane, its transaction, and who refers to it. */
function spreadHolds(changes: readonly QueuedChange[], heads: Map<number, number>, entityTypes: EntityTypes): void {
  const transactions = new Map<string, number>();
  for (let before = -1; before !== heads.size;) {
    before = heads.size;
    const lanes = new Map<string, number>();
    const inserts = new Map<string, number>();
    for (const change of changes) {
      const { seq, transactionId, operation } = change;
      const parent = parentsOf(change, entityTypes).find((one) => inserts.has(laneOf(one)));
      const head =
        heads.get(seq) ??
        lanes.get(laneOf(change)) ??
        transactions.get(transactionId ?? '') ??
        (parent === undefined ? undefined : inserts.get(laneOf(parent)));
      if (head === undefined) continue;
      heads.set(seq, head);
      lanes.set(laneOf(change), head);
      if (operation === 'insert') inserts.set(laneOf(change), head);
      if (transactionId !== null) transactions.set(transactionId, head);
    }
  }
}

/** Changes that refer to an entity whose insert the server has not taken: they would be orphans there. */
async function stuckParents(
  { session, entityTypes }: PushContext,
  changes: readonly QueuedChange[],
  inBatch: ReadonlySet<number>,
): Promise<Map<number, number>> {
  const references = changes.flatMap((change) =>
    parentsOf(change, entityTypes).map((parent) => ({ seq: change.seq, t: parent.entityType, e: parent.entityId })),
  );
  if (references.length === 0) return new Map();
  const rows = await session.run<{ seq: number; head: number }>(
    `SELECT b.seq, w.seq AS head FROM jsonb_to_recordset($1::jsonb) AS b(seq bigint, t text, e text)
     JOIN local_changes w ON w.entity_type = b.t AND w.entity_id = b.e AND w.operation = 'insert'
       AND w.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${isPushStage('w')}`,
    [JSON.stringify(references)],
  );
  return new Map(rows.filter(({ head }) => !inBatch.has(head)).map(({ seq, head }) => [seq, head]));
}

/** Members of a transaction of which another member was not taken. */
async function stuckMembers(
  { session }: PushContext,
  changes: readonly QueuedChange[],
  inBatch: ReadonlySet<number>,
): Promise<Map<number, number>> {
  const ids = new Set(changes.map(({ transactionId }) => transactionId).filter((id) => id !== null));
  if (ids.size === 0) return new Map();
  const rows = await session.run<{ transaction_id: string; head: number }>(
    `SELECT w.transaction_id, min(w.seq) AS head FROM local_changes w
     WHERE w.transaction_id IN (SELECT jsonb_array_elements_text($1::jsonb)) AND NOT w.seq = ANY($2::bigint[])
       AND w.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND ${isPushStage('w')} GROUP BY w.transaction_id`,
    [JSON.stringify([...ids]), `{${[...inBatch].join(',')}}`],
  );
  const heads = new Map(rows.map((row) => [row.transaction_id, row.head]));
  return new Map(
    changes.flatMap(({ seq, transactionId }): [number, number][] => {
      const head = transactionId === null ? undefined : heads.get(transactionId);
      return head === undefined ? [] : [[seq, head]];
    }),
  );
}

function parentsOf(
  change: QueuedChange,
  entityTypes: EntityTypes,
): { readonly entityType: string; readonly entityId: string }[] {
  const type = entityTypes.get(change.entityType);
  if (type === undefined || change.operation === 'delete') return [];
  const { data } = effectOf(change);
  return type.foreignKeys.flatMap((foreignKey) => {
    const [column] = foreignKey.columns;
    const value = column === undefined ? undefined : data?.[column];
    const parent = entityTypes.byTable(foreignKey.referencedTable);
    if (parent === undefined || value === undefined || value === null) return [];
    return [{ entityType: parent.entityType, entityId: String(value) }];
  });
}

/** Lanes that begin with an insert, end with a delete, and of which nothing has ever left. */
async function cancelOut(
  context: PushContext,
  changes: readonly QueuedChange[],
): Promise<{ readonly kept: QueuedChange[]; readonly cancelled: EntityName[] }> {
  const lanes = Map.groupBy(
    changes.filter((change) => change.transactionId === null || isWholeLaneAlone(change, changes)),
    laneOf,
  );
  const gone: number[] = [];
  const names: EntityName[] = [];
  for (const lane of lanes.values()) {
    const [first] = lane;
    const isCancelled =
      lane.length > 1 &&
      first?.operation === 'insert' &&
      first.baseVersion === 0 &&
      lane.at(-1)?.operation === 'delete';
    if (!isCancelled || lane.some(({ wasInDoubt }) => wasInDoubt)) continue;
    gone.push(...lane.map(({ seq }) => seq));
    names.push({ entityType: first.entityType, entityId: first.entityId });
  }
  if (gone.length === 0) return { kept: [...changes], cancelled: [] };
  await moveChanges(
    context.session,
    {
      from: 'applied',
      set: `processed_sync = true, note = 'cancelled out: it was never sent'`,
      where: 'c.seq = ANY($1::bigint[])',
      params: [`{${gone.join(',')}}`],
    },
    context.draft,
    { now: context.now, paused: false },
  );
  const cancelled = new Set(gone);
  return { kept: changes.filter(({ seq }) => !cancelled.has(seq)), cancelled: names };
}

/** A member of a larger transaction is sent with the others; a statement that stands for itself may be cancelled out. */
function isWholeLaneAlone(change: QueuedChange, changes: readonly QueuedChange[]): boolean {
  return changes.filter((other) => other.transactionId === change.transactionId).length === 1;
}

function toPushed(changes: readonly QueuedChange[], entityTypes: EntityTypes): PushedChange[] {
  const clocks = new Map<string, number>();
  return changes.map((change) => {
    const { id, entityType, entityId, transactionId, baseVersion } = change;
    const { operation, data } = effectOf(change);
    const lane = laneOf(change);
    // Later than what it was made on, whatever the clock on the wall said.
    const timestamp = Math.max(change.timestamp, change.baseTimestamp + 1, (clocks.get(lane) ?? -1) + 1);
    clocks.set(lane, timestamp);
    return {
      id,
      entityType,
      entityId,
      operation,
      data: withoutGenerated(entityType, data, entityTypes),
      baseVersion,
      timestamp,
      transactionId,
    };
  });
}

function withoutGenerated(entityType: string, data: JsonObject | null, entityTypes: EntityTypes): JsonObject | null {
  const type = entityTypes.get(entityType);
  if (data === null || type === undefined || type.kind === 'document') return data;
  const generated = type.columns.filter((column) => column.generated && column.name !== type.key);
  if (generated.length === 0) return data;
  const names = new Set(generated.map((column) => column.name));
  return Object.fromEntries(Object.entries(data).filter(([name]) => !names.has(name)));
}
