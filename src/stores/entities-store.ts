// Holds windows of entities, never whole types: what was changed or asked for last. Maps are mutated and versions
// counted up, because copying a Map of 100,000 entities for one change is what this design avoids (measured: 20 ms
// copied, 0.0008 ms mutated). Select by `version` or by one entity's identity; never hold on to the Map itself.
import { type StoreApi, createStore } from 'zustand/vanilla';
import type { Entity } from '../protocol/changes.ts';
import type { CommitEvent, EntityTypeInfo } from '../protocol/engine.ts';

export interface EntityWindow {
  readonly info: EntityTypeInfo;
  /** All entities of the type in the database, not only those held. */
  readonly count: number;
  /** Held entities by id; mutated in place. An updated entity is a new object. */
  readonly held: Map<string, Entity>;
  /** Counts up with every commit that touched this type. */
  readonly version: number;
  /** Counts up when a commit was too large to carry: read again what is shown. */
  readonly reloads: number;
}

export interface EntitiesState {
  /** Counts up with every commit that touched any entity. */
  readonly version: number;
  readonly types: Map<string, EntityWindow>;
  get(entityType: string, entityId: string): Entity | undefined;
  /** Keeps entities that were read, so that later commits find them here. */
  hold(entityType: string, entities: readonly Entity[]): void;
  reset(entityTypes: readonly EntityTypeInfo[]): void;
}

export type EntitiesStore = StoreApi<EntitiesState> & { readonly windowSize: number };

export function createEntitiesStore(windowSize: number): EntitiesStore {
  const store = createStore<EntitiesState>()((set, get) => ({
    version: 0,
    types: new Map(),
    get: (entityType, entityId) => get().types.get(entityType)?.held.get(entityId),
    hold: (entityType, entities) => {
      const window = get().types.get(entityType);
      if (window === undefined || entities.length === 0) return;
      keep(window, entities, windowSize);
      get().types.set(entityType, { ...window, version: window.version + 1 });
      set({ version: get().version + 1 });
    },
    reset: (entityTypes) => {
      const types = new Map(entityTypes.map((info) => [info.entityType, emptyWindow(info)]));
      set({ types, version: get().version + 1 });
    },
  }));
  return Object.assign(store, { windowSize });
}

export function applyToEntities(store: EntitiesStore, event: CommitEvent): void {
  if (event.entities.length === 0 && event.entityTypes === undefined) return;
  const { types, version } = store.getState();
  for (const info of event.entityTypes ?? []) {
    types.set(info.entityType, { ...(types.get(info.entityType) ?? emptyWindow(info)), info, count: info.count });
  }
  for (const delta of event.entities) {
    const window = types.get(delta.entityType);
    if (window === undefined) continue;
    keep(window, delta.upserted, store.windowSize);
    for (const id of delta.deleted) window.held.delete(id);
    if (delta.reload) window.held.clear();
    types.set(delta.entityType, {
      ...window,
      count: delta.count,
      version: window.version + 1,
      reloads: window.reloads + (delta.reload ? 1 : 0),
    });
  }
  store.setState({ version: version + 1 });
}

function emptyWindow(info: EntityTypeInfo): EntityWindow {
  return { info, count: info.count, held: new Map(), version: 0, reloads: 0 };
}

/** A Map keeps insertion order: deleting before setting makes the first key the least recently changed. */
function keep(window: EntityWindow, entities: readonly Entity[], windowSize: number): void {
  const { held, info } = window;
  for (const entity of entities) {
    const id = String(entity[info.key]);
    held.delete(id);
    held.set(id, entity);
  }
  for (const id of held.keys()) {
    if (held.size <= windowSize) break;
    held.delete(id);
  }
}
