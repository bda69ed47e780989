// The panel's mirror of the stores: filled by a snapshot, kept current by commits, read by hooks with selectors.
import { useSyncExternalStore } from 'react';
import type { CommitEvent } from '../protocol/engine.ts';
import type { ToPanel } from '../protocol/panel.ts';
import type { ChangesState } from '../stores/changes-store.ts';
import type { EntitiesState } from '../stores/entities-store.ts';
import { createStores, publishCommit, resetStores } from '../stores/local-data-stores.ts';
import { listen } from './bridge.ts';

export const stores = createStores({ entityWindow: 500, newestChanges: 50 });

const commitListeners = new Set<(event: CommitEvent) => void>();

listen((message: ToPanel) => {
  if (message.kind === 'commit') {
    publishCommit(stores, message.event);
    for (const listener of commitListeners) listener(message.event);
  } else if (message.kind === 'state' && message.state.kind === 'open') {
    resetStores(stores, message.state.snapshot);
  }
});

export function onCommit(listener: (event: CommitEvent) => void): () => void {
  commitListeners.add(listener);
  return () => void commitListeners.delete(listener);
}

/** The selected part must be a value, or an object that is replaced when it changes. */
export function useEntities<T>(select: (state: EntitiesState) => T): T {
  return useSyncExternalStore(stores.entities.subscribe, () => select(stores.entities.getState()));
}

export function useChanges<T>(select: (state: ChangesState) => T): T {
  return useSyncExternalStore(stores.changes.subscribe, () => select(stores.changes.getState()));
}
