// The sync protocol, version 1: what goes over HTTP between a data directory and a server. The schemas are the contract;
// the OpenAPI document is made from them. Versions are counted per space; cursors and page tokens are opaque to clients.
import { z } from 'zod';
import { type JsonObject, OPERATIONS } from './changes.ts';

/** Sent as the header `local-data-protocol`; a server that speaks none of them answers 426 with those it does. */
export const SYNC_PROTOCOL_VERSION = 1;
export const PROTOCOL_HEADER = 'local-data-protocol';

/** What both sides hold each other to. A server may allow less and says so in {@link spaceInfoSchema}. */
export const SYNC_LIMITS = {
  /** Changes of a push, rows of a page. */
  changes: 1_000,
  /** Rows that a client takes from one answer: a page holds more than was asked for where a transaction goes on. */
  answerRows: 10_000,
  /** Bytes of a request's or answer's body. */
  bodyBytes: 8 * 1024 * 1024,
  /** Bytes of one change's data. */
  changeBytes: 1024 * 1024,
  /** Characters of a change's id, an entity type and an entity id. */
  idLength: 200,
  entityTypeLength: 200,
  entityIdLength: 1_000,
  /** Changes that one change can name as those it must come after. */
  after: 100,
  /** Fields that one change can take out of a document. */
  removed: 1_000,
  /** Seconds a pull may wait for something new. */
  waitSeconds: 55,
  /** A change's timestamp is clamped to the server's time plus this many milliseconds. */
  clockAheadMs: 60_000,
  /** Days that a server knows the ids of applied changes, at least. */
  idDays: 180,
} as const;

const jsonObject = z.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'must be an object',
);
const version = z.number().int().nonnegative();
const changeId = z.string().min(1).max(SYNC_LIMITS.idLength);
const entityType = z.string().min(1).max(SYNC_LIMITS.entityTypeLength);
const entityId = z.string().min(1).max(SYNC_LIMITS.entityIdLength);
const clientId = z.string().min(1).max(SYNC_LIMITS.idLength);
const milliseconds = z.number().int().nonnegative();

/** The name of a space: what one token gives access to. */
export const spaceNameSchema = z.string().regex(/^[A-Za-z0-9._-]{1,100}$/, 'must be 1 to 100 of A-Z a-z 0-9 . _ -');

/** `GET /v1/spaces/{space}`: what a client asks before anything else. */
export const spaceInfoSchema = z.object({
  /** Names this server's history; another after a reset. */
  epoch: z.string().min(1),
  space: z.string(),
  /** The version of the last change. */
  version,
  protocols: z.array(z.number().int()),
  /** Milliseconds since epoch. */
  serverTime: milliseconds,
  rights: z.array(z.enum(['read', 'write'])),
  limits: z.object({
    changes: z.number().int().positive(),
    bodyBytes: z.number().int().positive(),
    changeBytes: z.number().int().positive(),
    waitSeconds: z.number().int().nonnegative(),
  }),
});
export type SpaceInfo = z.infer<typeof spaceInfoSchema>;

/**
 * A change as it is pushed. `insert` carries the whole entity, `update` the fields that change (null means null), `delete`
 * null. Each is checked by itself: one that does not fit is `rejected`, and the others go on.
 */
export const pushedChangeSchema = z.strictObject({
  /** The idempotency key. */
  id: changeId,
  entityType,
  entityId,
  operation: z.enum(OPERATIONS),
  data: jsonObject.nullable(),
  /** Fields that an update takes out of an entity which has no columns for them, a document; they count as written. */
  removed: z.array(z.string().max(SYNC_LIMITS.entityTypeLength)).max(SYNC_LIMITS.removed).optional(),
  /** The version of the entity that the change was made on; 0 when there was none. */
  baseVersion: version,
  /** Hybrid logical clock, milliseconds since epoch: for last-write-wins, never for order. */
  timestamp: milliseconds,
  /** Changes of one transaction stand together in a push, and are applied together or not at all. */
  transactionId: z.string().min(1).max(SYNC_LIMITS.idLength).nullable(),
  /**
   * Ids of changes without which this one must not land, such as the insert of the entity that it refers to. Where one of
   * them stands earlier in the same push and was not applied, this one is `held`; an id that does not is passed over.
   */
  after: z.array(changeId).max(SYNC_LIMITS.after).optional(),
});
export type PushedChange = z.infer<typeof pushedChangeSchema>;

/** `POST /v1/spaces/{space}/changes`. Changes of one entity are in order. */
export const pushRequestSchema = z.strictObject({
  clientId,
  /** The history the client knows; another gives 409 `EPOCH_CHANGED` and nothing is applied. */
  epoch: z.string().min(1).max(200),
  /** Where the client's feed stands; verified, so that a server put back to an earlier state is noticed. */
  cursor: z.string().max(2_000).nullable(),
  /** Each is checked by {@link pushedChangeSchema} on its own. */
  changes: z.array(z.unknown()).min(1).max(SYNC_LIMITS.changes),
});
export interface PushRequest {
  readonly clientId: string;
  readonly epoch: string;
  readonly cursor: string | null;
  readonly changes: readonly PushedChange[];
}

/** Who wrote a field last, and when. */
export const fieldWriteSchema = z.object({ version, clientId: z.string(), timestamp: milliseconds });
export type FieldWrite = z.infer<typeof fieldWriteSchema>;

/** The result for one change, at the same index as the change. */
export const pushResultSchema = z.discriminatedUnion('outcome', [
  z.object({ outcome: z.literal('applied'), id: changeId, version }),
  /** It was applied before; `version` is what it got then. */
  z.object({ outcome: z.literal('duplicate'), id: changeId, version }),
  /**
   * Something was written by another client since `baseVersion`: `fields` says which of the change's fields, by whom and
   * when. Where a delete is on one side the conflict is the entity's as a whole, and `fields` has one entry named `*`.
   * Nothing of the change was applied, and the id is not remembered.
   */
  z.object({
    outcome: z.literal('conflict'),
    id: changeId,
    /** The entity's version on the server. */
    version,
    /** The entity on the server; null where it is deleted. */
    entity: jsonObject.nullable(),
    fields: z.record(z.string(), fieldWriteSchema),
  }),
  /** Permanent: the same change would be refused again. Not remembered either. */
  z.object({
    outcome: z.literal('rejected'),
    /** Empty where the change had no id that could be read. */
    id: z.string(),
    code: z.string(),
    message: z.string(),
    field: z.string().optional(),
  }),
  /** Something earlier of its lane, a member of its transaction, or a change that it must come after was not applied. */
  z.object({ outcome: z.literal('held'), id: changeId, by: changeId }),
]);
export type PushResult = z.infer<typeof pushResultSchema>;

export const pushResponseSchema = z.object({
  epoch: z.string(),
  serverTime: milliseconds,
  results: z.array(pushResultSchema).max(SYNC_LIMITS.changes),
});
export type PushResponse = z.infer<typeof pushResponseSchema>;

/** `GET /v1/spaces/{space}/changes`. */
export const pullQuerySchema = z.strictObject({
  /** The cursor of the page before; absent for the feed's start. */
  after: z.string().max(2_000).optional(),
  limit: z.coerce.number().int().min(1).max(SYNC_LIMITS.changes).optional(),
  /** Seconds to wait when there is nothing new; the answer is empty then. */
  wait: z.coerce.number().int().min(0).max(SYNC_LIMITS.waitSeconds).optional(),
});

/** A change as every client sees it, in the order of `version`. */
export const feedChangeSchema = z.object({
  version,
  id: changeId,
  clientId: z.string(),
  entityType,
  entityId,
  operation: z.enum(OPERATIONS),
  /** The whole entity after the change; null after a delete. */
  entity: jsonObject.nullable(),
  /** The fields that the change wrote; null for a delete. */
  data: jsonObject.nullable(),
  timestamp: milliseconds,
  transactionId: z.string().nullable(),
});
export type FeedChange = z.infer<typeof feedChangeSchema>;

/** A page may hold more than `limit` rows, because it ends where a transaction ends. */
export const pullResponseSchema = z.object({
  epoch: z.string(),
  serverTime: milliseconds,
  /**
   * Each is checked by {@link feedChangeSchema} on its own, so that one strange change is set aside and the feed goes on.
   */
  changes: z.array(z.unknown()).max(SYNC_LIMITS.answerRows),
  /** Where the next pull goes on. */
  cursor: z.string().min(1).max(2_000),
  /** The version that the cursor stands for. */
  version,
  /** There is more at once. */
  more: z.boolean(),
});
export type PullResponse = z.infer<typeof pullResponseSchema>;

/** `GET /v1/spaces/{space}/snapshot`: all entities, in pages, for a client that is new or has fallen behind. */
export const snapshotQuerySchema = z.strictObject({
  /** The `next` of the page before. */
  page: z.string().max(4_000).optional(),
  limit: z.coerce.number().int().min(1).max(SYNC_LIMITS.changes).optional(),
});

export const snapshotEntitySchema = z.object({
  entityType,
  entityId,
  version,
  timestamp: milliseconds,
  entity: jsonObject,
});
export type SnapshotEntity = z.infer<typeof snapshotEntitySchema>;

export const snapshotResponseSchema = z.object({
  epoch: z.string(),
  serverTime: milliseconds,
  /** Each is checked by {@link snapshotEntitySchema} on its own. */
  entities: z.array(z.unknown()).max(SYNC_LIMITS.answerRows),
  /** Entities of the space when the snapshot began; for progress. */
  total: z.number().int().nonnegative(),
  /** Null on the last page. */
  next: z.string().max(4_000).nullable(),
  /** Where the feed stood when the snapshot began: the same on each page, and taken up after the last. */
  cursor: z.string().min(1).max(2_000),
  version,
});
export type SnapshotResponse = z.infer<typeof snapshotResponseSchema>;

/**
 * Entities fall into 256 buckets by the first byte of SHA-256 of `entityType + "\n" + entityId` (UTF-8). A bucket's digest
 * is SHA-256, in hex, over the lines `entityType "\n" entityId "\n" hash "\n"` of its entities that are there, in order of
 * their UTF-8 bytes; an entity's hash is SHA-256, in hex, of its canonical JSON (canonical-json.ts).
 */
export const DIGEST_BUCKETS = 256;

/** `GET /v1/spaces/{space}/digest`: all buckets that are not empty, as of one version. */
export const digestResponseSchema = z.object({
  epoch: z.string(),
  version,
  buckets: z
    .array(
      z.object({
        bucket: z
          .number()
          .int()
          .min(0)
          .max(DIGEST_BUCKETS - 1),
        count: z.number().int().positive(),
        digest: z.string(),
      }),
    )
    .max(DIGEST_BUCKETS),
});
export type DigestResponse = z.infer<typeof digestResponseSchema>;

/** `GET /v1/spaces/{space}/digest/{bucket}?page=`: the entities of one bucket, to find the ones that differ. */
export const bucketResponseSchema = z.object({
  epoch: z.string(),
  version,
  entities: z.array(snapshotEntitySchema).max(SYNC_LIMITS.answerRows),
  next: z.string().max(4_000).nullable(),
});
export type BucketResponse = z.infer<typeof bucketResponseSchema>;

/** `GET /healthz`, without a token. */
export const healthSchema = z.object({
  status: z.enum(['ok', 'draining', 'unavailable']),
  protocols: z.array(z.number().int()),
});

/**
 * Codes of errors that concern a request as a whole, and the status that each comes with. Clients act on status and code, never
 * on the text. Below 500 nothing was done; with 500 and 503 nobody knows.
 */
export const SYNC_ERROR_STATUS = {
  INVALID_REQUEST: 400,
  UNAUTHENTICATED: 401,
  TOKEN_EXPIRED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_TIMEOUT: 408,
  /** Another history than the client's; it starts from a snapshot. */
  EPOCH_CHANGED: 409,
  /** The same epoch, but not the change that the cursor names at its version: the server was put back. */
  HISTORY_CHANGED: 409,
  /** The feed no longer reaches back to the cursor. */
  CURSOR_EXPIRED: 410,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNSUPPORTED_PROTOCOL: 426,
  TOO_MANY_REQUESTS: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503,
} as const;
export type SyncErrorCode = keyof typeof SYNC_ERROR_STATUS;
export const SYNC_ERROR_CODES = Object.keys(SYNC_ERROR_STATUS) as readonly SyncErrorCode[];

/** The body of every answer that is no success. `Retry-After` comes as a header, in seconds. */
export const syncErrorSchema = z.object({
  error: z.object({
    code: z.enum(SYNC_ERROR_CODES),
    message: z.string(),
    /** What of the request is meant, such as `changes[3].data`. */
    field: z.string().optional(),
    /** With UNSUPPORTED_PROTOCOL: what the server speaks. */
    protocols: z.array(z.number().int()).optional(),
  }),
});
export type SyncErrorBody = z.infer<typeof syncErrorSchema>;
