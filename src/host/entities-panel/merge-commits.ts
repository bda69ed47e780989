// Makes one commit event of several, so that a panel is told at most a few times a second. Where the whole would be too
// large to send, it says only what has to be read again. The order of what happened to one entity is kept.
import type { Change, Entity } from '../../protocol/changes.ts';
import type { CommitEvent, EntityDelta, EntityTypeInfo } from '../../protocol/engine.ts';
import { wireSize } from '../../protocol/wire-size.ts';

/** Some hundreds of rows: more than are in view, and less than it costs to take in between two frames. */
const LARGEST_BYTES = 128 * 1024;

/** `keyOf` gives the name of a type's key field. */
export function mergeCommits(
  events: readonly [CommitEvent, ...CommitEvent[]],
  keyOf: (entityType: string) => string | undefined,
): CommitEvent {
  const last = events.at(-1) ?? events[0];
  const changes = new Map<string, Change>();
  const deltas = new Map<string, EntityDelta>();
  const types = new Map<string, EntityTypeInfo>();
  for (const event of events) {
    for (const change of event.changes) changes.set(change.id, change);
    for (const info of event.entityTypes ?? []) types.set(info.entityType, info);
    for (const delta of event.entities) {
      const before = deltas.get(delta.entityType);
      deltas.set(delta.entityType, before === undefined ? delta : mergeDeltas(before, delta, keyOf(delta.entityType)));
    }
  }
  const merged: CommitEvent = {
    changes: [...changes.values()].sort((a, b) => a.seq - b.seq),
    entities: [...deltas.values()],
    counts: last.counts,
    processor: last.processor,
    ...(types.size === 0 ? {} : { entityTypes: [...types.values()] }),
  };
  return wireSize(merged, LARGEST_BYTES) <= LARGEST_BYTES ? merged : withoutBodies(merged);
}

function mergeDeltas(before: EntityDelta, after: EntityDelta, key: string | undefined): EntityDelta {
  const { entityType, count } = after;
  if (key === undefined || before.reload === true || after.reload === true) return reloadOf(entityType, count);
  const upserted = new Map<string, Entity>(before.upserted.map((entity) => [String(entity[key]), entity]));
  const deleted = new Set(before.deleted);
  for (const id of after.deleted) {
    upserted.delete(id);
    deleted.add(id);
  }
  for (const entity of after.upserted) {
    upserted.set(String(entity[key]), entity);
    deleted.delete(String(entity[key]));
  }
  return { entityType, count, upserted: [...upserted.values()], deleted: [...deleted] };
}

function withoutBodies(event: CommitEvent): CommitEvent {
  return {
    ...event,
    changes: [],
    entities: event.entities.map(({ entityType, count }) => reloadOf(entityType, count)),
  };
}

function reloadOf(entityType: string, count: number): EntityDelta {
  return { entityType, count, upserted: [], deleted: [], reload: true };
}
