// What becomes of a change that the server answered with a conflict. Decides and describes; writes nothing.
//
// The same field on both sides goes by the entity type's policy; fields that only one side wrote have merged already.
//
// | mine / theirs     | merge            | last-write-wins  | local-wins | remote-wins | manual |
// | ----------------- | ---------------- | ---------------- | ---------- | ----------- | ------ |
// | same field        | objects merge; else the later | the later | mine | theirs      | asked  |
// | update / delete   | mine: an edit outlives a delete | the later | mine | theirs    | asked  |
// | delete / update   | theirs: an edit outlives a delete | the later | mine | theirs  | asked  |
// | insert / delete   | mine             | the later        | mine       | theirs      | asked  |
//
// "The later" is by hybrid logical clock, and by the client's id where those are equal, so that all replicas agree.
import type { Entity, JsonObject, JsonValue, Operation } from '../protocol/changes.ts';
import { sameJson } from '../protocol/canonical-json.ts';
import type { FieldWrite, PushResult } from '../protocol/sync.ts';
import type { Conflict, ConflictField, ConflictPolicy, ConflictResolution, Resolve } from '../protocol/sync-state.ts';
import type { Rebased } from '../db/change-row.ts';
import { without } from '../db/entity-bases.ts';

export type ServerConflict = Extract<PushResult, { outcome: 'conflict' }>;

/** The change as it was sent. */
export interface ConflictingChange {
  readonly operation: Operation;
  /** The fields it writes; null for a delete. */
  readonly data: JsonObject | null;
  /** Fields it takes out of a document. */
  readonly removed: string[];
  /** The entity before it, here. */
  readonly previous: Entity | null;
  /** Where it was an insert, the entity it made, though it be sent as an update by now. */
  readonly inserted: Entity | null;
  readonly timestamp: number;
  readonly clientId: string;
}

export interface Settled {
  readonly conflict: Conflict;
  /** What is sent instead, on the server's version; null when nothing is left to send. */
  readonly rebased: Rebased | null;
}

/** By policy; undefined where a person is asked. */
export function settleByPolicy(
  change: ConflictingChange,
  server: ServerConflict,
  policy: ConflictPolicy,
  now: number,
): Settled | undefined {
  if (policy === 'manual') return undefined;
  const conflict = describeConflict(change, server, policy, now);
  const whole = server.fields['*'];
  if (whole !== undefined) {
    const keepsMine = wholeIsMine(change, whole, policy);
    return settleWhole(change, conflict, keepsMine ? 'mine' : 'theirs', 'policy', now);
  }
  const chosen = new Map<string, JsonValue | undefined>();
  for (const [field, sides] of Object.entries(conflict.fields)) {
    chosen.set(field, chooseField(change, sides, sidesOf(field, change, conflict), policy));
  }
  return settleFields(change, conflict, chosen, 'policy', now);
}

export function describeConflict(
  change: ConflictingChange,
  server: ServerConflict,
  policy: ConflictPolicy,
  now: number,
): Conflict {
  const { operation, data, previous } = change;
  const fields: Record<string, ConflictField> = {};
  for (const [field, { clientId, timestamp }] of Object.entries(server.fields)) {
    if (field === '*') continue;
    fields[field] = {
      base: previous?.[field] ?? null,
      mine: data?.[field] ?? null,
      theirs: server.entity?.[field] ?? null,
      theirClientId: clientId,
      theirTimestamp: timestamp,
    };
  }
  const mine = operation === 'delete' ? null : without({ ...(previous ?? change.inserted), ...data }, change.removed);
  return {
    at: now,
    policy,
    version: server.version,
    operation,
    base: previous,
    mine,
    theirs: server.entity,
    fields,
    resolution: null,
  };
}

/** By a person: one side, or the entity as it is to be. */
export function settleByPerson(change: ConflictingChange, conflict: Conflict, resolve: Resolve, now: number): Settled {
  if ('data' in resolve) {
    const { theirs, mine } = conflict;
    // What is left out stays as the server has it.
    const wanted = without({ ...theirs, ...resolve.data }, resolve.removed);
    const sent = differing(wanted, theirs ?? {});
    const removed = Object.keys(theirs ?? {}).filter((field) => !(field in wanted));
    const operation = theirs === null ? ('insert' as const) : ('update' as const);
    const isNothing = Object.keys(sent).length === 0 && removed.length === 0;
    const rebased: Rebased | null = isNothing
      ? null
      : { operation, data: sent, ...(removed.length === 0 ? {} : { removed }) };
    const written = Object.entries(change.data ?? mine ?? {});
    const lost = {
      mine: Object.fromEntries(written.filter(([field, value]) => !sameJson(value, wanted[field]))),
      theirs: Object.fromEntries(
        Object.entries(theirs ?? {}).filter(([field, value]) => !(field in wanted) || !sameJson(value, wanted[field])),
      ),
    };
    return { conflict: resolved(conflict, { by: 'person', outcome: 'merged', at: now, lost }), rebased };
  }
  const isWhole = Object.keys(conflict.fields).length === 0;
  if (isWhole) return settleWhole(change, conflict, resolve.keep, 'person', now);
  const chosen = new Map<string, JsonValue | undefined>();
  for (const field of Object.keys(conflict.fields)) chosen.set(field, sidesOf(field, change, conflict)[resolve.keep]);
  return settleFields(change, conflict, chosen, 'person', now);
}

function wholeIsMine(
  change: ConflictingChange,
  theirs: FieldWrite,
  policy: Exclude<ConflictPolicy, 'manual'>,
): boolean {
  switch (policy) {
    case 'merge':
      return change.operation !== 'delete';
    case 'last-write-wins':
      return isLater(change, theirs);
    case 'local-wins':
      return true;
    case 'remote-wins':
      return false;
  }
}

function settleWhole(
  change: ConflictingChange,
  conflict: Conflict,
  outcome: 'mine' | 'theirs',
  by: ConflictResolution['by'],
  now: number,
): Settled {
  const { mine, theirs } = conflict;
  const lost = outcome === 'mine' ? { mine: {}, theirs: theirs ?? {} } : { mine: mine ?? {}, theirs: {} };
  const settled = resolved(conflict, { by, outcome, at: now, lost });
  if (outcome === 'theirs') return { conflict: settled, rebased: null };
  if (change.operation === 'delete') return { conflict: settled, rebased: { operation: 'delete', data: null } };
  // What the server has deleted comes back whole.
  const rebased: Rebased =
    theirs === null
      ? { operation: 'insert', data: mine ?? {} }
      : {
          operation: 'update',
          data: change.data ?? {},
          ...(change.removed.length === 0 ? {} : { removed: change.removed }),
        };
  return { conflict: settled, rebased };
}

function settleFields(
  change: ConflictingChange,
  conflict: Conflict,
  chosen: ReadonlyMap<string, JsonValue | undefined>,
  by: ConflictResolution['by'],
  now: number,
): Settled {
  const lost: { mine: JsonObject; theirs: JsonObject } = { mine: {}, theirs: {} };
  const data: JsonObject = {};
  const removed: string[] = [];
  for (const field of new Set([...Object.keys(change.data ?? {}), ...change.removed])) {
    const sides = conflict.fields[field];
    const { mine, theirs } = sidesOf(field, change, conflict);
    const wanted = sides === undefined ? mine : chosen.get(field);
    if (sides !== undefined && !sameJson(wanted, mine)) lost.mine[field] = sides.mine;
    if (sides !== undefined && !sameJson(wanted, theirs)) lost.theirs[field] = sides.theirs;
    if (sameJson(wanted, theirs)) continue;
    if (wanted === undefined) removed.push(field);
    else data[field] = wanted;
  }
  const keptAllOf = (side: JsonObject): boolean => Object.keys(side).length === 0;
  const outcome = keptAllOf(lost.mine) ? 'mine' : keptAllOf(lost.theirs) ? 'theirs' : 'merged';
  const isNothing = Object.keys(data).length === 0 && removed.length === 0;
  const rebased: Rebased = { operation: 'update', data, ...(removed.length === 0 ? {} : { removed }) };
  return {
    conflict: resolved(conflict, { by, outcome, at: now, lost }),
    rebased: isNothing ? null : rebased,
  };
}

/** Undefined where a side has no such field. */
interface Sides {
  readonly base: JsonValue | undefined;
  readonly mine: JsonValue | undefined;
  readonly theirs: JsonValue | undefined;
}

function sidesOf(field: string, { data, removed, previous }: ConflictingChange, { theirs }: Conflict): Sides {
  return {
    base: previous?.[field],
    mine: removed.includes(field) ? undefined : (data?.[field] ?? null),
    theirs: theirs?.[field],
  };
}

function chooseField(
  change: ConflictingChange,
  { theirClientId, theirTimestamp }: ConflictField,
  { base, mine, theirs }: Sides,
  policy: Exclude<ConflictPolicy, 'manual'>,
): JsonValue | undefined {
  const isMineLater = isLater(change, { clientId: theirClientId, timestamp: theirTimestamp });
  switch (policy) {
    case 'merge':
      if (isObject(mine) && isObject(theirs)) return mergeValues(base, mine, theirs, isMineLater);
      // That they wrote it the server has said, whatever the entity here was before mine took effect.
      return isMineLater && !sameJson(mine, base) ? mine : theirs;
    case 'last-write-wins':
      return isMineLater ? mine : theirs;
    case 'local-wins':
      return mine;
    case 'remote-wins':
      return theirs;
  }
}

/**
 * Three-way: what only one side changed is kept from that side; what both changed goes by the later, into objects. Undefined
 * is not there.
 */
export function mergeValues(
  base: JsonValue | undefined,
  mine: JsonValue | undefined,
  theirs: JsonValue | undefined,
  isMineLater: boolean,
): JsonValue | undefined {
  if (sameJson(mine, theirs) || sameJson(mine, base)) return theirs;
  if (sameJson(theirs, base)) return mine;
  if (!isObject(mine) || !isObject(theirs)) return isMineLater ? mine : theirs;
  const from = isObject(base) ? base : {};
  const merged: JsonObject = {};
  for (const key of new Set([...Object.keys(theirs), ...Object.keys(mine)])) {
    const value = mergeValues(from[key], mine[key], theirs[key], isMineLater);
    if (value !== undefined) merged[key] = value;
  }
  return merged;
}

function isLater(
  mine: { readonly timestamp: number; readonly clientId: string },
  theirs: { readonly timestamp: number; readonly clientId: string },
): boolean {
  if (mine.timestamp !== theirs.timestamp) return mine.timestamp > theirs.timestamp;
  return mine.clientId > theirs.clientId;
}

function differing(wanted: JsonObject, present: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(wanted).filter(([field, value]) => !sameJson(value, present[field])));
}

function resolved(conflict: Conflict, resolution: ConflictResolution): Conflict {
  return { ...conflict, resolution };
}

function isObject(value: JsonValue | null | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
