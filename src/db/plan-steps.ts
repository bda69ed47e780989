// Decides which changes may share a statement. A list is planned so that, when every step succeeds, the outcome is that
// of applying it one by one in `seq` order; where that cannot be promised the change stands alone.
import type { Change } from '../protocol/changes.ts';
import { laneOf } from './change-row.ts';
import type { EntityType, EntityTypes } from './entity-types.ts';

/** Changes of one type and operation, at most one of a lane, that one statement applies. */
export interface Step {
  readonly type: EntityType;
  readonly operation: Change['operation'];
  /** The payload's keys, shared by all of them; inserts only. */
  readonly keys: readonly string[];
  readonly changes: readonly Change[];
}

/** `changes` in `seq` order, all applicable and of registered types. */
export function planSteps(changes: readonly Change[], entityTypes: EntityTypes): Step[] {
  return cutAtBarriers(changes, entityTypes).flatMap((stretch) => planStretch(stretch, entityTypes));
}

/** Stretches whose changes commute across lanes. */
function cutAtBarriers(changes: readonly Change[], entityTypes: EntityTypes): Change[][] {
  const stretches: Change[][] = [];
  let kind = '';
  for (const change of changes) {
    const next = commutesWith(change, entityTypes.require(change.entityType));
    const last = stretches.at(-1);
    if (last !== undefined && next !== 'alone' && next === kind) last.push(change);
    else stretches.push([change]);
    kind = next;
  }
  return stretches;
}

/** A name that changes which may be reordered among each other share; `alone` for those which may not at all. */
function commutesWith(change: Change, type: EntityType): string {
  if (type.hasUserTriggers) return 'alone';
  switch (change.operation) {
    case 'insert':
      return 'mixed';
    case 'update':
      return touchesSensitive(change, type) ? 'alone' : 'mixed';
    case 'delete':
      if (type.referencedBy === 'cascades' || type.referencesItself) return 'alone';
      return type.referencedBy === 'none' && !type.hasSecondaryUnique ? 'mixed' : `deletes of ${type.entityType}`;
  }
}

function touchesSensitive(change: Change, type: EntityType): boolean {
  if (type.sensitiveColumns.size === 0) return false;
  if (type.sensitiveColumns.has('*')) return true;
  return Object.keys(change.data ?? {}).some((column) => type.sensitiveColumns.has(column));
}

/** Round k takes each lane's k-th change; within a round parents are inserted before children. */
function planStretch(stretch: readonly Change[], entityTypes: EntityTypes): Step[] {
  const seen = new Map<string, number>();
  const rounds: Change[][] = [];
  for (const change of stretch) {
    const lane = laneOf(change);
    const round = seen.get(lane) ?? 0;
    seen.set(lane, round + 1);
    (rounds[round] ??= []).push(change);
  }
  return rounds.flatMap((round) => groupRound(round, entityTypes));
}

function groupRound(round: readonly Change[], entityTypes: EntityTypes): Step[] {
  const groups = new Map<string, { step: Step; changes: Change[] }>();
  for (const change of round) {
    const keys = change.operation === 'insert' ? Object.keys(change.data ?? {}).sort() : [];
    const name = JSON.stringify([change.operation, change.entityType, keys]);
    const group = groups.get(name);
    if (group !== undefined) {
      group.changes.push(change);
      continue;
    }
    const changes = [change];
    const step = { type: entityTypes.require(change.entityType), operation: change.operation, keys, changes };
    groups.set(name, { step, changes });
  }
  const depth = new Map<string, number>();
  const order = { insert: 0, update: 1, delete: 2 };
  return [...groups.values()]
    .map((group) => group.step)
    .sort(
      (a, b) =>
        order[a.operation] - order[b.operation] ||
        depthOf(a.type, entityTypes, depth) - depthOf(b.type, entityTypes, depth),
    );
}

/** 0 for types that reference no other; a cycle counts as far as it was followed. */
function depthOf(type: EntityType, entityTypes: EntityTypes, known: Map<string, number>): number {
  const depth = known.get(type.entityType);
  if (depth !== undefined) return depth;
  known.set(type.entityType, 0);
  const parents = type.foreignKeys
    .map((foreignKey) => entityTypes.byTable(foreignKey.referencedTable))
    .filter((parent) => parent !== undefined && parent !== type);
  const deepest = parents.reduce(
    (most, parent) => (parent === undefined ? most : Math.max(most, 1 + depthOf(parent, entityTypes, known))),
    0,
  );
  known.set(type.entityType, deepest);
  return deepest;
}
