// What one server allows; never more than the protocol does.
import { SYNC_LIMITS } from '../protocol/sync.ts';

export interface ServerLimits {
  /** Changes of a push, rows of a page. */
  readonly changes: number;
  /** Bytes of a request's body. */
  readonly bodyBytes: number;
  /** Bytes of one change's data. */
  readonly changeBytes: number;
  /** Bytes of one entity: patches can make it larger than any change. */
  readonly entityBytes: number;
  /** Bytes that the changes and entities of one transaction have together. */
  readonly transactionBytes: number;
  readonly waitSeconds: number;
  /** Requests a second of one token's holder, and how many may come at once. */
  readonly requestsPerSecond: number;
  readonly requestsAtOnce: number;
  /** Readers that wait at one time. */
  readonly waitingReaders: number;
  /** Milliseconds to receive a request, and for the validation hook. */
  readonly requestMs: number;
  readonly validateMs: number;
}

const MEGABYTE = 1024 * 1024;

/** A page holds this much, and then one more row or the rest of its transaction: what clients read at once is above both. */
export const PAGE_BYTES = 3 * MEGABYTE;
/** Entities that a push's conflicts give back. */
export const CONFLICT_BYTES = 6 * MEGABYTE;

const DEFAULTS: ServerLimits = {
  changes: SYNC_LIMITS.changes,
  bodyBytes: SYNC_LIMITS.bodyBytes,
  changeBytes: SYNC_LIMITS.changeBytes,
  entityBytes: 2 * MEGABYTE,
  // What a client sends of one transaction, 4 MiB, once as changes and once as the entities that they make.
  transactionBytes: 10 * MEGABYTE,
  waitSeconds: SYNC_LIMITS.waitSeconds,
  requestsPerSecond: 200,
  requestsAtOnce: 400,
  waitingReaders: 20_000,
  requestMs: 15_000,
  validateMs: 5_000,
};

const HIGHEST: Partial<ServerLimits> = {
  changes: SYNC_LIMITS.changes,
  bodyBytes: SYNC_LIMITS.bodyBytes,
  changeBytes: SYNC_LIMITS.changeBytes,
  entityBytes: DEFAULTS.entityBytes,
  transactionBytes: DEFAULTS.transactionBytes,
  waitSeconds: SYNC_LIMITS.waitSeconds,
};

export function completeLimits(wanted: Partial<ServerLimits> = {}): ServerLimits {
  const given = Object.entries(wanted).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    if (Number.isFinite(value) && value >= 0) continue;
    throw new TypeError(`limits.${name} is ${String(value)}; it must be a number that is not negative.`);
  }
  const limits: ServerLimits = { ...DEFAULTS, ...Object.fromEntries(given) };
  for (const [name, highest] of Object.entries(HIGHEST)) {
    const value = Object.entries(limits).find(([other]) => other === name)?.[1] ?? 0;
    if (value > highest) throw new TypeError(`limits.${name} is ${value}; the protocol allows ${highest} at most.`);
  }
  return limits;
}
