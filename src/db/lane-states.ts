// A lane as a row of states: from where it starts, through each of its changes that the feed does not cover, to the entity
// as it is here. What a repair makes of it is the same row with a change left out, put in or made another; this says which
// state that comes to, what each later change has found before it then, and which of them no longer fit.
import { sameJson } from '../protocol/canonical-json.ts';
import type { Entity, JsonObject } from '../protocol/changes.ts';
import { laneOf } from './change-row.ts';
import type { Session } from './database.ts';
import { type EntityName, type OverlayChange, effectOf, readBase, readOverlay, replayOverlay } from './entity-bases.ts';
import type { EntityTypes } from './entity-types.ts';
import { asArray } from './sql-values.ts';

export interface Lane extends EntityName {
  /** The entity before `changes`. */
  readonly start: Entity | null;
  readonly changes: readonly OverlayChange[];
  /** Where it is `deleted` on the server, an update keeps the entity in view until that is settled. */
  readonly base: 'none' | 'present' | 'deleted';
  /** A table's; a base need not know all of them, while what a document lacks it has not. */
  readonly hasColumns: boolean;
  /** Changes whose base has moved since they were made: what they found then is what conflicts are settled with. */
  readonly onOlderBase: ReadonlySet<number>;
}

/**
 * On the base where there is one; else the changes that begin at `from`, on what the first of them says was there before
 * it, because nobody else writes the entity then.
 */
export async function readLane(
  { session, entityTypes }: { readonly session: Session; readonly entityTypes: EntityTypes },
  { entityType, entityId }: EntityName,
  from: number,
): Promise<Lane> {
  const name = { entityType, entityId };
  const hasColumns = entityTypes.get(entityType)?.kind === 'table';
  const base = await readBase(session, name);
  const overlay = (await readOverlay(session, [name])).get(laneOf(name)) ?? [];
  if (base === undefined) {
    const changes = overlay.filter(({ seq }) => seq >= from);
    const start = changes[0]?.previous ?? null;
    return { ...name, hasColumns, start, changes, base: 'none', onOlderBase: new Set() };
  }
  const older = await session.run<{ seq: number }>(
    `SELECT seq FROM local_changes WHERE seq = ANY($1::bigint[]) AND base_version < $2`,
    [asArray([from, ...overlay.map(({ seq }) => seq)]), base.version],
  );
  return {
    ...name,
    hasColumns,
    start: base.data,
    changes: overlay,
    base: base.data === null ? 'deleted' : 'present',
    onOlderBase: new Set(older.map(({ seq }) => seq)),
  };
}

/** The entity before the change at `seq`. */
export function stateBefore({ start, changes }: Lane, seq: number): Entity | null {
  return replayOverlay(
    start,
    changes.filter((change) => change.seq < seq),
  );
}

/** What a change of the lane is to say was there before it. */
export function previousIn(lane: Lane, change: OverlayChange): Entity | null {
  const found = stateBefore(lane, change.seq);
  return previousOf(lane, change, { found, foundBefore: found, beneath: new Map() });
}

/** What a repair makes of a lane. An edited change is both: left out as it was, put in as it is to be. */
export interface LaneRepair {
  readonly leftOut: readonly OverlayChange[];
  readonly putIn?: OverlayChange;
}

/** What a later change is to say of itself now. */
export interface Correction {
  readonly seq: number;
  readonly previous: Entity | null;
  readonly result: Entity | null;
}

export interface Replayed {
  /** The entity as it is to be. */
  readonly final: Entity | null;
  readonly corrections: readonly Correction[];
  /** Later changes that fitted before and do not now: an insert of what is there, an update of what is not. */
  readonly broken: readonly number[];
}

/** Replays what each change did, with what defaults and triggers made of it. */
export function replayLane(lane: Lane, repair: LaneRepair): Replayed {
  const { leftOut, putIn } = repair;
  const from = Math.min(...leftOut.map(({ seq }) => seq), putIn?.seq ?? Infinity);
  const foundBefore = new Map(statesOf(lane.start, lane.changes).map(({ change, found }) => [change.seq, found]));
  const changes = changesAfter(lane, repair);
  const beneath = valuesBeneath(repair);
  const corrections: Correction[] = [];
  const broken: number[] = [];
  for (const { change, found } of statesOf(lane.start, changes)) {
    if (change.seq <= from || change.seq === putIn?.seq) continue;
    const was = foundBefore.get(change.seq) ?? null;
    if (fits(lane, change, was) && !fits(lane, change, found)) broken.push(change.seq);
    const previous = previousOf(lane, change, { found, foundBefore: was, beneath });
    const result = resultOf(change, previous);
    if (!sameJson(previous, change.previous) || !sameJson(result, change.result))
      corrections.push({ seq: change.seq, previous, result });
  }
  return { final: withColumns(lane, foundBy(leftOut), replayOverlay(lane.start, changes)), corrections, broken };
}

function withColumns({ hasColumns }: Lane, known: Entity | null, state: Entity | null): Entity | null {
  return hasColumns && state !== null ? { ...known, ...state } : state;
}

/** What changes that are left out had found in the fields they wrote: such a column goes back to it where no base knows it. */
function foundBy(leftOut: readonly OverlayChange[]): JsonObject {
  const values: JsonObject = {};
  for (const change of leftOut.toSorted((a, b) => b.seq - a.seq)) {
    for (const field of Object.keys(effectOf(change).data ?? {})) {
      const value = change.previous?.[field];
      if (value !== undefined) values[field] = value;
    }
  }
  return values;
}

function changesAfter({ changes }: Lane, { leftOut, putIn }: LaneRepair): OverlayChange[] {
  const gone = new Set(leftOut.map(({ seq }) => seq));
  const staying = changes.filter(({ seq }) => !gone.has(seq));
  return putIn === undefined ? staying : [...staying, putIn].sort((a, b) => a.seq - b.seq);
}

interface LaneState {
  readonly change: OverlayChange;
  readonly found: Entity | null;
}

function statesOf(start: Entity | null, changes: readonly OverlayChange[]): LaneState[] {
  let state = start;
  return changes.map((change) => {
    const found = state;
    state = replayOverlay(found, [change]);
    return { change, found };
  });
}

function fits({ base }: Lane, change: OverlayChange, found: Entity | null): boolean {
  switch (effectOf(change).operation) {
    case 'insert':
      return found === null;
    case 'update':
      return found !== null || base === 'deleted';
    case 'delete':
      return true;
  }
}

/** By field that is written no longer, what had been found beneath it: by the first of those that wrote it. */
function valuesBeneath({ leftOut, putIn }: LaneRepair): ReadonlyMap<string, Entity | null> {
  const beneath = new Map<string, Entity | null>();
  for (const change of leftOut.toSorted((a, b) => b.seq - a.seq)) {
    for (const field of Object.keys(effectOf(change).data ?? {})) beneath.set(field, change.previous);
  }
  if (putIn !== undefined) for (const field of Object.keys(effectOf(putIn).data ?? {})) beneath.delete(field);
  return beneath;
}

interface Found {
  readonly found: Entity | null;
  readonly foundBefore: Entity | null;
  readonly beneath: ReadonlyMap<string, Entity | null>;
}

/**
 * The entity as the change finds it. In the fields it writes itself, what it was made on is kept, though the base has moved
 * since: a conflict is settled by that; only what the repair took from beneath it is another now.
 */
function previousOf(lane: Lane, change: OverlayChange, { found, foundBefore, beneath }: Found): Entity | null {
  if (found === null) return change.operation === 'update' ? change.previous : null;
  const previous: JsonObject = { ...withColumns(lane, change.previous, found) };
  if (change.previous === null || !lane.onOlderBase.has(change.seq)) return previous;
  for (const field of Object.keys(effectOf(change).data ?? {})) {
    const isMoved = !sameJson(found[field], foundBefore?.[field]);
    const isOwn = isMoved && beneath.has(field);
    const kept = isOwn ? beneath.get(field)?.[field] : isMoved ? found[field] : change.previous[field];
    if (kept === undefined) Reflect.deleteProperty(previous, field);
    else previous[field] = kept;
  }
  return previous;
}

/** The entity after a change whose effect stays what it was; null where that is what its data says. */
function resultOf(change: OverlayChange, previous: Entity | null): Entity | null {
  const { operation, data } = effectOf({ ...change, rebased: null });
  if (operation !== 'update') return change.result;
  const result = { ...previous, ...data };
  return sameJson(result, { ...previous, ...change.data }) ? null : result;
}
