// Serves a LocalData over one connection, whatever carries it (a thread's port, a named pipe). Checks every argument
// before the engine sees it, and never lets an answer go out that is no plain data or is above the message cap.
import { type CancellationToken, type Disposable, type MessageConnection, ResponseError } from 'vscode-jsonrpc/node';
import type { CallOptions, LocalData } from '../engine/local-data.ts';
import type { CommitEvent, ImportProgress, QueryResult, StoreSnapshot } from '../protocol/engine.ts';
import {
  MESSAGE_BYTE_CAP,
  REMOTE_METHODS,
  type RemoteInput,
  type RemoteMethod,
  type ResponseMessage,
  WIRE,
  checkInput,
  checked,
  definitionOf,
  requestMessageSchema,
  syncMethodOf,
} from '../protocol/engine-rpc.ts';
import type { LocalDataSync } from '../sync/local-data-sync.ts';
import { LocalDataError, type SerializedError, serializeError } from '../protocol/errors.ts';
import { wireSize } from '../protocol/wire-size.ts';
import { notify } from './notify.ts';

type AnyMethod = (...args: readonly unknown[]) => unknown;

/** What of the face may be called from the other side; the list of methods must be able to name all of it. */
type Served = { readonly [Method in RemoteMethod]: AnyMethod };

/** Each method's checked arguments are what the engine's method takes; a list that lies does not compile. */
type InputsFit = {
  [Method in Exclude<RemoteMethod, 'transaction'>]: RemoteInput<Method> extends ParametersOf<Method> ? true : Method;
};
type ParametersOf<Method extends string> = Method extends `sync.${infer Name extends keyof LocalDataSync}`
  ? Parameters<LocalDataSync[Name]>
  : Method extends Exclude<keyof LocalData, 'stores' | 'sync'>
    ? Parameters<LocalData[Method]>
    : never;
const inputsFit: InputsFit[keyof InputsFit] = true;

/** Registers everything on the connection; the caller has it listen. `onClosed` comes once the engine was closed from the other side. */
export function serveLocalData(connection: MessageConnection, data: LocalData, onClosed: () => void): Disposable {
  const served = servedMethods(data);
  const disposables: Disposable[] = REMOTE_METHODS.map((method) =>
    connection.onRequest(method, (message: unknown, token: CancellationToken) =>
      answer(() => run(connection, served, method, message, token)),
    ),
  );
  const commits = serveCommits(connection, data);
  disposables.push(
    commits,
    connection.onRequest(WIRE.ping, () => true),
    connection.onRequest(WIRE.close, () => answer(() => data.close()).finally(() => setImmediate(onClosed))),
  );
  return { dispose: () => disposables.forEach((disposable) => disposable.dispose()) };
}

function servedMethods(data: LocalData): Served {
  void inputsFit;
  const served: Record<string, AnyMethod> = {};
  for (const method of REMOTE_METHODS) {
    // The arguments were checked by the schema that InputsFit holds against this method's parameters.
    const implementation = methodOf(data, method);
    served[method] = implementation;
  }
  return {
    ...(served as Served),
    transaction: (operations) =>
      data.transaction((tx) => {
        for (const operation of operations as RemoteInput<'transaction'>[0]) {
          const { entityType, entityId } = operation;
          if (operation.kind === 'delete') tx.deleteEntity(entityType, entityId);
          else tx.upsertEntity(entityType, entityId, operation.data);
        }
      }),
  };
}

function methodOf(data: LocalData, method: RemoteMethod): AnyMethod {
  const syncMethod = syncMethodOf(method);
  // Looked up at the call: the engine's part for the server is there once it is.
  if (syncMethod !== undefined) return (...args) => Reflect.apply(data.sync[syncMethod] as AnyMethod, data.sync, args);
  return Reflect.get(data, method).bind(data) as AnyMethod;
}

async function run(
  connection: MessageConnection,
  served: Served,
  method: RemoteMethod,
  message: unknown,
  token: CancellationToken,
): Promise<unknown> {
  const { call, args } = checked(method, requestMessageSchema, message);
  const input = checkInput(method, args);
  const { callOptionsAt } = definitionOf(method);
  if (callOptionsAt === undefined) return fit(method, await served[method](...input));
  const controller = new AbortController();
  const listening = token.onCancellationRequested(() => controller.abort());
  try {
    const full: unknown[] = [...input];
    full[callOptionsAt] = withCallOptions(connection, call, full[callOptionsAt], controller.signal);
    return fit(method, await served[method](...full));
  } finally {
    listening.dispose();
  }
}

function withCallOptions(
  connection: MessageConnection,
  call: number,
  given: unknown,
  signal: AbortSignal,
): CallOptions & { onProgress(progress: ImportProgress): void } {
  const onProgress = (progress: ImportProgress) => notify(connection, WIRE.progress, { call, progress });
  return { ...(typeof given === 'object' ? given : {}), signal, onProgress };
}

async function answer(work: () => Promise<unknown>): Promise<ResponseMessage> {
  try {
    return { value: await work() };
  } catch (error) {
    const serialized = plainError(error);
    throw new ResponseError<SerializedError>(APPLICATION_ERROR, serialized.message, serialized);
  }
}

/** JSON-RPC keeps -32768 to -32000 for itself; our codes travel in the data. */
const APPLICATION_ERROR = 1;

function plainError(error: unknown): SerializedError {
  const serialized = serializeError(error);
  try {
    const details: unknown = JSON.parse(JSON.stringify(serialized.details));
    return { ...serialized, details: typeof details === 'object' && details !== null ? { ...details } : {} };
  } catch {
    return { ...serialized, details: {} };
  }
}

/** What reads too much is refused or cut; what has been written is told in any case. */
function fit(method: RemoteMethod, value: unknown): unknown {
  if (wireSize(value, MESSAGE_BYTE_CAP) <= MESSAGE_BYTE_CAP) return value;
  if (isQueryResult(method, value)) return withFewerRows(value);
  if (definitionOf(method).afterRestart === 'report') return value;
  throw new LocalDataError(
    'PAYLOAD_TOO_LARGE',
    `${method}: the answer is larger than ${MESSAGE_BYTE_CAP / 1024 / 1024} MB. Ask for fewer at once, by a smaller limit or a narrower filter.`,
    { method, capBytes: MESSAGE_BYTE_CAP },
  );
}

function isQueryResult(method: RemoteMethod, value: unknown): value is QueryResult {
  return (method === 'query' || method === 'exec') && typeof value === 'object' && value !== null && 'rows' in value;
}

function withFewerRows(result: QueryResult): QueryResult {
  const rows = [];
  let left = MESSAGE_BYTE_CAP - wireSize(result.fields, MESSAGE_BYTE_CAP);
  for (const row of result.rows) {
    left -= wireSize(row, MESSAGE_BYTE_CAP);
    if (left < 0) break;
    rows.push(row);
  }
  return { ...result, rows, truncated: true };
}

/** Commits go out once the other side has asked, and after the snapshot that they continue. */
function serveCommits(connection: MessageConnection, data: LocalData): Disposable {
  const waiting: CommitEvent[] = [];
  let state: 'off' | 'waiting' | 'on' = 'off';
  const send = (event: CommitEvent) => {
    for (const part of partsOf(event)) notify(connection, WIRE.commit, part);
  };
  const stop = data.onCommit((event) => {
    if (state === 'on') send(event);
    else if (state === 'waiting') waiting.push(event);
  });
  const asked = connection.onRequest(WIRE.subscribe, () =>
    answer(async () => {
      state = 'waiting';
      const snapshot: StoreSnapshot = await data.snapshot();
      notify(connection, WIRE.snapshot, snapshot);
      state = 'on';
      for (const event of waiting.splice(0)) send(event);
    }),
  );
  return {
    dispose: () => {
      stop();
      asked.dispose();
    },
  };
}

/** A commit too large for one message: whoever shows its entities reads again, and its changes come in several. */
function partsOf(event: CommitEvent): CommitEvent[] {
  if (wireSize(event, MESSAGE_BYTE_CAP) <= MESSAGE_BYTE_CAP) return [event];
  const { changes, entities, ...rest } = event;
  const reload = entities.map(({ entityType, count }) => {
    return { entityType, count, upserted: [], deleted: [], reload: true };
  });
  const parts: CommitEvent[] = [{ ...rest, changes: [], entities: reload }];
  let part: typeof changes = [];
  let bytes = 0;
  for (const change of changes) {
    const size = wireSize(change, MESSAGE_BYTE_CAP);
    if (bytes + size > MESSAGE_BYTE_CAP && part.length > 0) {
      parts.push({ ...rest, changes: part, entities: [] });
      part = [];
      bytes = 0;
    }
    part.push(change);
    bytes += size;
  }
  return [...parts, { ...rest, changes: part, entities: [] }];
}
