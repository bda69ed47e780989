// Rows of `local_changes` as changes. The status comes from the table's generated column alone; the reason from here alone.
import type { Conflict } from '../protocol/sync-state.ts';
import type { Change, ChangeOrigin, ChangeStatus, Failure, JsonObject, Operation } from '../protocol/changes.ts';

export interface ChangeRow {
  readonly [column: string]: unknown;
  readonly id: string;
  readonly seq: number;
  readonly entity_type: string;
  readonly entity_id: string;
  readonly operation: Operation;
  readonly data: JsonObject | null;
  readonly timestamp: number;
  readonly processed_local: boolean;
  readonly processed_sync: boolean;
  readonly error: string | null;
  readonly attempts: number;
  readonly status: ChangeStatus;
  readonly origin: ChangeOrigin;
  readonly transaction_id: string | null;
  readonly label: string | null;
  readonly previous: JsonObject | null;
  readonly result: JsonObject | null;
  readonly failure: Failure | null;
  readonly blocked_by: number | null;
  readonly next_attempt_at: number | null;
  readonly applied_at: number | null;
  readonly discarded_at: number | null;
  readonly base_version: number | null;
  readonly rebased: Rebased | null;
  readonly conflict: Conflict | null;
  readonly accepted_version: number | null;
  readonly accepted_at: number | null;
  readonly client_id: string | null;
  readonly note: string | null;
}

/** What a resolved conflict has a change say instead of its `data`. */
export interface Rebased {
  readonly operation: Operation;
  readonly data: JsonObject | null;
  /** Fields that an update takes out of a document. */
  readonly removed?: string[];
}

/** Not applied here yet. */
export function isLocalStage(alias: string): string {
  return `NOT ${alias}.processed_local AND NOT ${alias}.processed_sync`;
}

/** Applied here, and not yet accepted by a server. */
export function isPushStage(alias: string): string {
  return `${alias}.processed_local AND NOT ${alias}.processed_sync`;
}

const LIGHT_COLUMNS = [
  'id',
  'seq',
  'entity_type',
  'entity_id',
  'operation',
  'data',
  'timestamp',
  'processed_local',
  'processed_sync',
  'error',
  'attempts',
  'status',
  'origin',
  'transaction_id',
  'label',
  'failure',
  'blocked_by',
  'next_attempt_at',
  'applied_at',
  'discarded_at',
  'base_version',
  'rebased',
  'conflict',
  'accepted_version',
  'accepted_at',
  'client_id',
  'note',
] as const;

/** Select list without the entity before and after, which events leave out. */
export function lightColumns(alias: string): string {
  return LIGHT_COLUMNS.map((column) => `${alias}.${column}`).join(', ');
}

/** What all pending changes have in common. */
const PENDING = {
  status: 'pending',
  processed_local: false,
  processed_sync: false,
  error: null,
  failure: null,
  blocked_by: null,
  next_attempt_at: null,
  applied_at: null,
  discarded_at: null,
  previous: null,
  result: null,
  base_version: null,
  rebased: null,
  conflict: null,
  accepted_version: null,
  accepted_at: null,
  client_id: null,
  note: null,
} as const satisfies Partial<ChangeRow>;

/** The columns in which pending changes differ; the rest is {@link PENDING}. Half the bytes of a batch. */
const PENDING_COLUMNS = LIGHT_COLUMNS.filter((column) => !(column in PENDING));

export function pendingColumns(alias: string): string {
  return PENDING_COLUMNS.map((column) => `${alias}.${column}`).join(', ');
}

/** A pending change from the values of {@link pendingColumns}, in their order. */
export function pendingRow(values: readonly unknown[]): ChangeRow {
  const row: Record<string, unknown> = { ...PENDING };
  for (const [index, column] of PENDING_COLUMNS.entries()) row[column] = values[index];
  // The one place that trusts the columns of its own select list.
  return row as unknown as ChangeRow;
}

/** Select list with the entity before and after; an absent `result` of an applied change is what `data` says. */
export function allColumns(alias: string): string {
  const applied = `${alias}.result IS NULL AND ${alias}.processed_local`;
  return `${lightColumns(alias)}, ${alias}.previous, CASE
    WHEN ${applied} AND ${alias}.operation = 'insert' THEN ${alias}.data
    WHEN ${applied} AND ${alias}.operation = 'update' THEN ${alias}.previous || ${alias}.data
    ELSE ${alias}.result END AS result`;
}

export interface ReasonContext {
  /** Milliseconds since epoch. */
  readonly now: number;
  readonly paused: boolean;
  /** Set when there is a server: why what waits for it waits, and which types stay here. */
  readonly push?: { readonly reason: string; readonly isLocalOnly: (entityType: string) => boolean } | undefined;
}

function isAwaitingPush(row: ChangeRow, { push }: ReasonContext): boolean {
  if (push === undefined || row.origin === 'remote' || push.isLocalOnly(row.entity_type)) return false;
  return row.processed_local && !row.processed_sync && row.discarded_at === null;
}

export function toChange(row: ChangeRow, context: ReasonContext): Change {
  const change = {
    id: row.id,
    seq: row.seq,
    entityType: row.entity_type,
    entityId: row.entity_id,
    operation: row.operation,
    data: row.data,
    timestamp: row.timestamp,
    processedLocal: row.processed_local,
    processedSync: row.processed_sync,
    error: row.error,
    attempts: row.attempts,
    status: row.status,
    origin: row.origin,
    transactionId: row.transaction_id,
    label: row.label,
    previous: row.previous ?? null,
    result: row.result ?? null,
    failure: row.failure,
    blockedBy: row.blocked_by,
    nextAttemptAt: row.next_attempt_at,
    appliedAt: row.applied_at,
    discardedAt: row.discarded_at,
    awaiting: isAwaitingPush(row, context) ? ('push' as const) : null,
    acceptedVersion: row.accepted_version,
    acceptedAt: row.accepted_at,
    conflict: row.conflict,
    clientId: row.client_id,
    note: row.note,
  };
  return { ...change, reason: reasonFor(change, context) };
}

type WithoutReason = Omit<Change, 'reason'>;

/** Why a change is not done, for a person; null when it is. */
export function reasonFor(change: WithoutReason, { now, paused, push }: ReasonContext): string | null {
  switch (change.status) {
    case 'pending':
      return paused ? 'paused' : 'waits for its turn';
    case 'retrying':
      return `next try in ${describeWait((change.nextAttemptAt ?? now) - now)}`;
    case 'failed':
    case 'conflicted':
      return change.error;
    case 'blocked':
      return blockedReason(change);
    case 'applied':
      return change.awaiting === 'push' && push !== undefined ? push.reason : null;
    case 'synced':
      return change.note;
    case 'discarded':
      return null;
  }
}

function blockedReason(change: WithoutReason): string {
  const awaits = change.failure?.awaits;
  if (awaits !== undefined) {
    return `waits for change ${change.blockedBy}, which creates ${awaits.entityType} ${awaits.entityId}`;
  }
  // Written down by who holds it, where that is not its own lane.
  if (change.failure?.code === 'HELD') return change.failure.message;
  return `waits for change ${change.blockedBy} of the same ${change.entityType}`;
}

function describeWait(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1_000));
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}

export function laneOf(change: { readonly entityType: string; readonly entityId: string }): string {
  return `${change.entityType}\u0000${change.entityId}`;
}
