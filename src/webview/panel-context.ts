// What every component of the panel reaches: the host, and the stores that mirror the database.
import { createContext, useContext, useEffect, useSyncExternalStore } from 'react';
import { useStore } from 'zustand';
import type { Change, ChangeFilter } from '../protocol/changes.ts';
import { WAITING_STATUSES, matchesFilter } from '../protocol/changes.ts';
import type { PanelState } from '../protocol/panel.ts';
import { type LocalDataStores, createStores, publishCommit, resetStores } from '../stores/local-data-stores.ts';
import type { HostConnection } from './host-connection.ts';
import { changeTypeView, viewStore } from './view-state.ts';

const READ_WAITING_AFTER_MS = 500;

export class PanelModel {
  readonly host: HostConnection;
  readonly stores: LocalDataStores = createStores({ entityWindow: 5_000 });
  readonly #listeners = new Set<() => void>();
  /** Changes that are not done, by type and entity, newest last; for the marks on rows. */
  #waiting = new Map<string, Map<string, Change[]>>();
  #loadedWaiting = new Set<string>();
  state: PanelState | undefined;
  version = 0;

  constructor(host: HostConnection) {
    this.host = host;
    host.listen((news) => {
      switch (news.kind) {
        case 'state':
          this.state = news.state;
          if (news.state.kind === 'open') resetStores(this.stores, news.state.snapshot);
          this.#waiting = new Map();
          this.#loadedWaiting = new Set();
          break;
        case 'commit':
          publishCommit(this.stores, news.event);
          for (const change of news.event.changes) this.#note(change);
          for (const { entityType, reload } of news.event.entities) {
            if (reload === true) this.#readWaitingSoon(entityType);
          }
          break;
        case 'show':
          if (news.target.entityType === undefined) break;
          viewStore.setState({ entityType: news.target.entityType });
          if (news.target.entityId !== undefined) {
            changeTypeView(news.target.entityType, { selectedId: news.target.entityId });
          }
          break;
      }
      this.#changed();
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  readonly getVersion = (): number => this.version;

  waitingOf(entityType: string): ReadonlyMap<string, readonly Change[]> {
    return this.#waiting.get(entityType) ?? new Map();
  }

  /** Reads a type's unfinished changes once; later ones come with commits. */
  async loadWaiting(entityType: string): Promise<void> {
    if (this.#loadedWaiting.has(entityType)) return;
    this.#loadedWaiting.add(entityType);
    try {
      await this.#readWaiting(entityType);
    } catch {
      // The database is busy or gone; the next time this type is shown asks again.
      this.#loadedWaiting.delete(entityType);
    }
  }

  /** A commit too large to carry has not told which changes it touched. Many of them in a row are one reading. */
  #readWaitingSoon(entityType: string): void {
    if (!this.#loadedWaiting.delete(entityType)) this.#waiting.delete(entityType);
    else setTimeout(() => void this.loadWaiting(entityType), READ_WAITING_AFTER_MS);
  }

  async #readWaiting(entityType: string): Promise<void> {
    const { changes } = await this.host.call('waiting', { entityType });
    this.#waiting.delete(entityType);
    for (const change of changes) this.#note(change);
    this.#changed();
  }

  #note(change: Change): void {
    const lanes = this.#waiting.get(change.entityType) ?? new Map<string, Change[]>();
    this.#waiting.set(change.entityType, lanes);
    const others = (lanes.get(change.entityId) ?? []).filter((other) => other.id !== change.id);
    const isWaiting = WAITING_STATUSES.some((status) => status === change.status);
    const lane = isWaiting ? [...others, change].sort((a, b) => a.seq - b.seq) : others;
    if (lane.length === 0) lanes.delete(change.entityId);
    else lanes.set(change.entityId, lane);
  }

  #changed(): void {
    this.version += 1;
    for (const listener of this.#listeners) listener();
  }
}

const PanelContext = createContext<PanelModel | undefined>(undefined);
export const PanelProvider = PanelContext.Provider;

export function usePanel(): PanelModel {
  const model = useContext(PanelContext);
  if (model === undefined) throw new Error('The panel has no model: render within PanelProvider.');
  return model;
}

/** Renders again with every message of the host. */
export function usePanelVersion(): number {
  const model = usePanel();
  return useSyncExternalStore(model.subscribe, model.getVersion);
}

/** Calls back with the changes of each commit that match. */
export function useLiveChanges(filter: ChangeFilter, callback: (changes: readonly Change[]) => void): void {
  const { stores } = usePanel();
  const touched = useStore(stores.changes, (state) => state.touched);
  const key = JSON.stringify(filter);
  useEffect(() => {
    const matching = touched.filter((change) => matchesFilter(change, filter));
    if (matching.length > 0) callback(matching);
    // The filter's content counts, not its identity; a callback that changes is not a new commit.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [touched, key]);
}
