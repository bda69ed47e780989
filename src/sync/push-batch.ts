// Chooses what is pushed next: changes in `seq` order, transactions whole, nothing behind a change of its lane that the
// server refused, and nothing that stays on this machine. What was inserted and deleted again before any of it left is not
// sent at all.
import type { JsonObject, Operation } from '../protocol/changes.ts';
import { type PushedChange, SYNC_LIMITS } from '../protocol/sync.ts';
import { releaseBlocked } from '../db/apply-changes.ts';
import { type Rebased, isPushStage, laneOf } from '../db/change-row.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import type { Parameter, Session } from '../db/database.ts';
import { type EntityName, effectOf } from '../db/entity-bases.ts';
import type { EntityTypes } from '../db/entity-types.ts';
import { moveChanges } from '../db/move-changes.ts';
import { asArray } from '../db/sql-values.ts';
import { IN_PIECES } from '../db/transaction-units.ts';
import { holdBehindStuck, parentsOf } from './hold-changes.ts';
import { failPush } from './settle-push.ts';

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
  readonly limits: PushLimits;
}

/** What one push may hold; a transaction that is larger goes in pieces. */
export interface PushLimits {
  readonly changes: number;
  /** Of the changes as JSON. */
  readonly bytes: number;
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
  /** Null also where the transaction is too large to be sent as one. */
  readonly transactionId: string | null;
  readonly attempts: number;
  readonly baseVersion: number;
  readonly baseTimestamp: number;
  /** As far as the feed or a snapshot has told, whatever the change was made on. */
  readonly isOnServer: boolean;
  /** Of everything that was read of it. */
  readonly bytes: number;
  /** It has left before, and no answer came. */
  readonly wasInDoubt: boolean;
}

export interface PushBatch {
  readonly queued: readonly QueuedChange[];
  /** At the same indexes. */
  readonly changes: readonly PushedChange[];
  /** Transactions, and changes that stand for themselves. */
  readonly units: number;
  /** Nothing that may go waits up to here. */
  readonly upTo: number;
  /** Entities whose waiting changes were cancelled out: they are as the server has them. */
  readonly cancelled: readonly EntityName[];
  /** There was more than this batch took, or something was settled that lets more go. */
  readonly more: boolean;
}

/** Of what is read of the queue at once, so that memory stays bounded whatever waits. */
const READ_BYTES = 16 * 1024 * 1024;
/** Of a pushed change beside its data. */
const ENVELOPE_BYTES = 400;

/** A list of values, because names would be half of what crosses; read by {@link toQueued}. */
const QUEUED = `json_build_array(c.seq, c.id, c.entity_type, c.entity_id, c.operation, c.data,
  CASE WHEN c.operation = 'insert' THEN NULL ELSE c.previous END, c.result, c.rebased, c.timestamp, c.transaction_id,
  c.attempts, w.bytes, coalesce(c.base_version, b.version, 0), coalesce(c.base_timestamp, b.timestamp, 0),
  c.note IS NOT DISTINCT FROM '${IN_PIECES}', coalesce(NOT b.deleted, false))`;

const WITH_BASE = `LEFT JOIN LATERAL (SELECT version, timestamp, deleted FROM local_data.entity_bases b
  WHERE b.entity_type = c.entity_type AND b.entity_id = c.entity_id OFFSET 0) b ON true`;

/** Postgres compresses long values: those must be looked at as they will cross. */
function sizeOf(column: string): string {
  return `CASE WHEN ${column} IS NULL THEN 0 WHEN pg_column_size(${column}) < 2000 THEN pg_column_size(${column})
    ELSE octet_length(${column}::text) END`;
}

/** What may be sent and meets the condition, up to a number and, beyond the first, up to {@link READ_BYTES}. */
async function readQueued(
  { session, inDoubt, localOnly }: PushContext,
  condition: string,
  params: readonly Parameter[],
  limit: number,
): Promise<QueuedChange[]> {
  const rows = await session.runList<QueuedRow>(
    `SELECT json_agg(${QUEUED} ORDER BY c.seq) AS rows
     FROM (
       SELECT s.seq, s.bytes, sum(s.bytes) OVER (ORDER BY s.seq) - s.bytes AS before FROM (
         SELECT l.seq, ${sizeOf('l.data')} + ${sizeOf('l.previous')} + ${sizeOf('l.result')} AS bytes
         FROM local_changes l WHERE l.status = 'applied' AND l.origin <> 'remote' AND ${condition}
           AND NOT l.entity_type IN (SELECT jsonb_array_elements_text($1::jsonb))
         ORDER BY l.seq LIMIT ${limit}) s) w
     JOIN LATERAL (SELECT * FROM local_changes r WHERE r.seq = w.seq OFFSET 0) c ON w.before < ${READ_BYTES}
     ${WITH_BASE}`,
    [JSON.stringify(localOnly), ...params],
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
  isInPieces: boolean,
  isOnServer: boolean,
];

function toQueued(row: QueuedRow, inDoubt: ReadonlySet<number>): QueuedChange {
  const [seq, id, entityType, entityId, operation, data, previous, result, rebased, timestamp, transaction, ...rest] =
    row;
  const [attempts, bytes, baseVersion, baseTimestamp, isInPieces, isOnServer] = rest;
  const transactionId = isInPieces ? null : transaction;
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
  return { ...change, attempts, bytes, baseVersion, baseTimestamp, isOnServer, wasInDoubt: inDoubt.has(seq) };
}

/** Within the caller's transaction, because holding and cancelling out write. */
export async function takePushBatch(context: PushContext, after: number, limit: number): Promise<PushBatch> {
  const { inFlight } = context;
  const from = context.stuck === 0 ? after : Math.min(after, await releaseDue(context));
  // What is under way lies before `from` as a rule, and need not be read again to be left out.
  const asked = limit + [...inFlight].filter((seq) => seq > from).length;
  const read = await readQueued(context, 'l.seq > $2', [from], asked);
  const isCut = read.length === asked || read.reduce((bytes, change) => bytes + change.bytes, 0) >= READ_BYTES;
  const waiting = read.filter(({ seq }) => !inFlight.has(seq));
  const units = await wholeUnits(context, waiting);
  const fitting = fitUnits(units, { changes: Math.min(limit, context.limits.changes), bytes: context.limits.bytes });
  const whole = await inPieces(context, fitting);
  const taken = new Set(whole.map(({ seq }) => seq));
  const left = units.flat().find(({ seq }) => !taken.has(seq));
  const upTo = left === undefined ? Math.max(from, read.at(-1)?.seq ?? 0, ...taken) : left.seq - 1;
  const sendable = await refuseBeyondLimits(context, whole);
  const isFree = context.stuck === 0 && sendable.length === whole.length;
  const going = isFree ? whole : await holdBehindStuck(context, sendable);
  const { kept: queued, cancelled } = await cancelOut(context, going);
  return {
    queued,
    changes: toPushed(queued, context.entityTypes),
    units: unitsOf(queued).length,
    upTo,
    cancelled,
    more: isCut || left !== undefined || queued.length < whole.length,
  };
}

/**
 * Refused by something that passes: those whose time has come may go again, with all that waits behind them. Gives the
 * `seq` behind which the queue must be looked at.
 */
async function releaseDue({ session, draft, now }: PushContext): Promise<number> {
  // By a clock that stands before the failure nobody knows how long it has waited: it would wait beyond every cap.
  const isDue = `(c.next_attempt_at <= $1 OR (c.failure->>'at')::numeric > $1)`;
  const due = await session.run<{ seq: number }>(
    `SELECT c.seq FROM local_changes c WHERE c.status = 'retrying' AND ${isPushStage('c')} AND ${isDue}
     ORDER BY c.seq LIMIT ${SYNC_LIMITS.changes}`,
    [now],
  );
  const [first] = due;
  if (first === undefined) return Infinity;
  const seqs = due.map(({ seq }) => seq);
  const set = 'error = NULL, failure = NULL, next_attempt_at = NULL';
  const move = { from: 'retrying' as const, set, where: 'c.seq = ANY($1::bigint[])', params: [asArray(seqs)] };
  await moveChanges(session, move, draft, { now, paused: false });
  await releaseBlocked(session, seqs, draft, now);
  return first.seq - 1;
}

/** In the order of their first changes. */
function unitsOf(changes: readonly QueuedChange[]): QueuedChange[][] {
  const units: QueuedChange[][] = [];
  for (const change of changes) {
    const last = units.at(-1);
    if (change.transactionId !== null && last?.[0]?.transactionId === change.transactionId) last.push(change);
    else units.push([change]);
  }
  return units;
}

/** Members of a transaction are recorded together, so that only the edges of what was read can cut one. */
async function wholeUnits(context: PushContext, changes: readonly QueuedChange[]): Promise<QueuedChange[][]> {
  const [first] = changes;
  const last = changes.at(-1);
  if (first === undefined || last === undefined) return [];
  const cut = [first, last].flatMap(({ transactionId }) => (transactionId === null ? [] : [transactionId]));
  if (cut.length === 0) return unitsOf(changes);
  const members = await readQueued(
    context,
    'l.transaction_id IN (SELECT jsonb_array_elements_text($2::jsonb)) AND (l.seq < $3 OR l.seq > $4)',
    [JSON.stringify(cut), first.seq, last.seq],
    SYNC_LIMITS.changes + 1,
  );
  const missing = members.filter(({ seq }) => !context.inFlight.has(seq));
  return unitsOf([...changes, ...missing].sort((a, b) => a.seq - b.seq));
}

/** The first unit, and as many more as go with it. */
function fitUnits(units: readonly QueuedChange[][], limits: PushLimits): QueuedChange[][] {
  let changes = 0;
  let bytes = 0;
  const end = units.findIndex((unit, index) => {
    changes += unit.length;
    bytes += unit.reduce((sum, change) => sum + bytesOf(change), 0);
    return index > 0 && (changes > limits.changes || bytes > limits.bytes);
  });
  return units.slice(0, end === -1 ? undefined : end);
}

/** A transaction that is larger than a push goes in pieces, and says so. */
async function inPieces(context: PushContext, units: readonly QueuedChange[][]): Promise<QueuedChange[]> {
  const [first = []] = units;
  let bytes = 0;
  const { limits } = context;
  const end = first.findIndex((change, index) => {
    bytes += bytesOf(change);
    return index > 0 && (index >= limits.changes || bytes > limits.bytes);
  });
  if (end === -1) return units.flat();
  const { session, draft, now } = context;
  const where = 'c.transaction_id = $1 AND c.note IS NULL';
  const move = {
    from: 'applied' as const,
    set: 'note = $2',
    where,
    params: [first[0]?.transactionId ?? null, IN_PIECES],
  };
  await moveChanges(session, move, draft, { now, paused: false });
  return first.slice(0, end).map((change) => ({ ...change, transactionId: null }));
}

function bytesOf(change: QueuedChange): number {
  return Buffer.byteLength(JSON.stringify(effectOf(change).data)) + ENVELOPE_BYTES;
}

/** Whole or not at all: fields that were left out, because a change may take out no more, would come back unseen. */
async function refuseBeyondLimits(
  { session, draft, now }: PushContext,
  changes: readonly QueuedChange[],
): Promise<QueuedChange[]> {
  const refused = new Set<number>();
  for (const change of changes) {
    const removed = removedBy(change);
    if (removed <= SYNC_LIMITS.removed) continue;
    const message = `It takes ${removed} fields out of ${change.entityType} "${change.entityId}", and a change may take out ${SYNC_LIMITS.removed} at the most: it was not sent. Discard it, and take them out in several changes.`;
    const failure = { stage: 'push', kind: 'permanent', code: 'TOO_MANY_REMOVED', message, at: now } as const;
    await failPush({ session, draft, now }, change.seq, failure, 1);
    refused.add(change.seq);
  }
  return changes.filter(({ seq }) => !refused.has(seq));
}

/** How many fields it takes out of a document; looked at closely only where the document had more than a change may. */
function removedBy(change: QueuedChange): number {
  const { operation, previous, rebased } = change;
  if (rebased !== null) return rebased.removed?.length ?? 0;
  const had = operation === 'update' ? Object.keys(previous ?? {}).length : 0;
  return had <= SYNC_LIMITS.removed ? 0 : (effectOf(change).removed?.length ?? 0);
}

/** Lanes that begin with an insert, end with a delete, and of which nothing has ever left or has to go with others. */
async function cancelOut(
  context: PushContext,
  changes: readonly QueuedChange[],
): Promise<{ readonly kept: QueuedChange[]; readonly cancelled: EntityName[] }> {
  const members = Map.groupBy(changes, ({ transactionId }) => transactionId);
  // A member of a larger transaction is sent with the others; a statement that stands for itself may be cancelled out.
  const isAlone = ({ transactionId }: QueuedChange): boolean =>
    transactionId === null || members.get(transactionId)?.length === 1;
  const gone: number[] = [];
  const names: EntityName[] = [];
  for (const lane of Map.groupBy(changes, laneOf).values()) {
    const [first] = lane;
    const isCancelled =
      lane.length > 1 &&
      first?.operation === 'insert' &&
      first.baseVersion === 0 &&
      lane.at(-1)?.operation === 'delete';
    if (!isCancelled || !lane.every((change) => isAlone(change) && !change.wasInDoubt)) continue;
    // Where the server has the entity all the same, what it was here no longer matters, and that it was deleted does.
    const { isOnServer, entityType, entityId } = first;
    gone.push(...(isOnServer ? lane.slice(0, -1) : lane).map(({ seq }) => seq));
    if (!isOnServer) names.push({ entityType, entityId });
  }
  if (gone.length === 0) return { kept: [...changes], cancelled: [] };
  const { session, draft, now } = context;
  const move = {
    from: 'applied' as const,
    set: `processed_sync = true, note = 'cancelled out: it was never sent'`,
    where: 'c.seq = ANY($1::bigint[])',
    params: [asArray(gone)],
  };
  await moveChanges(session, move, draft, { now, paused: false });
  // It may have been refused before, and what waits for it since goes by itself now.
  await releaseBlocked(session, gone, draft, now);
  const cancelled = new Set(gone);
  return { kept: changes.filter(({ seq }) => !cancelled.has(seq)), cancelled: names };
}

function toPushed(changes: readonly QueuedChange[], entityTypes: EntityTypes): PushedChange[] {
  const clocks = new Map<string, number>();
  const inserts = new Map<string, QueuedChange>();
  return changes.map((change) => {
    const { id, entityType, entityId, transactionId, baseVersion } = change;
    const { operation, data, removed } = effectOf(change);
    const lane = laneOf(change);
    // Later than what it was made on, whatever the clock on the wall said.
    const timestamp = Math.max(change.timestamp, change.baseTimestamp + 1, (clocks.get(lane) ?? -1) + 1);
    clocks.set(lane, timestamp);
    const after = parentsInBatch(change, inserts, entityTypes);
    if (operation === 'insert') inserts.set(lane, change);
    return {
      id,
      entityType,
      entityId,
      operation,
      data: withoutGenerated(entityType, data, entityTypes),
      baseVersion,
      timestamp,
      transactionId,
      ...(removed === undefined ? {} : { removed }),
      ...(after.length === 0 ? {} : { after }),
    };
  });
}

/** Inserts of the same push without which the change would be an orphan; a transaction is whole in any case. */
function parentsInBatch(
  change: QueuedChange,
  inserts: ReadonlyMap<string, QueuedChange>,
  entityTypes: EntityTypes,
): string[] {
  const { transactionId } = change;
  const parents = parentsOf(change, entityTypes).flatMap((name) => inserts.get(laneOf(name)) ?? []);
  const others = parents.filter((parent) => transactionId === null || parent.transactionId !== transactionId);
  return [...new Set(others.map(({ id }) => id))].slice(0, SYNC_LIMITS.after);
}

function withoutGenerated(entityType: string, data: JsonObject | null, entityTypes: EntityTypes): JsonObject | null {
  const type = entityTypes.get(entityType);
  if (data === null || type === undefined || type.kind === 'document') return data;
  const generated = type.columns.filter((column) => column.generated && column.name !== type.key);
  if (generated.length === 0) return data;
  const names = new Set(generated.map((column) => column.name));
  return Object.fromEntries(Object.entries(data).filter(([name]) => !names.has(name)));
}
