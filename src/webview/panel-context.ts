// What every component of the panel reaches: the host, and the stores that mirror the database.
import { createContext, useContext, useEffect, useSyncExternalStore } from 'react';
import { useStore } from 'zustand';
import type { Change, ChangeFilter } from '../protocol/changes.ts';
import { matchesFilter } from '../protocol/changes.ts';
import type { PanelState } from '../protocol/panel.ts';
import { type LocalDataStores, createStores, publishCommit, resetStores } from '../stores/local-data-stores.ts';
import type { HostConnection } from './host-connection.ts';
import { changeTypeView, viewStore } from './view-state.ts';
import { WaitingChanges } from './waiting-changes.ts';

export class PanelModel {
  readonly host: HostConnection;
  /** Without entities: the pages in view hold those. */
  readonly stores: LocalDataStores = createStores({ entityWindow: 0 });
  readonly waiting: WaitingChanges;
  readonly #listeners = new Set<() => void>();
  /** How many entities of each type were found last, by the filter of then. */
  readonly totals = new Map<string, number>();
  state: PanelState | undefined;
  version = 0;

  constructor(host: HostConnection) {
    this.host = host;
    this.waiting = new WaitingChanges(
      (query) => host.call('waiting', query),
      () => this.#changed(),
    );
    host.listen((news) => {
      switch (news.kind) {
        case 'state':
          this.state = news.state;
          if (news.state.kind === 'open') resetStores(this.stores, news.state.snapshot);
          this.waiting.readSoon();
          break;
        case 'commit':
          publishCommit(this.stores, news.event);
          this.waiting.readSoon();
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

  /** Forgets what it holds and asks the host for all of it. */
  reconnect(): void {
    this.state = undefined;
    this.#changed();
    this.host.ready();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  readonly getVersion = (): number => this.version;

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
