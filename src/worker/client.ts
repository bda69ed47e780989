// LocalData for whoever is not in the engine's thread, made from the list of methods. What happens to a call on its way
// (deadlines, restarts) is its caller's business; nothing here waits or keeps state but the mirror of the stores.
import type { CallOptions, LocalData } from '../engine/local-data.ts';
import type { ImportProgress, Transaction, TransactionOperation } from '../protocol/engine.ts';
import {
  REMOTE_METHODS,
  type RemoteMethod,
  type SyncMethod,
  changeFilterSchema,
  checked,
  definitionOf,
  syncMethodOf,
} from '../protocol/engine-rpc.ts';
import type { LocalDataSync } from '../sync/local-data-sync.ts';
import type { StoresMirror } from './stores-mirror.ts';

/** What of a call stays on this side. */
export interface CallSupervision extends CallOptions {
  readonly onProgress?: (progress: ImportProgress) => void;
}

/** Whatever carries calls to an engine and brings their answers. */
export interface EngineCaller {
  readonly mirror: StoresMirror;
  call(method: RemoteMethod, args: readonly unknown[], supervision: CallSupervision): Promise<unknown>;
  reportError(error: unknown): void;
  close(): Promise<void>;
}

/** Methods that live on this side, or whose arguments cannot cross as they are. */
type OwnMethod = 'stores' | 'sync' | 'onCommit' | 'transaction' | 'watchChanges' | 'startChangeProcessor' | 'close';

/** A method of the face that the list lacks is missing here, and then `localDataOver` does not compile. */
type CarriedFace = Pick<LocalData, Exclude<keyof LocalData, OwnMethod> & RemoteMethod>;

export function localDataOver(caller: EngineCaller): LocalData {
  const { mirror } = caller;
  return {
    ...carriedFace(caller),
    stores: mirror.stores,
    sync: carriedSync(caller),
    onCommit: (listener) => mirror.onCommit(listener),
    transaction: async (collect) => {
      const operations: TransactionOperation[] = [];
      await collect(collectInto(operations));
      const result = await caller.call('transaction', [operations], {});
      return result as Awaited<ReturnType<LocalData['transaction']>>;
    },
    watchChanges: async (filter, callback) => {
      return mirror.watchChanges(checked('watchChanges', changeFilterSchema, filter), callback);
    },
    startChangeProcessor: () => {
      caller.call('startChangeProcessor', [], {}).catch((error: unknown) => caller.reportError(error));
    },
    close: () => caller.close(),
  };
}

function carriedFace(caller: EngineCaller): CarriedFace {
  const face: Partial<Record<RemoteMethod, (...args: unknown[]) => Promise<unknown>>> = {};
  for (const method of REMOTE_METHODS) face[method] = carried(caller, method);
  // The server answers with what the same method of the engine gave; the contract suite holds both to it.
  return face as unknown as CarriedFace;
}

/** A method of `data.sync` that the list lacks is missing here, and then this does not compile. */
type CarriedSync = Pick<LocalDataSync, keyof LocalDataSync & SyncMethod>;

function carriedSync(caller: EngineCaller): LocalDataSync {
  const face: Partial<Record<SyncMethod, (...args: unknown[]) => Promise<unknown>>> = {};
  for (const method of REMOTE_METHODS) {
    const name = syncMethodOf(method);
    if (name !== undefined) face[name] = carried(caller, method);
  }
  // As above.
  const sync: CarriedSync = face as unknown as CarriedSync;
  return sync;
}

function carried(caller: EngineCaller, method: RemoteMethod): (...args: unknown[]) => Promise<unknown> {
  return async (...args) => {
    const { sent, supervision } = separate(method, args);
    return caller.call(method, sent, supervision);
  };
}

/** Signals and callbacks stay here; what is data goes. */
function separate(
  method: RemoteMethod,
  args: readonly unknown[],
): { readonly sent: readonly unknown[]; readonly supervision: CallSupervision } {
  const at = definitionOf(method).callOptionsAt;
  const given = at === undefined ? undefined : args[at];
  if (at === undefined || typeof given !== 'object' || given === null) return { sent: args, supervision: {} };
  const supervision: CallSupervision = given;
  const data: CallSupervision = { ...supervision, signal: undefined, onProgress: undefined };
  return { sent: args.with(at, data), supervision };
}

function collectInto(operations: TransactionOperation[]): Transaction {
  return {
    upsertEntity: (entityType, entityId, data) => {
      operations.push({ kind: 'upsert', entityType, entityId, data });
    },
    deleteEntity: (entityType, entityId) => {
      operations.push({ kind: 'delete', entityType, entityId });
    },
  };
}
