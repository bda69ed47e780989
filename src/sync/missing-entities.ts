// Entities that the server's earlier history had and its new one lacks. They are kept here and not sent, until a person
// decides, a local change does, or the server turns out to have them after all. Nothing is deleted unasked.
import type { Entity } from '../protocol/changes.ts';
import type { MissingEntity, MissingOutcome, RefusedMissing } from '../protocol/sync-state.ts';
import { type ChangeRow, laneOf, lightColumns, toChange } from '../db/change-row.ts';
import type { Session } from '../db/database.ts';
import { type EntityBase, type EntityName, type OverlayChange, effectOf } from '../db/entity-bases.ts';
import { type EntityType, entityAsJson, keyColumn } from '../db/entity-types.ts';
import { pageLimit } from '../db/page-limit.ts';
import { quoteLiteral } from '../db/sql-values.ts';
import type { RemoteContext } from './apply-feed.ts';
import { recordPresent, saysMore } from './present-state.ts';
import { StillReferredTo, putEntities } from './put-entities.ts';

const CHUNK = 1_000;
const REFUSED_LISTED = 1_000;

/**
 * Before the bases of the earlier history go: what it had and nobody has changed here since. The new history's snapshot
 * takes off the list what it has.
 */
export async function listCandidates({ session }: RemoteContext, types: readonly EntityType[]): Promise<void> {
  for (const type of types) {
    const name = quoteLiteral(type.entityType);
    await session.run(
      `INSERT INTO local_data.missing_entities (entity_type, entity_id, timestamp)
       SELECT b.entity_type, b.entity_id, b.timestamp FROM ${type.sqlTable} t
         JOIN local_data.entity_bases b ON b.entity_type = ${name} AND b.entity_id = t.${keyColumn(type)}::text
       WHERE NOT b.deleted AND NOT EXISTS (
         SELECT FROM local_changes c WHERE c.entity_type = ${name} AND c.entity_id = b.entity_id
           AND c.origin <> 'remote' AND c.discarded_at IS NULL AND NOT c.processed_sync)
       ON CONFLICT DO NOTHING`,
    );
  }
}

/**
 * The server has them after all, though perhaps not as they are here: then both meet as at a first connect, and mine counts
 * as old as it is. To be called before entities are put on these bases.
 */
export async function meetAgain(context: RemoteContext, bases: readonly EntityBase[]): Promise<void> {
  if (context.missing === 0 || bases.length === 0) return;
  const { session } = context;
  const met = await session.run<{ t: string; e: string; h: number }>(
    `DELETE FROM local_data.missing_entities m USING jsonb_to_recordset($1::jsonb) AS n(t text, e text)
     WHERE m.entity_type = n.t AND m.entity_id = n.e RETURNING m.entity_type AS t, m.entity_id AS e, m.timestamp AS h`,
    [bases.map(shortName)],
  );
  if (met.length === 0) return;
  context.tellMissing();
  const theirs = new Map(bases.map((base) => [laneOf(base), base.data]));
  for (const type of context.entityTypes.parentsFirst()) {
    const ofType = met.filter(({ t }) => t === type.entityType);
    const present = await readPresent(
      session,
      type,
      ofType.map(({ e }) => e),
    );
    const differing = ofType.flatMap(({ t, e, h }) => {
      const entity = present.get(e);
      const base = theirs.get(laneOf({ entityType: t, entityId: e })) ?? null;
      return entity !== undefined && base !== null && saysMore(type, entity, base)
        ? [{ id: e, entity, timestamp: h }]
        : [];
    });
    await recordPresent(context, type, differing, 'the state before the new history');
  }
}

/**
 * A local change decides for its entity: the server is told of the whole of it, in the place of the first change that
 * waits. `names`: where changes may have come, or all.
 */
export async function sendChanged(context: RemoteContext, names: readonly EntityName[] | 'all'): Promise<void> {
  const { session } = context;
  const among =
    names === 'all'
      ? ''
      : `AND (m.entity_type, m.entity_id) IN (SELECT n.t, n.e FROM jsonb_to_recordset($1::jsonb) AS n(t text, e text))`;
  const first = await session.runList<OverlayChange>(
    `SELECT json_agg(json_build_object('seq', c.seq, 'id', c.id, 'entityType', c.entity_type, 'entityId', c.entity_id,
       'operation', c.operation, 'data', c.data, 'previous', c.previous, 'result', c.result, 'rebased', c.rebased)) AS rows
     FROM local_data.missing_entities m CROSS JOIN LATERAL (
       SELECT * FROM local_changes l WHERE l.entity_type = m.entity_type AND l.entity_id = m.entity_id
         AND l.status = 'applied' AND l.origin <> 'remote' ORDER BY l.seq LIMIT 1) c
     WHERE true ${among}`,
    names === 'all' ? [] : [names.map(shortName)],
  );
  if (first.length === 0) return;
  context.tellMissing();
  for (const change of first) {
    const { operation, data } = effectOf(change);
    if (operation !== 'update') continue;
    const whole = { operation: 'insert', data: { ...change.previous, ...data } };
    await session.run(
      `UPDATE local_changes SET rebased = $2::jsonb, base_version = 0, base_timestamp = 0 WHERE seq = $1`,
      [change.seq, whole],
    );
  }
  await takeOff(session, first);
}

export async function listMissing(session: Session, limit?: number): Promise<MissingEntity[]> {
  const rows = await session.run<{ t: string; e: string }>(
    `SELECT entity_type AS t, entity_id AS e FROM local_data.missing_entities ORDER BY entity_type, entity_id
     LIMIT ${pageLimit(limit ?? CHUNK)}`,
  );
  return rows.map(({ t, e }) => ({ entityType: t, entityId: e }));
}

/** Each call of `write` is a transaction. */
type Write = <T>(work: (context: RemoteContext) => Promise<T>) => Promise<T>;

/** All of them become inserts of their present state, parents first. */
export async function sendMissing(write: Write, types: readonly EntityType[]): Promise<MissingOutcome> {
  let decided = 0;
  for (const type of types) {
    for (let sent = CHUNK; sent === CHUNK;) {
      sent = await write((context) => sendSome(context, type));
      decided += sent;
    }
  }
  return { decided, refused: [] };
}

async function sendSome(context: RemoteContext, type: EntityType): Promise<number> {
  const { session } = context;
  const rows = await session.run<{ e: string; h: number }>(
    `SELECT entity_id AS e, timestamp AS h FROM local_data.missing_entities WHERE entity_type = $1
     ORDER BY entity_id LIMIT ${CHUNK}`,
    [type.entityType],
  );
  const present = await readPresent(
    session,
    type,
    rows.map(({ e }) => e),
  );
  const entities = rows.flatMap(({ e, h }) => {
    const entity = present.get(e);
    return entity === undefined ? [] : [{ id: e, entity, timestamp: h }];
  });
  await recordPresent(context, type, entities, 'kept and sent, which the new history of the server did not have');
  await takeOff(
    session,
    rows.map(({ e }) => ({ entityType: type.entityType, entityId: e })),
  );
  context.tellMissing();
  return rows.length;
}

/**
 * All of them are deleted here, children before parents, as deletes in the trail. What something else here refers to stays,
 * and so does the question.
 */
export async function removeMissing(write: Write, types: readonly EntityType[]): Promise<MissingOutcome> {
  let decided = 0;
  for (let before = Infinity; ;) {
    const refused: RefusedMissing[] = [];
    for (const type of types.toReversed()) {
      for (let after: string | undefined = ''; after !== undefined;) {
        const from: string = after;
        const part = await write((context) => removeSome(context, type, from));
        decided += part.removed;
        refused.push(...part.refused);
        after = part.next;
      }
    }
    // One that another of them referred to may go once that other is gone.
    if (refused.length === 0 || refused.length >= before) return { decided, refused: refused.slice(0, REFUSED_LISTED) };
    before = refused.length;
  }
}

interface RemovedPart {
  readonly removed: number;
  readonly refused: readonly RefusedMissing[];
  readonly next: string | undefined;
}

async function removeSome(context: RemoteContext, type: EntityType, after: string): Promise<RemovedPart> {
  const { session, entityTypes, draft } = context;
  const { entityType } = type;
  const rows = await session.run<{ e: string }>(
    `SELECT entity_id AS e FROM local_data.missing_entities WHERE entity_type = $1 AND entity_id > $2
     ORDER BY entity_id LIMIT ${CHUNK}`,
    [entityType, after],
  );
  const names = rows.map(({ e }) => ({ entityType, entityId: e }));
  const puts = names.map((name) => ({ ...name, state: null }));
  const outcome = await putEntities({ session, entityTypes, draft }, puts);
  const stays = new Map(outcome.refused.map(({ put, error }) => [laneOf(put), error]));
  const gone = names.filter((name) => !stays.has(laneOf(name)));
  await recordDeletes(context, gone, outcome.previous);
  await takeOff(session, gone);
  if (gone.length > 0) context.tellMissing();
  return {
    removed: gone.length,
    refused: names.flatMap((name) => {
      const error = stays.get(laneOf(name));
      return error === undefined ? [] : [{ ...name, reason: whyItStays(error) }];
    }),
    next: rows.length === CHUNK ? rows.at(-1)?.e : undefined,
  };
}

function whyItStays(error: unknown): string {
  if (error instanceof StillReferredTo) return `A ${error.child} here refers to it.`;
  return error instanceof Error ? error.message : String(error);
}

async function recordDeletes(
  { session, draft, now, newId }: RemoteContext,
  names: readonly EntityName[],
  previous: ReadonlyMap<string, Entity>,
): Promise<void> {
  const rows = names.flatMap((name) => {
    const before = previous.get(laneOf(name));
    return before === undefined ? [] : [{ id: newId(), ...shortName(name), p: before }];
  });
  if (rows.length === 0) return;
  const recorded = await session.run<ChangeRow>(
    `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, timestamp, processed_local, applied_at, previous,
       base_version, base_timestamp, note)
     SELECT r.id, r.t, r.e, 'delete', $2, true, $2, r.p, 0, 0, 'removed, because the new history of the server did not have it'
     FROM jsonb_to_recordset($1::jsonb) AS r(id text, t text, e text, p jsonb) RETURNING ${lightColumns('c')}`,
    [JSON.stringify(rows), now],
  );
  for (const row of recorded) draft.recorded(toChange(row, { now, paused: false }));
}

/** Entities as they are here, by id. */
async function readPresent(session: Session, type: EntityType, ids: readonly string[]): Promise<Map<string, Entity>> {
  if (ids.length === 0) return new Map();
  const key = `t.${keyColumn(type)}`;
  const rows = await session.runList<{ id: string; entity: Entity }>(
    `SELECT json_agg(json_build_object('id', ${key}::text, 'entity', ${entityAsJson(type, 't')})) AS rows
     FROM ${type.sqlTable} t WHERE ${key} = ANY (ARRAY(SELECT e::${type.keyType} FROM jsonb_array_elements_text($1::jsonb) e))`,
    [JSON.stringify(ids)],
  );
  return new Map(rows.map(({ id, entity }) => [id, entity]));
}

async function takeOff(session: Session, names: readonly EntityName[]): Promise<void> {
  await session.run(
    `DELETE FROM local_data.missing_entities m USING jsonb_to_recordset($1::jsonb) AS n(t text, e text)
     WHERE m.entity_type = n.t AND m.entity_id = n.e`,
    [names.map(shortName)],
  );
}

function shortName({ entityType, entityId }: EntityName): { readonly t: string; readonly e: string } {
  return { t: entityType, e: entityId };
}
