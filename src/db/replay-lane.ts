// Puts entities to what they are without some changes, or with one put in its place: the later changes of the lane are
// replayed on top, and each keeps a true `previous`. Nothing here decides whether that is allowed.
import { sameJson } from '../protocol/canonical-json.ts';
import type { Change, Entity, JsonObject } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { laneOf } from './change-row.ts';
import { LISTED_DEPENDENTS, changesBySeq, hasDependents } from './dependents.ts';
import { type EntityName, type OverlayChange, effectOf } from './entity-bases.ts';
import { readEntity } from './entity-statements.ts';
import { ChangeFailure, describeMissing, explain, missingParent } from './failures.ts';
import { type Lane, type Replayed, previousIn, readLane, replayLane, stateBefore } from './lane-states.ts';
import { putInserted, putState } from './put-entity.ts';
import { type RepairContext, nameOf } from './repair-context.ts';
import { SqlError, isRefusal } from './sql-error.ts';
import { asArray } from './sql-values.ts';

/** Puts each touched entity to what it is without the given applied changes. */
export async function takeBack(context: RepairContext, members: readonly Change[]): Promise<void> {
  const lanes = Map.groupBy(members.filter(isInPlace), laneOf);
  // Last made, first unmade: children go before the parents they were made after.
  const ordered = [...lanes.values()].sort((a, b) => (b.at(-1)?.seq ?? 0) - (a.at(-1)?.seq ?? 0));
  const puts: StatePut[] = [];
  for (const gone of ordered) {
    const [first] = gone;
    if (first === undefined) continue;
    const replayed = await withoutThem(context, first, gone);
    await refuseBroken(context, first, replayed);
    await writeCorrections(context, replayed);
    puts.push({ cause: first, state: replayed.final });
  }
  await putAll(context, puts);
}

/** Applied here and not yet part of what the server is known to have. */
function isInPlace(change: Change): boolean {
  return change.processedLocal && !change.processedSync && change.status !== 'discarded' && change.origin !== 'remote';
}

/** The entity of a change without the given changes, for who asks before. */
export async function entityWithout(
  context: RepairContext,
  change: Change,
  members: readonly Change[],
  now: Entity | null,
): Promise<Entity | null> {
  if (!isInPlace(change)) return now;
  const gone = members.filter((member) => laneOf(member) === laneOf(change));
  return (await withoutThem(context, gone[0] ?? change, gone)).final;
}

async function withoutThem(context: RepairContext, first: Change, gone: readonly Change[]): Promise<Replayed> {
  const lane = await readLane(context, first, first.seq);
  const seqs = new Set(gone.map(({ seq }) => seq));
  return replayLane(lane, { leftOut: lane.changes.filter(({ seq }) => seqs.has(seq)) });
}

interface StatePut {
  readonly cause: Change;
  readonly state: Entity | null;
}

/**
 * What a constraint stops waits for the others: a parent that a cascade took comes back before its children, though it was
 * the first to go.
 */
async function putAll(context: RepairContext, puts: readonly StatePut[]): Promise<void> {
  let waiting = puts;
  for (;;) {
    const stopped: { readonly put: StatePut; readonly error: SqlError }[] = [];
    for (const put of waiting) {
      try {
        await context.session.savepoint(() => putState(context, put.cause, put.state));
      } catch (error) {
        if (!(error instanceof SqlError) || !error.sqlState.startsWith('23')) throw error;
        stopped.push({ put, error });
      }
    }
    const [first] = stopped;
    if (first === undefined) break;
    if (stopped.length === waiting.length) throw stoodOn(first.put.cause, first.error);
    waiting = stopped.map(({ put }) => put);
  }
}

function stoodOn(change: Change, error: SqlError): LocalDataError {
  const detail = error.detail === undefined ? '' : ` ${error.detail}`;
  return new LocalDataError(
    'HAS_DEPENDENTS',
    `${nameOf(change)} cannot be taken back: ${error.message}.${detail} Discard or change what depends on it first.`,
    { id: change.id, sqlState: error.sqlState, constraint: error.constraint ?? null },
    { cause: error },
  );
}

/** How a change stands in its lane once it is there. */
export type Placed = Pick<OverlayChange, 'previous' | 'result' | 'rebased'>;

export interface Placing {
  readonly lane: Lane;
  /** As it is to be; its `result` is what the table makes of it. */
  readonly change: OverlayChange;
  /** As it was, where it is in place already. */
  readonly was: OverlayChange | undefined;
  /** What defaults made for an insert, and is to stay. */
  readonly kept?: JsonObject;
}

/**
 * Puts a change in its place, under the later changes of its lane. Its own values are written to the table before those of
 * the later ones, so that they are checked and brought to their form as when it is applied. Throws what Postgres says.
 */
export async function placeInLane(context: RepairContext, cause: Change, placing: Placing): Promise<Placed> {
  const { lane, change, was } = placing;
  const found = stateBefore(lane, change.seq);
  const previous = previousIn(lane, change);
  // A column that the base does not know is as it was before the change.
  const before = found === null ? change.previous : { ...previous, ...found };
  const made = await make(context, placing, { found, before });
  const placed = { ...change, previous, ...asMade(change, made, { found, before, previous }) };
  const replayed = replayLane(lane, { leftOut: was === undefined ? [] : [was], putIn: placed });
  await refuseBroken(context, cause, replayed);
  await writeCorrections(context, replayed);
  const isLast = !lane.changes.some(({ seq }) => seq > change.seq);
  if (!isLast || made === null) await putState(context, change, replayed.final);
  await context.session.run('SET CONSTRAINTS ALL IMMEDIATE');
  return { previous: placed.previous, result: placed.result, rebased: placed.rebased };
}

interface Standing {
  /** The entity where the change is put in. */
  readonly found: Entity | null;
  /** What its fields are written over: where the server has deleted the entity, what it was made on. */
  readonly before: Entity | null;
  /** What it is to say was there before it. */
  readonly previous: Entity | null;
}

/** Writes the entity as it is right after the change; null where that takes it away. */
async function make(
  context: RepairContext,
  { change, kept }: Placing,
  { found, before }: Pick<Standing, 'found' | 'before'>,
): Promise<Entity | null> {
  const { operation, data } = change.rebased ?? change;
  if (operation === 'delete') return null;
  const made =
    operation === 'insert' && found === null
      ? await putInserted(context, change, { ...kept, ...data })
      : await putState(context, change, { ...before, ...data });
  if (made !== null) return made;
  const { table } = context.entityTypes.require(change.entityType);
  const why = `A trigger or rule of table "${table}" held it back. Look at the table's triggers.`;
  throw new ChangeFailure('CONSTRAINT_VIOLATION', why, { table });
}

/** What took effect, where that is not what the change asks for. */
function asMade(
  { operation, data, rebased }: OverlayChange,
  made: Entity | null,
  { found, before, previous }: Standing,
): Pick<OverlayChange, 'result' | 'rebased'> {
  if (made === null) return { result: null, rebased };
  if (rebased !== null) {
    const fields = Object.keys(rebased.data ?? {}).map((field) => [field, made[field] ?? null] as const);
    return { result: null, rebased: { ...rebased, data: Object.fromEntries(fields) } };
  }
  if (operation === 'insert' && found === null) return { result: sameJson(made, data) ? null : made, rebased };
  const written = effectOf({ operation: 'update', data, previous: before, result: made, rebased: null }).data ?? {};
  if (operation === 'insert') return { result: sameJson(written, data) ? null : written, rebased };
  const result = { ...previous, ...written };
  return { result: sameJson(result, { ...previous, ...data }) ? null : result, rebased };
}

async function refuseBroken(context: RepairContext, cause: Change, { broken }: Replayed): Promise<void> {
  if (broken.length === 0) return;
  throw hasDependents(cause, await changesBySeq(context, broken.slice(0, LISTED_DEPENDENTS)), broken.length);
}

async function writeCorrections({ session }: RepairContext, { corrections }: Replayed): Promise<void> {
  if (corrections.length === 0) return;
  await session.run(
    `UPDATE local_changes c SET previous = NULLIF(i.p, 'null'), result = NULLIF(i.r, 'null')
     FROM jsonb_to_recordset($1::jsonb) AS i(s bigint, p jsonb, r jsonb) WHERE c.seq = ANY ($2::bigint[]) AND c.seq = i.s`,
    [
      JSON.stringify(corrections.map(({ seq, previous, result }) => ({ s: seq, p: previous, r: result }))),
      asArray(corrections.map(({ seq }) => seq)),
    ],
  );
}

/** A value that the table refuses, in words that name the change; anything else as it was thrown. */
export function asRefused(context: RepairContext, change: Change, action: string, error: unknown): unknown {
  const { entityType, entityId, id } = change;
  const say = (why: string): string => `${nameOf(change)} was not ${action}. ${why}`;
  if (error instanceof ChangeFailure) {
    const code = error.code === 'KEY_MISMATCH' || error.code === 'UNKNOWN_COLUMN' ? error.code : 'CONSTRAINT_VIOLATION';
    return new LocalDataError(code, say(error.message), { id, entityType, entityId, ...error.concerns });
  }
  if (!isRefusal(error)) return error;
  const parent = missingParent(change, context.entityTypes, error);
  const type = context.entityTypes.get(entityType);
  const why = parent === undefined ? explain(change, type, error) : describeMissing(change, parent);
  const details = { id, entityType, entityId, sqlState: error.sqlState, constraint: error.constraint ?? null };
  return new LocalDataError('CONSTRAINT_VIOLATION', say(why), details, { cause: error });
}

export async function currentEntity(
  context: RepairContext,
  { entityType, entityId }: EntityName,
): Promise<Entity | null> {
  const type = context.entityTypes.get(entityType);
  if (type === undefined) return null;
  try {
    const [row] = await context.session.run<{ entity: Entity }>(readEntity(type), [entityId]);
    return row?.entity ?? null;
  } catch (error) {
    if (error instanceof SqlError && error.sqlState.startsWith('22')) return null;
    throw error;
  }
}
