// What commits did, told once each to whoever listens: the stores, the processor, watchers. A draft is filled while a
// transaction runs and published after its commit; a draft that is not published never happened.
import { CHANGE_STATUSES, type Change, type ChangeStatus, type Entity, noChanges } from '../protocol/changes.ts';
import type { CommitEvent, EntityDelta, ProcessorState } from '../protocol/engine.ts';
import type { ReasonContext } from './change-row.ts';
import type { Session } from './database.ts';
import type { SyncState } from '../protocol/sync-state.ts';
import type { EntityTypes } from './entity-types.ts';

export class CommitDraft {
  readonly changes = new Map<number, Change>();
  readonly upserted = new Map<string, Map<string, Entity>>();
  readonly deleted = new Map<string, Set<string>>();
  readonly reload = new Set<string>();
  readonly entityCounts = new Map<string, number>();
  readonly statusCounts = new Map<ChangeStatus, number>();
  entityTypesChanged = false;
  /** Changes recorded earlier have become pending again. */
  releasedPending = false;

  /** A change that was not there before. */
  recorded(change: Change): void {
    this.count(null, change.status, 1);
    this.changes.set(change.seq, change);
  }

  moved(from: ChangeStatus, change: Change): void {
    this.count(from, change.status, 1);
    this.changes.set(change.seq, change);
  }

  count(from: ChangeStatus | null, to: ChangeStatus | null, number: number): void {
    if (to === 'pending' && from !== null) this.releasedPending = true;
    if (from === to) return;
    if (from !== null) add(this.statusCounts, from, -number);
    if (to !== null) add(this.statusCounts, to, number);
  }

  entityInserted(entityType: string, entityId: string, entity: Entity): void {
    add(this.entityCounts, entityType, 1);
    this.entityUpdated(entityType, entityId, entity);
  }

  entityUpdated(entityType: string, entityId: string, entity: Entity): void {
    this.deleted.get(entityType)?.delete(entityId);
    inner(this.upserted, entityType, () => new Map<string, Entity>()).set(entityId, entity);
  }

  entityDeleted(entityType: string, entityId: string): void {
    add(this.entityCounts, entityType, -1);
    this.upserted.get(entityType)?.delete(entityId);
    inner(this.deleted, entityType, () => new Set<string>()).add(entityId);
  }

  /** Takes over what a part of the same transaction did. */
  include(part: CommitDraft): void {
    for (const [seq, change] of part.changes) this.changes.set(seq, change);
    for (const [status, difference] of part.statusCounts) add(this.statusCounts, status, difference);
    for (const [type, difference] of part.entityCounts) add(this.entityCounts, type, difference);
    for (const [type, entities] of part.upserted) {
      for (const [id, entity] of entities) this.entityUpdated(type, id, entity);
    }
    for (const [type, ids] of part.deleted) {
      for (const id of ids) {
        this.upserted.get(type)?.delete(id);
        inner(this.deleted, type, () => new Set<string>()).add(id);
      }
    }
    for (const type of part.reload) this.reload.add(type);
    this.entityTypesChanged ||= part.entityTypesChanged;
    this.releasedPending ||= part.releasedPending;
  }

  get isEmpty(): boolean {
    return (
      this.changes.size === 0 &&
      this.statusCounts.size === 0 &&
      this.upserted.size === 0 &&
      this.deleted.size === 0 &&
      this.reload.size === 0 &&
      !this.entityTypesChanged
    );
  }
}

export type CommitListener = (event: CommitEvent) => void;

export class CommitLog {
  readonly #entityTypes: EntityTypes;
  readonly #listeners = new Set<CommitListener>();
  readonly #onListenerError: (error: unknown) => void;
  #counts = noChanges();
  processor: ProcessorState = 'stopped';
  /** Set while there is a server: what is applied then waits to be pushed. */
  push: ReasonContext['push'];
  /** No change up to this `seq` is pending: the processor need not look again at what it has done. */
  settledUpTo = 0;

  constructor(entityTypes: EntityTypes, onListenerError: (error: unknown) => void) {
    this.#entityTypes = entityTypes;
    this.#onListenerError = onListenerError;
  }

  get counts(): Readonly<Record<ChangeStatus, number>> {
    return this.#counts;
  }

  /** Changes that stand in the way of later ones of their lane. */
  get stuck(): number {
    const { failed, retrying, blocked, conflicted } = this.#counts;
    return failed + retrying + blocked + conflicted;
  }

  get waiting(): number {
    return this.#counts.pending + this.stuck;
  }

  async recount(session: Session): Promise<void> {
    const rows = await session.run<{ status: ChangeStatus; count: number }>(
      `SELECT status, count(*) AS count FROM local_changes GROUP BY status`,
    );
    this.#counts = noChanges();
    this.settledUpTo = 0;
    for (const { status, count } of rows) this.#counts[status] = count;
  }

  listen(listener: CommitListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  publish(draft: CommitDraft): void {
    if (draft.isEmpty) return;
    if (draft.releasedPending) this.settledUpTo = 0;
    for (const [status, difference] of draft.statusCounts) this.#counts[status] += difference;
    const entities = this.#deltas(draft);
    const changes = [...draft.changes.values()].sort((a, b) => a.seq - b.seq).map((change) => this.#awaiting(change));
    const entityTypes = draft.entityTypesChanged ? { entityTypes: this.#entityTypes.infos() } : {};
    this.#tell({ changes, entities, counts: this.#snapshotCounts(), processor: this.processor, ...entityTypes });
  }

  #awaiting(change: Change): Change {
    if (this.push === undefined || change.status !== 'applied' || change.awaiting !== null) return change;
    if (change.origin === 'remote' || this.push.isLocalOnly(change.entityType)) return change;
    return { ...change, awaiting: 'push', reason: this.push.reason };
  }

  /** Tells listeners what synchronisation is at; commits carry nothing of it themselves. */
  tellSync(sync: SyncState): void {
    this.#tell({ changes: [], entities: [], counts: this.#snapshotCounts(), processor: this.processor, sync });
  }

  setProcessor(state: ProcessorState): void {
    if (this.processor === state) return;
    this.processor = state;
    this.#tell({ changes: [], entities: [], counts: this.#snapshotCounts(), processor: state });
  }

  #deltas(draft: CommitDraft): EntityDelta[] {
    const touched = new Set([
      ...draft.upserted.keys(),
      ...draft.deleted.keys(),
      ...draft.reload,
      ...draft.entityCounts.keys(),
    ]);
    return [...touched].map((entityType) => {
      const count = this.#entityTypes.addToCount(entityType, draft.entityCounts.get(entityType) ?? 0);
      const upserted = [...(draft.upserted.get(entityType)?.values() ?? [])];
      const deleted = [...(draft.deleted.get(entityType) ?? [])];
      const delta = { entityType, upserted, deleted, count };
      return draft.reload.has(entityType) ? { ...delta, reload: true } : delta;
    });
  }

  #snapshotCounts(): Record<ChangeStatus, number> {
    const counts = noChanges();
    for (const status of CHANGE_STATUSES) counts[status] = this.#counts[status];
    return counts;
  }

  /** A listener that throws must not undo or hide a commit that has happened. */
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

function add<K>(map: Map<K, number>, key: K, difference: number): void {
  map.set(key, (map.get(key) ?? 0) + difference);
}

function inner<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const present = map.get(key);
  if (present !== undefined) return present;
  const made = make();
  map.set(key, made);
  return made;
}
