// The state of synchronisation. Without a server it says so and nothing else.
import { type StoreApi, createStore } from 'zustand/vanilla';

export interface SyncState {
  readonly status: 'not-configured';
}

export type SyncStore = StoreApi<SyncState>;

export function createSyncStore(): SyncStore {
  return createStore<SyncState>()(() => ({ status: 'not-configured' }));
}
