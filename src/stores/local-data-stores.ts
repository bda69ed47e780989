// The three stores of one database and the one function that feeds them. The same code runs in the engine, in the
// extension host (fed over RPC) and in the panel (fed by messages); it never asks where its events come from.
import type { CommitEvent, StoreSnapshot } from '../protocol/engine.ts';
import { type ChangesStore, applyToChanges, createChangesStore } from './changes-store.ts';
import { type EntitiesStore, applyToEntities, createEntitiesStore } from './entities-store.ts';
import { type SyncStore, createSyncStore } from './sync-store.ts';

export interface LocalDataStores {
  readonly entities: EntitiesStore;
  readonly changes: ChangesStore;
  readonly sync: SyncStore;
}

export interface StoreOptions {
  /** Entities held per type; the least recently changed leave first. Default 2,000. */
  readonly entityWindow?: number;
  /** Newest changes held per status. Default 100. */
  readonly newestChanges?: number;
}

export function createStores(options: StoreOptions = {}): LocalDataStores {
  return {
    entities: createEntitiesStore(options.entityWindow ?? 2_000),
    changes: createChangesStore(options.newestChanges ?? 100),
    sync: createSyncStore(),
  };
}

/** Applies one commit; each store notifies its subscribers at most once, at a cost that depends on the event alone. */
export function publishCommit(stores: LocalDataStores, event: CommitEvent): void {
  applyToEntities(stores.entities, event);
  applyToChanges(stores.changes, event);
  if (event.sync !== undefined) stores.sync.setState(event.sync, true);
}

/** Sets the stores to what a database holds when they are first connected to it, or again after a restart. */
export function resetStores(stores: LocalDataStores, snapshot: StoreSnapshot): void {
  stores.entities.getState().reset(snapshot.entityTypes);
  stores.changes.getState().reset(snapshot);
  stores.sync.setState(snapshot.sync, true);
}
