// Puts entities to a given state in bulk, parents before children, without recording changes. What a constraint here
// stops is found by halving and given back; it never stops the others.
import type { Entity } from '../protocol/changes.ts';
import { aimAt } from '../db/capture.ts';
import { laneOf } from '../db/change-row.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import type { Session } from '../db/database.ts';
import type { EntityName } from '../db/entity-bases.ts';
import { bulkPutAbsent, bulkPutPresent, bulkRemove, stillReferredTo } from '../db/entity-statements.ts';
import { type EntityType, type EntityTypes, columnOfKey } from '../db/entity-types.ts';
import { SqlError, isRefusal } from '../db/sql-error.ts';

export interface Put extends EntityName {
  /** Null where it is to be gone. */
  readonly state: Entity | null;
}

export interface PutOutcome {
  /** By lane: the entity before, where it was there. */
  readonly previous: Map<string, Entity>;
  readonly refused: readonly { readonly put: Put; readonly error: unknown }[];
}

export interface PutContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly draft: CommitDraft;
  /** True where many are put at once, so that whoever shows the type reads it again. */
  readonly reload?: boolean;
}

/** Within the caller's transaction; each entity at most once. Puts of types that are not registered are refused. */
export async function putEntities(context: PutContext, puts: readonly Put[]): Promise<PutOutcome> {
  const previous = new Map<string, Entity>();
  const refused: { put: Put; error: unknown }[] = [];
  const known: Put[] = [];
  for (const put of puts) {
    if (context.entityTypes.get(put.entityType) === undefined)
      refused.push({ put, error: new UnknownType(put.entityType) });
    else known.push(put);
  }
  refused.push(...(await putInPasses(context, known, previous)));
  return { previous, refused };
}

type Refused = PutOutcome['refused'][number];

/** What is left after so many is tried again when something else has been written. */
const PASSES = 6;

/**
 * What one of them stands in another's way of may go once that other is in place. Each pass goes the other way round: of a
 * row of them that wait for one another, one way finds a place for all and the other for one.
 */
async function putInPasses(
  context: PutContext,
  puts: readonly Put[],
  previous: Map<string, Entity>,
): Promise<Refused[]> {
  const hopeless: Refused[] = [];
  let waiting: readonly Put[] = referredFirst(context.entityTypes, puts);
  for (let pass = 1; ; pass++) {
    const left = await putOrHalve(context, waiting, previous);
    hopeless.push(...left.filter(({ error }) => isOfItself(error)));
    const others = left.filter(({ error }) => !isOfItself(error));
    if (others.length === 0 || left.length === waiting.length || pass === PASSES) return [...hopeless, ...others];
    waiting = others.map(({ put }) => put).toReversed();
  }
}

/** A value that does not fit, whatever else is here: no other row makes room for it. */
function isOfItself(error: unknown): boolean {
  return error instanceof SqlError && /^(22|54|23502|23514)/.test(error.sqlState);
}

export class UnknownType extends Error {
  constructor(entityType: string) {
    super(`Entity type "${entityType}" is not registered here. It is put in place once it is.`);
    this.name = 'UnknownType';
  }
}

export class StillReferredTo extends Error {
  readonly child: string;

  constructor({ entityType, entityId }: EntityName, child: string) {
    super(
      `${entityType} "${entityId}" was deleted elsewhere, but a ${child} here still refers to it. Delete or change that one, then retry.`,
    );
    this.name = 'StillReferredTo';
    this.child = child;
  }
}

async function putOrHalve(
  context: PutContext,
  puts: readonly Put[],
  previous: Map<string, Entity>,
): Promise<Refused[]> {
  if (puts.length === 0) return [];
  try {
    await context.session.savepoint(() => putAll(context, puts, previous));
    return [];
  } catch (error) {
    if (!(error instanceof StillReferredTo) && !isRefusal(error)) throw error;
    const [only] = puts;
    if (puts.length === 1 && only !== undefined) return [{ put: only, error }];
    const middle = Math.ceil(puts.length / 2);
    return [
      ...(await putOrHalve(context, puts.slice(0, middle), previous)),
      ...(await putOrHalve(context, puts.slice(middle), previous)),
    ];
  }
}

/** Each before what refers to it, so that halves go in that order; a circle stands as it came. What is to go comes last. */
function referredFirst(entityTypes: EntityTypes, puts: readonly Put[]): readonly Put[] {
  if (puts.length <= 1) return puts;
  const stays = new Map(puts.flatMap((put) => (put.state === null ? [] : [[laneOf(put), put] as const])));
  const byType = Map.groupBy(stays.values(), ({ entityType }) => entityType);
  const ordered = new Set<Put>();
  const visited = new Set<Put>();
  for (const type of entityTypes.parentsFirst()) {
    const { entityType } = type;
    const columns = type.foreignKeys.flatMap((foreignKey) => columnOfKey(foreignKey, type) ?? []);
    const visit = (put: Put): void => {
      if (visited.has(put)) return;
      visited.add(put);
      for (const column of columns) {
        const referred = stays.get(laneOf({ entityType, entityId: String(put.state?.[column]) }));
        if (referred !== undefined) visit(referred);
      }
      ordered.add(put);
    };
    for (const put of byType.get(entityType) ?? []) visit(put);
  }
  return [...ordered, ...puts.filter(({ state }) => state === null)];
}

interface Done {
  readonly type: EntityType;
  readonly id: string;
  readonly before: Entity | null;
  readonly entity: Entity | null;
}

async function putAll(context: PutContext, puts: readonly Put[], previous: Map<string, Entity>): Promise<void> {
  const done: Done[] = [];
  const types = context.entityTypes
    .parentsFirst()
    .filter((type) => puts.some((put) => put.entityType === type.entityType));
  for (const type of types) {
    const given = puts.filter((put) => put.entityType === type.entityType && put.state !== null);
    done.push(...(await putOfType(context.session, type, given)));
  }
  for (const type of types.toReversed()) {
    const gone = puts.filter((put) => put.entityType === type.entityType && put.state === null);
    done.push(...(await removeOfType(context, type, gone)));
  }
  await context.session.run('SET CONSTRAINTS ALL IMMEDIATE');
  for (const one of done) tell(context, one, previous);
}

function tell({ draft, reload }: PutContext, { type, id, before, entity }: Done, previous: Map<string, Entity>): void {
  const { entityType } = type;
  if (before !== null) previous.set(laneOf({ entityType, entityId: id }), before);
  if (reload === true) {
    draft.reload.add(entityType);
    const difference = (entity === null ? 0 : 1) - (before === null ? 0 : 1);
    draft.entityCounts.set(entityType, (draft.entityCounts.get(entityType) ?? 0) + difference);
  } else if (entity === null) draft.entityDeleted(entityType, id);
  else if (before === null) draft.entityInserted(entityType, id, entity);
  else draft.entityUpdated(entityType, id, entity);
}

async function putOfType(session: Session, type: EntityType, puts: readonly Put[]): Promise<Done[]> {
  if (puts.length === 0) return [];
  const ids = puts.map((put) => put.entityId);
  const rows = puts.map((put) => ({ e: put.entityId, d: put.state ?? {} }));
  const present = await session.runList<[id: string, before: Entity, entity: Entity | null]>(bulkPutPresent(type), [
    JSON.stringify(rows),
    aimAt(type, 'UPDATE', ids),
  ]);
  const there = new Set(present.map(([id]) => id));
  const done: Done[] = present.flatMap(([id, before, entity]) =>
    entity === null ? [] : [{ type, id, before, entity }],
  );
  const absent = rows.filter((row) => !there.has(row.e));
  for (const group of groupByKeys(absent).values()) {
    const keys = Object.keys(group[0]?.d ?? {}).sort();
    const aim = aimAt(
      type,
      'INSERT',
      group.map((row) => row.e),
    );
    const written = await session.runList<{ id: string; entity: Entity }>(bulkPutAbsent(type, keys), [
      JSON.stringify(group),
      aim,
    ]);
    for (const { id, entity } of written) done.push({ type, id, before: null, entity });
  }
  return done;
}

/** Absent keys mean defaults, so that only rows with the same keys share a statement. */
function groupByKeys(
  rows: readonly { readonly e: string; readonly d: Entity }[],
): Map<string, { e: string; d: Entity }[]> {
  const groups = new Map<string, { e: string; d: Entity }[]>();
  for (const row of rows) {
    const keys = JSON.stringify(Object.keys(row.d).sort());
    const group = groups.get(keys);
    if (group === undefined) groups.set(keys, [row]);
    else group.push(row);
  }
  return groups;
}

/** A delete from elsewhere never cascades over what is here: it waits until nothing refers to the entity. */
async function removeOfType(
  { session, entityTypes }: PutContext,
  type: EntityType,
  puts: readonly Put[],
): Promise<Done[]> {
  if (puts.length === 0) return [];
  const rows = JSON.stringify(puts.map((put) => ({ e: put.entityId })));
  for (const child of entityTypes.all()) {
    for (const foreignKey of child.foreignKeys) {
      if (foreignKey.referencedTable !== type.sqlTable) continue;
      const [first] = await session.run<{ id: string }>(stillReferredTo(type, child, foreignKey), [rows]);
      if (first !== undefined)
        throw new StillReferredTo({ entityType: type.entityType, entityId: first.id }, child.entityType);
    }
  }
  const gone = await session.runList<{ id: string; previous: Entity }>(bulkRemove(type), [
    rows,
    aimAt(
      type,
      'DELETE',
      puts.map((put) => put.entityId),
    ),
  ]);
  return gone.map(({ id, previous }) => ({ type, id, before: previous, entity: null }));
}
