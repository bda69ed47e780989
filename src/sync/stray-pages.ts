// Entities that are not what their bases and the changes that wait on top make of them, page by page. Each page is of one
// moment. What is set aside, or in a conflict with what was taken over, is shown where it is and is no stray.
import type { VerifyDifference } from '../protocol/sync-state.ts';
import { laneOf } from '../db/change-row.ts';
import type { Session } from '../db/database.ts';
import { type EntityBase, type EntityName, feedVersion, readOverlay, replayOverlay } from '../db/entity-bases.ts';
import { type EntityType, type EntityTypes, keyColumn } from '../db/entity-types.ts';
import { quoteLiteral } from '../db/sql-values.ts';
import { findStrays } from '../db/stray-entities.ts';

export interface StrayParts {
  readonly read: <T>(work: (session: Session) => Promise<T>) => Promise<T>;
  readonly entityTypes: EntityTypes;
  readonly isLocalOnly: (entityType: string) => boolean;
}

const PAGE = 1_000;

export async function* strayPages({ read, entityTypes, isLocalOnly }: StrayParts): AsyncGenerator<VerifyDifference[]> {
  const names = entityTypes.all().flatMap(({ entityType }) => (isLocalOnly(entityType) ? [] : [entityType]));
  for (const name of names) {
    for (const next of [basesOf, withoutBase]) {
      for (let after: string | null | undefined = null; after !== undefined;) {
        const from: string | null = after;
        const page: Page | undefined = await read(async (session) => {
          const type = entityTypes.get(name);
          if (type === undefined) return undefined;
          const { bases, last } = await next(session, type, from);
          return { strays: await findAmong(session, type, bases), last };
        });
        if (page === undefined) break;
        yield page.strays;
        after = page.last;
      }
    }
  }
}

interface Page {
  readonly strays: VerifyDifference[];
  /** Undefined where there is no more. */
  readonly last: string | undefined;
}

/** Of these, those that are strays, by lane. */
export async function straysAmong(
  { session, entityTypes }: { readonly session: Session; readonly entityTypes: EntityTypes },
  bases: readonly EntityBase[],
): Promise<ReadonlySet<string>> {
  const strays = new Set<string>();
  for (const [name, ofType] of Map.groupBy(bases, ({ entityType }) => entityType)) {
    const type = entityTypes.get(name);
    if (type === undefined) continue;
    for (const stray of await findAmong(session, type, ofType)) strays.add(laneOf(stray));
  }
  return strays;
}

async function findAmong(
  session: Session,
  type: EntityType,
  bases: readonly EntityBase[],
): Promise<VerifyDifference[]> {
  const overlay = await readOverlay(session, bases, await feedVersion(session));
  const excused = await shownElsewhere(session, bases);
  const expected = bases.flatMap((base) => {
    const lane = laneOf(base);
    if (excused.has(lane)) return [];
    return [{ id: base.entityId, entity: replayOverlay(base.data, overlay.get(lane) ?? []) }];
  });
  const { entityType } = type;
  const strays = await findStrays(session, type, expected);
  return strays.map(({ id, entity, here }) => ({
    entityType,
    entityId: id,
    kind: 'not-as-base',
    server: entity,
    here,
  }));
}

/** The next bases of a type, those of deleted entities too. */
async function basesOf(
  session: Session,
  { entityType }: EntityType,
  after: string | null,
): Promise<{ readonly bases: readonly EntityBase[]; readonly last: string | undefined }> {
  const bases = await session.runList<EntityBase>(
    `SELECT json_agg(json_build_object('entityType', b.entity_type, 'entityId', b.entity_id, 'version', b.version,
       'timestamp', b.timestamp, 'data', CASE WHEN b.deleted THEN NULL ELSE b.data END) ORDER BY b.entity_id) AS rows
     FROM (SELECT * FROM local_data.entity_bases b WHERE b.entity_type = $1 AND b.entity_id > $2
       ORDER BY b.entity_id LIMIT ${PAGE}) b`,
    [entityType, after ?? ''],
  );
  return { bases, last: bases.length === PAGE ? bases.at(-1)?.entityId : undefined };
}

/** Of the next entities of a type those that no base speaks of, and no person is asked about. */
async function withoutBase(
  session: Session,
  type: EntityType,
  after: string | null,
): Promise<{ readonly bases: readonly EntityBase[]; readonly last: string | undefined }> {
  const name = quoteLiteral(type.entityType);
  const key = keyColumn(type);
  const isKnown = (table: string): string =>
    `EXISTS (SELECT FROM local_data.${table} k WHERE k.entity_type = ${name} AND k.entity_id = t.id)`;
  const rows = await session.runList<[id: string, isUnknown: boolean]>(
    `SELECT json_agg(json_build_array(t.id, NOT ${isKnown('entity_bases')} AND NOT ${isKnown('missing_entities')})
       ORDER BY t.k) AS rows
     FROM (SELECT e.${key} AS k, e.${key}::text AS id FROM ${type.sqlTable} e
       ${after === null ? '' : `WHERE e.${key} > $1::${type.keyType}`} ORDER BY e.${key} LIMIT ${PAGE}) t`,
    after === null ? [] : [after],
  );
  const unknown = rows.flatMap(([id, isUnknown]) => (isUnknown ? [id] : []));
  return {
    bases: unknown.map((entityId) => ({
      entityType: type.entityType,
      entityId,
      version: 0,
      timestamp: 0,
      data: null,
    })),
    last: rows.length === PAGE ? rows.at(-1)?.[0] : undefined,
  };
}

/** Lanes in which something from the server was set aside, or stands against what waits. */
async function shownElsewhere(session: Session, names: readonly EntityName[]): Promise<ReadonlySet<string>> {
  const rows = await session.run<{ t: string; e: string }>(
    `SELECT DISTINCT n.t, n.e FROM jsonb_to_recordset($1::jsonb) AS n(t text, e text)
     CROSS JOIN LATERAL (SELECT FROM local_changes c WHERE c.entity_type = n.t AND c.entity_id = n.e
       AND c.status IN ('failed', 'conflicted') AND (c.origin = 'remote' OR c.failure->>'stage' = 'pull') LIMIT 1) c`,
    [names.map(({ entityType, entityId }) => ({ t: entityType, e: entityId }))],
  );
  return new Set(rows.map(({ t, e }) => laneOf({ entityType: t, entityId: e })));
}
