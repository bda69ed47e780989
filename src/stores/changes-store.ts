// Counts of changes by status and the newest of each status. Bounded: lists beyond the newest are paged by listChanges.
import { type StoreApi, createStore } from 'zustand/vanilla';
import { CHANGE_STATUSES, type Change, type ChangeCounts, type ChangeStatus, noChanges } from '../protocol/changes.ts';
import type { CommitEvent, ProcessorState, StoreSnapshot } from '../protocol/engine.ts';

export interface ChangesState {
  readonly version: number;
  readonly counts: ChangeCounts;
  /** Newest first, by `seq`; a status' list is a new array when it changed. */
  readonly newest: Readonly<Record<ChangeStatus, readonly Change[]>>;
  readonly processor: ProcessorState;
  /** The last commit's touched changes, for those who follow one by one. */
  readonly touched: readonly Change[];
  reset(snapshot: StoreSnapshot): void;
}

export type ChangesStore = StoreApi<ChangesState> & { readonly newestLimit: number };

export function createChangesStore(newestLimit: number): ChangesStore {
  const store = createStore<ChangesState>()((set, get) => ({
    version: 0,
    counts: noChanges(),
    newest: mergeNewest(noneNewest(), [], newestLimit),
    processor: 'stopped',
    touched: [],
    reset: ({ counts, newest, processor }) =>
      set({
        version: get().version + 1,
        counts,
        newest: mergeNewest(noneNewest(), newest, newestLimit),
        processor,
        touched: newest,
      }),
  }));
  return Object.assign(store, { newestLimit });
}

export function applyToChanges(store: ChangesStore, event: CommitEvent): void {
  const { version, newest } = store.getState();
  store.setState({
    version: version + 1,
    counts: event.counts,
    processor: event.processor,
    touched: event.changes,
    newest: event.changes.length === 0 ? newest : mergeNewest(newest, event.changes, store.newestLimit),
  });
}

function noneNewest(): Record<ChangeStatus, readonly Change[]> {
  return { pending: [], retrying: [], failed: [], conflicted: [], blocked: [], applied: [], synced: [], discarded: [] };
}

/**
 * Takes touched changes out of the list of the status they had and puts them into that of the status they have. A list
 * that holds none of them and receives none stays the same array. A change is known by its place: an edit may give it
 * another id.
 */
function mergeNewest(
  newest: Readonly<Record<ChangeStatus, readonly Change[]>>,
  touched: readonly Change[],
  limit: number,
): Record<ChangeStatus, readonly Change[]> {
  const touchedSeqs = new Set(touched.map((change) => change.seq));
  const merged = { ...newest };
  for (const status of CHANGE_STATUSES) {
    const list = newest[status];
    const arriving = touched.filter((change) => change.status === status);
    const isHeld = list.some((change) => touchedSeqs.has(change.seq));
    if (arriving.length === 0 && !isHeld) continue;
    const staying = isHeld ? list.filter((change) => !touchedSeqs.has(change.seq)) : list;
    merged[status] = join(arriving, staying, limit);
  }
  return merged;
}

/** Newest first; what arrives is mostly newer than all that stays, and then nothing need be sorted. */
function join(arriving: readonly Change[], staying: readonly Change[], limit: number): readonly Change[] {
  const newestStaying = staying[0]?.seq ?? -1;
  const [only] = arriving;
  if (arriving.length === 1 && only !== undefined && only.seq > newestStaying) {
    return [only, ...(staying.length < limit ? staying : staying.slice(0, limit - 1))];
  }
  return [...arriving, ...staying].toSorted((a, b) => b.seq - a.seq).slice(0, limit);
}
