// How each entity type stands with the server: in step with it, or apart, because the rules keep it on this machine or
// because it was not there yet. Written in the same transaction as the data it speaks of.
import { releaseBlocked } from '../db/apply-changes.ts';
import { isPushStage } from '../db/change-row.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import type { Parameter, Session } from '../db/database.ts';
import type { EntityType } from '../db/entity-types.ts';

/** What of a table decides whether bases have to be put into it again. */
export interface TypeShape {
  readonly relation: number;
  /** The type of each column, by name. */
  readonly columns: Readonly<Record<string, string>>;
}

export interface TypeStanding {
  readonly isInStep: boolean;
  /** Of a type that is apart: up to which version its entities here have come; 0 where they never were in step. */
  readonly leftVersion: number;
  /** Of a type that is in step: the table that its bases were put into; null where they are still to be. */
  readonly shape: TypeShape | null;
}

/**
 * Also of types that never were in step and have changes here: their tables may be gone, and the rules still speak of them.
 * Their names are found by the index, one after another, however many changes there are.
 */
export async function readStandings(session: Session): Promise<Map<string, TypeStanding>> {
  const rows = await session.run<{ name: string; in_step: boolean; left_version: number; shape: TypeShape | null }>(
    `WITH RECURSIVE changed (name) AS (
       SELECT min(c.entity_type) FROM local_changes c
       UNION ALL
       SELECT (SELECT min(c.entity_type) FROM local_changes c WHERE c.entity_type > n.name)
       FROM changed n WHERE n.name IS NOT NULL)
     SELECT coalesce(s.entity_type, n.name) AS name, coalesce(s.in_step, false) AS in_step,
       coalesce(s.left_version, 0) AS left_version, s.shape
     FROM local_data.synced_types s FULL JOIN changed n ON n.name = s.entity_type
     WHERE coalesce(s.entity_type, n.name) IS NOT NULL`,
  );
  return new Map(
    rows.map(({ name, in_step: isInStep, left_version: leftVersion, shape }) => [
      name,
      { isInStep, leftVersion, shape },
    ]),
  );
}

/** From now on the feed and what is recorded here go on in step; bases that are there are still to be put in place. */
export async function enter(session: Session, entityType: string): Promise<TypeStanding> {
  await session.run(
    `INSERT INTO local_data.synced_types (entity_type, in_step) VALUES ($1, true)
     ON CONFLICT (entity_type) DO UPDATE SET in_step = true, left_version = 0, shape = NULL`,
    [entityType],
  );
  return { isInStep: true, leftVersion: 0, shape: null };
}

/** The feed is not followed any more from where it has come; what is here stays as it is. */
export async function leave(session: Session, entityTypes: readonly string[]): Promise<void> {
  const names: Parameter[] = [JSON.stringify(entityTypes)];
  const which = 'entity_type IN (SELECT jsonb_array_elements_text($1::jsonb))';
  await session.run(
    `UPDATE local_data.synced_types SET in_step = false, shape = NULL,
       left_version = (SELECT version FROM local_data.sync_binding) WHERE in_step AND ${which}`,
    names,
  );
  await session.run(`DELETE FROM local_data.missing_entities WHERE ${which}`, names);
}

/**
 * What waits for changes of these types that the server has not taken goes on without them: they stay here, and nobody will
 * retry them for its sake.
 */
export async function releaseFrom(
  session: Session,
  entityTypes: readonly string[],
  draft: CommitDraft,
  now: number,
): Promise<void> {
  if (entityTypes.length === 0) return;
  const stuck = await session.run<{ seq: number }>(
    `SELECT c.seq FROM local_changes c WHERE c.status IN ('retrying', 'failed', 'conflicted', 'blocked')
       AND ${isPushStage('c')} AND c.entity_type IN (SELECT jsonb_array_elements_text($1::jsonb))`,
    [JSON.stringify(entityTypes)],
  );
  await releaseBlocked(
    session,
    stuck.map(({ seq }) => seq),
    draft,
    now,
  );
}

export async function setShape(session: Session, entityType: string, shape: TypeShape): Promise<void> {
  await session.run(`UPDATE local_data.synced_types SET shape = $2::jsonb WHERE entity_type = $1 AND in_step`, [
    entityType,
    JSON.stringify(shape),
  ]);
}

export function shapeOf({ relationId, columns }: EntityType): TypeShape {
  return { relation: relationId, columns: Object.fromEntries(columns.map(({ name, type }) => [name, type])) };
}

/** Whether there is something in the table now that bases may have a value for and could not be put into. */
export function hasMore(now: TypeShape, then: TypeShape): boolean {
  return Object.entries(now.columns).some(([name, type]) => then.columns[name] !== type);
}
