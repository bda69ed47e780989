// The stores on this side of a connection, and everyone who follows commits here: one subscription to the engine,
// fanned out in memory. A listener that throws never keeps another from being told.
import { type Change, type ChangeFilter, matchesFilter } from '../protocol/changes.ts';
import type { CommitEvent, StoreSnapshot } from '../protocol/engine.ts';
import {
  type LocalDataStores,
  type StoreOptions,
  createStores,
  publishCommit,
  resetStores,
} from '../stores/local-data-stores.ts';

export class StoresMirror {
  readonly stores: LocalDataStores;
  readonly #listeners = new Set<(event: CommitEvent) => void>();
  readonly #onListenerError: (error: unknown) => void;
  #filled = false;

  constructor(options: StoreOptions, onListenerError: (error: unknown) => void) {
    this.stores = createStores(options);
    this.#onListenerError = onListenerError;
  }

  /**
   * The first snapshot fills the stores. A later one comes after a restart, when commits may have gone untold:
   * listeners then get one event that touches the newest changes and has every entity type read again.
   */
  reset(snapshot: StoreSnapshot): void {
    resetStores(this.stores, snapshot);
    if (this.#filled) this.#tell(catchUpEvent(snapshot));
    this.#filled = true;
  }

  commit(event: CommitEvent): void {
    publishCommit(this.stores, event);
    this.#tell(event);
  }

  onCommit(listener: (event: CommitEvent) => void): () => void {
    // Wrapped, so that one function given twice is called twice and taken away once at a time.
    const own = (event: CommitEvent) => listener(event);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  watchChanges(filter: ChangeFilter, callback: (changes: Change[]) => void): () => void {
    return this.onCommit(({ changes }) => {
      const matching = changes.filter((change) => matchesFilter(change, filter));
      if (matching.length > 0) callback(matching);
    });
  }

  #tell(event: CommitEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#onListenerError(error);
      }
    }
  }
}

function catchUpEvent({ counts, newest, entityTypes, processor }: StoreSnapshot): CommitEvent {
  const entities = entityTypes.map(({ entityType, count }) => {
    return { entityType, count, upserted: [], deleted: [], reload: true };
  });
  const changes = [...newest].sort((a, b) => a.seq - b.seq);
  return { changes, entities, counts, processor, entityTypes };
}
