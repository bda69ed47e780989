// What crosses the thread (or a pipe) to the engine: one list of methods with the schema of their arguments and what
// becomes of a call that a restart interrupted. Adding a method to the face is one line here; the client and the server
// are made from this list. Payloads are let through as they are: the engine checks them and has its own codes for them.
import * as z from 'zod';
import { CHANGE_STATUSES, type JsonObject, type JsonValue, type Operation } from './changes.ts';
import type { CommitEvent, ImportProgress, StoreSnapshot } from './engine.ts';
import { CONFLICT_POLICIES, MISSING_DECISIONS } from './sync-state.ts';
import { type ErrorDetails, ERROR_CODES, LocalDataError, type SerializedError } from './errors.ts';

/** No message may be larger; what would be is refused (requests) or comes in parts (rows, events). */
export const MESSAGE_BYTE_CAP = 8 * 1024 * 1024;

export const DEFAULT_TIMEOUT_MS = 30_000;

/**
 * How long a call may take: a number of milliseconds, or `supervised` for those whose length depends on the data:
 * they go on for as long as the engine answers or progress comes.
 */
export type TimeLimit = number | 'supervised';

export interface MethodDefinition<Input extends z.ZodType<readonly unknown[]> = z.ZodType<readonly unknown[]>> {
  readonly input: Input;
  /** Sent again by itself after a restart, or reported to the caller because it may have taken effect. */
  readonly afterRestart: 'repeat' | 'report';
  readonly limit: TimeLimit;
  /** Which argument holds the signal, the time limit and the progress callback, which do not cross as they are. */
  readonly callOptionsAt?: number;
  /** Ends in time that the amount of data bounds: giving it up is no reason to end the thread that is still at it. */
  readonly endsByItself?: boolean;
}

const text = z.string();
const count = z.number().int().nonnegative();
/** Checked by the engine, which names the entity and the key at fault. */
const payload = z.custom<JsonObject>(() => true);
const nullablePayload = z.custom<JsonObject | null>(() => true);
const operation = z.custom<Operation>(() => true);
const parameters = absent(z.array(z.unknown()));
const callOptions = z.object({ timeoutMs: z.number().positive().optional() });

const status = z.enum(CHANGE_STATUSES);
export const changeFilterSchema = z.object({
  status: z.union([status, z.array(status)]).optional(),
  entityType: text.optional(),
  entityId: text.optional(),
  label: text.optional(),
});
const listChangesOptions = changeFilterSchema.extend({
  limit: count.optional(),
  order: z.enum(['asc', 'desc']).optional(),
  after: z.number().int().optional(),
});
const changeInput = z.object({ entityType: text, entityId: text, operation, data: nullablePayload.optional() });

const jsonValue = z.custom<JsonValue>((value) => value !== undefined);
const condition = z.object({
  field: text,
  op: z.enum(['=', '!=', '<', '<=', '>', '>=', 'in', 'contains', 'startsWith', 'isNull', 'isNotNull']),
  value: jsonValue.optional(),
});
const where = z.union([z.array(condition), z.record(text, jsonValue)]);
const queryEntitiesOptions = z.object({
  where: where.optional(),
  search: text.optional(),
  orderBy: z.union([text, z.array(text)]).optional(),
  limit: count.optional(),
  after: text.optional(),
  offset: count.optional(),
});
const transactionOperation = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('upsert'), entityType: text, entityId: text, data: payload }),
  z.object({ kind: z.literal('delete'), entityType: text, entityId: text }),
]);
const registration = z.object({ entityType: text, table: text.optional(), key: text.optional() });
const importOptions = z.object({
  file: text,
  format: z.enum(['json', 'jsonl', 'csv']).optional(),
  entityType: text,
  idField: text.optional(),
});

const share = z.number().min(0).max(1).optional();
const networkConditionsSchema = z.object({
  latencyMs: z.number().min(0).max(600_000).optional(),
  lostRequests: share,
  lostAnswers: share,
  errorStatus: z.number().int().min(400).max(599).optional(),
  errorCode: z.enum(['EPOCH_CHANGED', 'HISTORY_CHANGED']).optional(),
  errors: share,
  stopped: z.boolean().optional(),
});
export const syncRulesSchema = z.record(
  text,
  z.object({ sync: z.boolean().optional(), conflicts: z.enum(CONFLICT_POLICIES).optional() }),
);

/** Methods of `data.sync` have their name after a dot. */
export const ENGINE_METHODS = {
  createChangesTable: repeated(z.tuple([])),
  doesChangesTableExist: repeated(z.tuple([])),
  exec: { ...reported(z.tuple([text, parameters, callOptions.optional()])), callOptionsAt: 2 },
  query: {
    ...repeated(z.tuple([text, parameters, callOptions.extend({ limit: count.optional() }).optional()])),
    callOptionsAt: 2,
  },
  registerEntityType: repeated(z.tuple([registration])),
  listEntityTypes: repeated(z.tuple([])),
  describePayload: repeated(z.tuple([text, operation])),
  recordChange: reported(z.tuple([text, text, operation, nullablePayload.optional()])),
  recordChanges: reported(z.tuple([z.array(changeInput)])),
  upsertEntity: reported(z.tuple([text, text, payload])),
  deleteEntity: reported(z.tuple([text, text])),
  getEntity: repeated(z.tuple([text, text])),
  queryEntities: {
    ...repeated(z.tuple([text, absent(queryEntitiesOptions), callOptions.optional()])),
    callOptionsAt: 2,
    endsByItself: true,
  },
  countEntities: {
    ...repeated(
      z.tuple([text, absent(queryEntitiesOptions.pick({ where: true, search: true })), callOptions.optional()]),
    ),
    callOptionsAt: 2,
    endsByItself: true,
  },
  transaction: reported(z.tuple([z.array(transactionOperation)])),
  listChanges: repeated(z.tuple([listChangesOptions.optional()])),
  listMarks: repeated(z.tuple([text, z.array(text)])),
  listNotInserted: repeated(z.tuple([text, count.optional()])),
  getChange: repeated(z.tuple([text])),
  startChangeProcessor: repeated(z.tuple([])),
  stopChangeProcessor: repeated(z.tuple([]), 'supervised'),
  processNow: repeated(z.tuple([]), 'supervised'),
  whenIdle: repeated(z.tuple([]), 'supervised'),
  retryChange: reported(z.tuple([text])),
  retryFailed: reported(z.tuple([changeFilterSchema.optional()]), 'supervised'),
  editChange: reported(z.tuple([text, payload])),
  previewDiscard: repeated(z.tuple([text])),
  discardChange: reported(z.tuple([text, z.object({ withDependents: z.boolean().optional() }).optional()])),
  restoreChange: reported(z.tuple([text])),
  undoChange: reported(z.tuple([text])),
  importEntities: { ...reported(z.tuple([importOptions, callOptions.optional()]), 'supervised'), callOptionsAt: 1 },
  listImports: repeated(z.tuple([])),
  undoImport: reported(z.tuple([text]), 'supervised'),
  createSampleData: reported(z.tuple([]), 'supervised'),
  diagnostics: repeated(z.tuple([])),
  backup: repeated(z.tuple([text]), 'supervised'),
  snapshot: repeated(z.tuple([])),
  'sync.connect': reported(
    z.tuple([
      z.object({
        url: text,
        token: text,
        space: text.optional(),
        onServerChanged: z.enum(['refuse', 'start-anew']).optional(),
      }),
    ]),
    'supervised',
  ),
  'sync.disconnect': repeated(z.tuple([])),
  'sync.syncNow': repeated(z.tuple([]), 'supervised'),
  'sync.goOffline': repeated(z.tuple([])),
  'sync.goOnline': repeated(z.tuple([])),
  'sync.whenSynced': repeated(z.tuple([]), 'supervised'),
  'sync.state': repeated(z.tuple([])),
  'sync.setRules': repeated(z.tuple([syncRulesSchema])),
  'sync.setNetworkConditions': repeated(z.tuple([networkConditionsSchema.nullable()])),
  'sync.verify': {
    ...reported(z.tuple([callOptions.extend({ repair: z.boolean().optional() }).optional()]), 'supervised'),
    callOptionsAt: 0,
    endsByItself: true,
  },
  'sync.conflicts': repeated(z.tuple([])),
  'sync.resolve': reported(
    z.tuple([
      text,
      z.union([
        z.object({ keep: z.enum(['mine', 'theirs']) }),
        z.object({ data: payload, removed: z.array(text).optional() }),
      ]),
    ]),
  ),
  'sync.receipt': repeated(z.tuple([text])),
  'sync.missingEntities': repeated(z.tuple([z.object({ limit: count.optional() }).optional()])),
  'sync.decideMissing': reported(z.tuple([z.enum(MISSING_DECISIONS)]), 'supervised'),
} as const satisfies Readonly<Record<string, MethodDefinition>>;

export type RemoteMethod = keyof typeof ENGINE_METHODS;
export type RemoteInput<Method extends RemoteMethod> = z.infer<(typeof ENGINE_METHODS)[Method]['input']>;

/** Names of `data.sync` that are in the list; the engine's side does not compile where one is not of it. */
export type SyncMethod = RemoteMethod extends infer Method
  ? Method extends `sync.${infer Name}`
    ? Name
    : never
  : never;

/** The part of a method's name behind `sync.`; undefined for methods of the face itself. */
export function syncMethodOf(method: RemoteMethod): SyncMethod | undefined {
  // The type is made from the same names.
  return method.startsWith('sync.') ? (method.slice('sync.'.length) as SyncMethod) : undefined;
}

/** Widened from the list, for code that handles any method. */
export function definitionOf(method: RemoteMethod): MethodDefinition {
  return ENGINE_METHODS[method];
}

export const REMOTE_METHODS = Object.keys(ENGINE_METHODS).filter(isRemoteMethod);

export interface RequestMessage {
  /** Given by the caller; progress comes under it. */
  readonly call: number;
  readonly args: readonly unknown[];
}

/** Wrapped, because JSON-RPC knows no undefined result. */
export interface ResponseMessage {
  readonly value?: unknown;
}

/** Names of what is on the wire beside the methods of the face. */
export const WIRE = {
  /** Request: answered at once by an engine whose thread is not blocked. */
  ping: '$local-data/ping',
  /** Request: the snapshot comes, then commits; answered when the snapshot is sent. */
  subscribe: '$local-data/subscribe',
  /** Request: closes the engine. */
  close: '$local-data/close',
  /** Notifications from the engine's side. */
  opened: '$local-data/opened',
  openFailed: '$local-data/openFailed',
  snapshot: '$local-data/snapshot',
  commit: '$local-data/commit',
  progress: '$local-data/progress',
  trouble: '$local-data/trouble',
} as const;

/** What the notifications carry. */
export interface WireNotifications {
  [WIRE.snapshot]: StoreSnapshot;
  [WIRE.commit]: CommitEvent;
  [WIRE.progress]: { readonly call: number; readonly progress: ImportProgress };
  [WIRE.openFailed]: SerializedError;
  [WIRE.trouble]: SerializedError;
}

export const requestMessageSchema = z.object({ call: z.number().int(), args: z.array(z.unknown()) });

export const serializedErrorSchema = z.object({
  code: z.enum(ERROR_CODES),
  message: z.string(),
  details: z.custom<ErrorDetails>((value) => typeof value === 'object' && value !== null),
});

/** Arguments as their schema gives them, or INVALID_ARGUMENT naming the method and the field. */
export function checkInput(method: RemoteMethod, args: readonly unknown[]): readonly unknown[] {
  return checked(method, definitionOf(method).input, args);
}

/** A value as its schema gives it, or INVALID_ARGUMENT naming the field. */
export function checked<T>(what: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue === undefined || issue.path.length === 0 ? 'arguments' : fieldName(issue.path);
  const problem = issue?.message ?? 'not valid';
  throw new LocalDataError('INVALID_ARGUMENT', `${what}: ${field} is not acceptable: ${problem}.`, {
    method: what,
    field,
    problem,
  });
}

function fieldName(path: readonly PropertyKey[]): string {
  const [first, ...rest] = path;
  const start = typeof first === 'number' ? `argument ${first + 1}` : String(first);
  return rest.reduce<string>(
    (name, key) => (typeof key === 'number' ? `${name}[${key}]` : `${name}.${String(key)}`),
    start,
  );
}

function repeated<Input extends z.ZodType<readonly unknown[]>>(input: Input, limit: TimeLimit = DEFAULT_TIMEOUT_MS) {
  return { input, afterRestart: 'repeat', limit } as const;
}

function reported<Input extends z.ZodType<readonly unknown[]>>(input: Input, limit: TimeLimit = DEFAULT_TIMEOUT_MS) {
  return { input, afterRestart: 'report', limit } as const;
}

/** JSON transports turn an absent argument before a present one into null. */
function absent<Schema extends z.ZodType>(schema: Schema) {
  return z.preprocess((value) => value ?? undefined, schema.optional());
}

function isRemoteMethod(name: string): name is RemoteMethod {
  return Object.hasOwn(ENGINE_METHODS, name);
}
