// The state of synchronisation. Without a server it says so and nothing else.
import { type StoreApi, createStore } from 'zustand/vanilla';
import { NO_SYNC, type SyncState } from '../protocol/sync-state.ts';

export type SyncStore = StoreApi<SyncState>;

export function createSyncStore(): SyncStore {
  return createStore<SyncState>()(() => NO_SYNC);
}
