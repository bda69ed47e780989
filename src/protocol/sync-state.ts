// What a person and a program see of synchronisation: its state, conflicts and how they are resolved, what a comparison
// with the server found, and the conditions a developer may put on the network. Plain data only; crosses the thread.
import type { Entity, JsonObject, JsonValue, Operation } from './changes.ts';

/**
 * `not-configured` no server; `connecting` asks the server who it is; `snapshot` receives all entities; `synced` nothing
 * waits; `syncing` changes are on their way; `offline` the server cannot be reached and is probed; `paused` a person works
 * offline; `sign-in-needed` the server wants another token; `needs-decision` the server is another than the one this
 * database belongs to, or lost its history; `stopped` the server's answers cannot be understood (see `reason`).
 */
export type SyncStatus =
  | 'not-configured'
  | 'connecting'
  | 'snapshot'
  | 'synced'
  | 'syncing'
  | 'offline'
  | 'paused'
  | 'sign-in-needed'
  | 'needs-decision'
  | 'stopped';

export interface SyncState {
  readonly status: SyncStatus;
  /** Why it is not in sync, in a person's words; null when it is, and without a server. */
  readonly reason: string | null;
  readonly server: SyncServer | null;
  /** Changes that have still to reach the server, without those that wait for a person. */
  readonly waiting: number;
  /** Changes the server refused, or that conflict and wait for a person. */
  readonly refused: number;
  readonly conflicts: number;
  /** Remote changes that could not be applied here. */
  readonly setAside: number;
  /** Entities that the server's earlier history had and its new one lacks: kept here, until a person decides. */
  readonly missing: number;
  /** Changes on the wire. */
  readonly inFlight: number;
  /** Changes acknowledged a second, over the last seconds; 0 when nothing moves. */
  readonly pushedPerSecond: number;
  /** The version of the space that the data here stands for; 0 before the first snapshot. */
  readonly version: number;
  /** Milliseconds since epoch of the last answer, of the last change accepted and of the last change received. */
  readonly lastAnswerAt: number | null;
  /** Milliseconds from a request that need not wait at the server to its answer, the last time. */
  readonly lastRoundTripMs: number | null;
  readonly lastPushAt: number | null;
  readonly lastPullAt: number | null;
  /** When the server is tried again, while it cannot be reached. */
  readonly nextTryAt: number | null;
  /** Entities of a snapshot so far. */
  readonly snapshot: { readonly received: number; readonly total: number } | null;
  readonly networkConditions: NetworkConditions | null;
}

export interface SyncServer {
  readonly url: string;
  readonly space: string;
  readonly epoch: string;
  /** Names this database to the server. */
  readonly clientId: string;
}

export const NO_SYNC: SyncState = {
  status: 'not-configured',
  reason: null,
  server: null,
  waiting: 0,
  refused: 0,
  conflicts: 0,
  setAside: 0,
  missing: 0,
  inFlight: 0,
  pushedPerSecond: 0,
  version: 0,
  lastAnswerAt: null,
  lastRoundTripMs: null,
  lastPushAt: null,
  lastPullAt: null,
  nextTryAt: null,
  snapshot: null,
  networkConditions: null,
};

export interface ConnectOptions {
  /** Such as `https://sync.example.org`; another scheme chooses a registered transport. */
  readonly url: string;
  /** Names the space and the rights; kept in memory only. */
  readonly token: string;
  /** The space; default the one the token names. */
  readonly space?: string;
  /**
   * What to do when the server has another history than this database (`SYNC_SERVER_CHANGED`), because it was reset or put
   * back to an earlier state: `start-anew` takes what the server has, and sends what it never had; of what it had before
   * and lacks now a person is asked ({@link SyncState.missing}). A backup is written first.
   */
  readonly onServerChanged?: 'refuse' | 'start-anew';
}

/** How two writes of the same field are settled; `merge` goes into objects and is the default. */
export const CONFLICT_POLICIES = ['merge', 'last-write-wins', 'local-wins', 'remote-wins', 'manual'] as const;
export type ConflictPolicy = (typeof CONFLICT_POLICIES)[number];

/** How an entity type takes part in synchronisation. */
export interface EntityTypeSync {
  /** False keeps it on this machine. Default true. */
  readonly sync?: boolean;
  /** Default `merge`. */
  readonly conflicts?: ConflictPolicy;
}

/** By entity type; `*` stands for all that are not named. */
export type SyncRules = Readonly<Record<string, EntityTypeSync>>;

/** One field that both sides wrote. */
export interface ConflictField {
  readonly base: JsonValue | null;
  readonly mine: JsonValue | null;
  readonly theirs: JsonValue | null;
  /** Who wrote it on the server, and when by its hybrid clock. */
  readonly theirClientId: string;
  readonly theirTimestamp: number;
}

/** What became of a conflict; kept with the change for good. */
export interface Conflict {
  /** Milliseconds since epoch. */
  readonly at: number;
  readonly policy: ConflictPolicy;
  /** The entity's version on the server. */
  readonly version: number;
  readonly operation: Operation;
  /** The entity before the change, as the change leaves it, and on the server; null where it is not there or deleted. */
  readonly base: Entity | null;
  readonly mine: Entity | null;
  readonly theirs: Entity | null;
  /** Fields both sides wrote; empty where a delete is on one side. */
  readonly fields: Readonly<Record<string, ConflictField>>;
  readonly resolution: ConflictResolution | null;
}

export interface ConflictResolution {
  readonly by: 'policy' | 'person';
  readonly outcome: 'mine' | 'theirs' | 'merged';
  readonly at: number;
  /** What of mine was given up, by field; what of theirs was overwritten. */
  readonly lost: { readonly mine: JsonObject; readonly theirs: JsonObject };
}

/** One side, or what is to hold: fields that are named in neither stay as the server has them. */
export type Resolve =
  | { readonly keep: 'mine' | 'theirs' }
  | {
      readonly data: JsonObject;
      /** Fields of a document that are to be gone; a table's columns stay. */
      readonly removed?: readonly string[];
    };

/** An entity that the server's earlier history had and its new one lacks. */
export interface MissingEntity {
  readonly entityType: string;
  readonly entityId: string;
}

/** Sent to the server as they are, or removed here. */
export const MISSING_DECISIONS = ['send', 'remove'] as const;
export type MissingDecision = (typeof MISSING_DECISIONS)[number];

/** One that could not be removed, and why; it stays, and so does the question. */
export interface RefusedMissing extends MissingEntity {
  readonly reason: string;
}

export interface MissingOutcome {
  readonly decided: number;
  /** The first 1,000. */
  readonly refused: RefusedMissing[];
}

/** When a change was what; milliseconds since epoch, null where not yet. */
export interface Receipt {
  readonly savedAt: number;
  readonly appliedAt: number | null;
  readonly acceptedAt: number | null;
  /** The version the server gave it. */
  readonly acceptedVersion: number | null;
  readonly seenInFeedAt: number | null;
}

export interface VerifyDifference {
  readonly entityType: string;
  readonly entityId: string;
  /**
   * By what is known here of the server: it is not known here, it is not there, it is another. `not-as-base`: that is right,
   * and yet the entity itself is not what comes of it with the changes that wait on top, such as where a trigger writes.
   */
  readonly kind: 'missing-here' | 'missing-there' | 'different' | 'not-as-base';
  /**
   * What the server has, and what is known here of it; null where it is not there. Under `not-as-base` what should be here,
   * and what is.
   */
  readonly server: Entity | null;
  readonly here: Entity | null;
}

export interface VerifyReport {
  /** The version that was compared. */
  readonly version: number;
  readonly compared: number;
  /** The first 1,000. */
  readonly differences: VerifyDifference[];
  readonly differencesTotal: number;
  readonly repaired: number;
}

/** A developer's tool: what happens to requests on their way. All absent or 0: nothing. */
export interface NetworkConditions {
  readonly latencyMs?: number;
  /** Share of requests that do not reach the server, 0 to 1. */
  readonly lostRequests?: number;
  /** Share of answers that do not come back although the server did its work, 0 to 1. */
  readonly lostAnswers?: number;
  /** Answered instead of the server by this HTTP status, for a share of requests. */
  readonly errorStatus?: number;
  /** Of a 409: which history has changed, the server's as a whole (the default) or its past after it was put back. */
  readonly errorCode?: 'EPOCH_CHANGED' | 'HISTORY_CHANGED';
  readonly errors?: number;
  /** Nothing goes through. */
  readonly stopped?: boolean;
}
