// What a change is, on every side of every boundary.
import type { Conflict } from './sync-state.ts';

export const OPERATIONS = ['insert', 'update', 'delete'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** Where a change came from: an API call, captured plain SQL, or the server. */
export type ChangeOrigin = 'local' | 'sql' | 'remote';

export const CHANGE_STATUSES = [
  'pending',
  'retrying',
  'failed',
  'conflicted',
  'blocked',
  'applied',
  'synced',
  'discarded',
] as const;
export type ChangeStatus = (typeof CHANGE_STATUSES)[number];

/** Statuses of changes that are not done: they wait for the processor or for a person. */
export const WAITING_STATUSES = [
  'pending',
  'retrying',
  'failed',
  'conflicted',
  'blocked',
] as const satisfies readonly ChangeStatus[];

export function isWaiting({ status }: { readonly status: ChangeStatus }): boolean {
  return WAITING_STATUSES.some((waiting) => waiting === status);
}

/** A JSON value; int8 and numeric travel as strings, timestamps as UTC ISO with microseconds, bytea as base64. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

/** An entity: a row with its columns' names, or a document with the key in it. */
export type Entity = JsonObject;

/** Why the last attempt did not succeed. */
export interface Failure {
  /** `pull`: a remote change that could not be applied here. */
  readonly stage: 'local' | 'push' | 'pull';
  /** `permanent` needs a person, `transient` is retried by itself, `blocked` waits for another change. */
  readonly kind: 'permanent' | 'transient' | 'blocked';
  /** SQLSTATE such as `23503`, or one of the engine's own codes such as `UNKNOWN_COLUMN`. */
  readonly code: string;
  readonly message: string;
  readonly constraint?: string;
  readonly table?: string;
  readonly column?: string;
  readonly detail?: string;
  /** The entity whose appearance lets this change through (a missing parent). */
  readonly awaits?: { readonly entityType: string; readonly entityId: string };
  /** Milliseconds since epoch. */
  readonly at: number;
}

/** A row of `local_changes` as the face gives it. */
export interface Change {
  readonly id: string;
  /** Order of recording; ascending, given by the database, may have gaps. */
  readonly seq: number;
  readonly entityType: string;
  readonly entityId: string;
  readonly operation: Operation;
  /** Whole entity for insert, patch for update, null for delete. */
  readonly data: JsonObject | null;
  /** Milliseconds since epoch; for people, never for order. */
  readonly timestamp: number;
  readonly processedLocal: boolean;
  readonly processedSync: boolean;
  readonly error: string | null;
  /** Attempts of the present stage spent so far. */
  readonly attempts: number;
  readonly status: ChangeStatus;
  /** Why it is not done, in a person's words; null when it is done. */
  readonly reason: string | null;
  readonly origin: ChangeOrigin;
  readonly transactionId: string | null;
  /** Groups the changes of one import; null for others. */
  readonly label: string | null;
  /** The entity before this change took effect; null when there was none or it has not been applied. */
  readonly previous: JsonObject | null;
  /** The entity after it took effect, with defaults, generated columns and triggers; null for deletes and before. */
  readonly result: JsonObject | null;
  readonly failure: Failure | null;
  /** `seq` of the change this one waits for. */
  readonly blockedBy: number | null;
  readonly nextAttemptAt: number | null;
  readonly appliedAt: number | null;
  readonly discardedAt: number | null;
  /** `push` while a server is configured that has not accepted it. */
  readonly awaiting: 'push' | null;
  /** The version the server gave it; for remote changes the one they came with. */
  readonly acceptedVersion: number | null;
  readonly acceptedAt: number | null;
  /** What the server had instead, and what became of it; null when there was no conflict. */
  readonly conflict: Conflict | null;
  /** Who wrote a remote change; null for those made here. */
  readonly clientId: string | null;
  /** What became of a change that was not sent, such as "cancelled out". */
  readonly note: string | null;
}

/** What a person or program asks to be recorded. */
export interface ChangeInput {
  readonly entityType: string;
  readonly entityId: string;
  readonly operation: Operation;
  readonly data?: JsonObject | null;
}

export type ChangeCounts = Readonly<Record<ChangeStatus, number>>;

/** Which changes; absent fields match all. */
export interface ChangeFilter {
  readonly status?: ChangeStatus | readonly ChangeStatus[];
  readonly entityType?: string;
  readonly entityId?: string;
  readonly label?: string;
}

export interface ListChangesOptions extends ChangeFilter {
  /** Default 100, at most 1,000. */
  readonly limit?: number;
  /** Default `asc` (oldest first). */
  readonly order?: 'asc' | 'desc';
  /** The `next` of the page before. */
  readonly after?: number;
}

export interface ChangePage {
  readonly changes: Change[];
  /** Pass as `after` for the next page; null at the end. */
  readonly next: number | null;
}

/** That an entity has changes which are not done: the one that a person would want to see first. */
export interface EntityMark {
  readonly entityId: string;
  readonly changeId: string;
  readonly status: ChangeStatus;
  readonly reason: string | null;
}

export function matchesFilter(change: Change, filter: ChangeFilter): boolean {
  const { status, entityType, entityId, label } = filter;
  if (status !== undefined && !(typeof status === 'string' ? [status] : status).includes(change.status)) return false;
  if (entityType !== undefined && entityType !== change.entityType) return false;
  if (entityId !== undefined && entityId !== change.entityId) return false;
  return label === undefined || label === change.label;
}

export function noChanges(): Record<ChangeStatus, number> {
  return { pending: 0, retrying: 0, failed: 0, conflicted: 0, blocked: 0, applied: 0, synced: 0, discarded: 0 };
}
