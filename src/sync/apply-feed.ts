// Applies a page of the feed: bases, entities, the audit trail and the cursor move in the caller's one transaction. An
// entity with local changes that wait becomes base + overlay. What cannot be applied here is set aside and shown; the
// feed goes on. Of an entity type that stays on this machine the bases move, and nothing else.
import type { z } from 'zod';
import type { ChangeStatus, Entity, Failure } from '../protocol/changes.ts';
import { type FeedChange, feedChangeSchema } from '../protocol/sync.ts';
import { releaseBlocked, retryAwaiting } from '../db/apply-changes.ts';
import { type ChangeRow, laneOf, lightColumns, toChange } from '../db/change-row.ts';
import type { CommitDraft } from '../db/commit-log.ts';
import type { Session } from '../db/database.ts';
import {
  type EntityBase,
  type EntityName,
  type OverlayChange,
  moveBases,
  readBases,
  readOverlay,
  replayOverlay,
} from '../db/entity-bases.ts';
import type { EntityTypes } from '../db/entity-types.ts';
import { describeSqlFailure } from '../db/failures.ts';
import { settleDoubt } from '../db/in-doubt.ts';
import { moveChanges } from '../db/move-changes.ts';
import { SqlError } from '../db/sql-error.ts';
import { meetAgain } from './missing-entities.ts';
import { type Put, StillReferredTo, UnknownType, putEntities } from './put-entities.ts';
import { refreshConflicts } from './refresh-conflicts.ts';
import { setBinding } from './sync-binding.ts';

export interface RemoteContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly draft: CommitDraft;
  readonly now: number;
  readonly newId: () => string;
  readonly clientId: string;
  /** Remote changes set aside so far, and conflicts: while there are none, nothing is looked for. */
  readonly setAside: number;
  readonly conflicts: number;
  /** Entity types whose bases move, and nothing else. */
  readonly isLocalOnly: (entityType: string) => boolean;
  /** Entities that a new history of the server lacks, so far: while there are none, nothing is looked for. */
  readonly missing: number;
  /** It is another number now. */
  readonly tellMissing: () => void;
  /** Local changes that failed or are held: while there are none, none of them waits for a parent. */
  readonly stuckHere: number;
}

export interface FeedPage {
  readonly changes: readonly unknown[];
  readonly cursor: string;
  readonly version: number;
}

/** The page as a whole, and the cursor with it; what of it the bases have already is left alone. */
export async function applyFeedPage(context: RemoteContext, page: FeedPage): Promise<void> {
  const { session, now } = context;
  const { understood, strange } = readChanges(page.changes);
  const echoes = await settleEchoes(context, understood);
  const bases = await readBases(session, understood);
  const fresh = understood.filter((change) => change.version > (bases.get(laneOf(change))?.version ?? 0));
  const touched = lastOfEach(fresh, echoes);
  await moveBases(session, touched);
  await meetAgain(context, touched);
  const present = [...touched, ...untouched(bases, touched)];
  const refused = await putOnBases(context, present, page.version);
  await settleSetAside(context, touched, refused, 'also-strange');
  const others = fresh.filter((change) => !echoes.has(change.id) && !context.isLocalOnly(change.entityType));
  await recordRemote(context, others, { bases, refused });
  await recordSetAside(context, present, refused);
  if (context.conflicts > 0) await refreshConflicts(context, others);
  for (const one of strange) await recordStrange(context, one);
  await setBinding(session, { cursor: page.cursor, version: page.version, last_pull_at: now });
  if (echoes.size + others.length > 0) await noteSeen(session, page.version, now);
}

/**
 * When the feed brought what, for receipts: these can be asked of changes in the trail alone, so that there are never more
 * of these notes than of such changes.
 */
async function noteSeen(session: Session, version: number, at: number): Promise<void> {
  await session.run(
    `INSERT INTO local_data.feed_pages (version, at) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING`,
    [version, at],
  );
}

/** What the server sent and nobody can read. */
export interface Strange {
  readonly what: 'a change' | 'an entity';
  readonly value: unknown;
  readonly problem: string;
}

function readChanges(values: readonly unknown[]): { understood: FeedChange[]; strange: Strange[] } {
  const understood: FeedChange[] = [];
  const strange: Strange[] = [];
  for (const value of values) {
    const read = feedChangeSchema.safeParse(value);
    if (read.success) understood.push(read.data);
    else strange.push({ what: 'a change', value, problem: problemOf(read.error) });
  }
  return { understood, strange };
}

export function problemOf({ issues: [issue] }: z.ZodError): string {
  return `${issue?.path.join('.') ?? 'it'}: ${issue?.message ?? 'not valid'}`;
}

/** Our own changes in the feed are proof that the server applied them, also where its answer was lost. */
async function settleEchoes(context: RemoteContext, changes: readonly FeedChange[]): Promise<ReadonlySet<string>> {
  const mine = changes.filter((change) => change.clientId === context.clientId);
  if (mine.length === 0) return new Set();
  const { session, draft, now } = context;
  const input = JSON.stringify(mine.map(({ id, version }) => ({ id, v: version })));
  const known = await session.run<{ id: string; open: boolean }>(
    `SELECT c.id, NOT c.processed_sync AS open FROM local_changes c
     WHERE c.id = ANY (ARRAY(SELECT i->>'id' FROM jsonb_array_elements($1::jsonb) i)) AND c.origin <> 'remote'`,
    [input],
  );
  if (known.some(({ open }) => open)) {
    const rows = await session.run<ChangeRow & { was: ChangeStatus }>(
      `UPDATE local_changes c SET processed_sync = true, accepted_version = i.v, accepted_at = $2, error = NULL,
         failure = NULL, next_attempt_at = NULL, blocked_by = NULL
       FROM jsonb_to_recordset($1::jsonb) AS i(id text, v bigint)
       WHERE c.id = ANY (ARRAY(SELECT e->>'id' FROM jsonb_array_elements($1::jsonb) e)) AND c.id = i.id
         AND NOT c.processed_sync AND c.discarded_at IS NULL
       RETURNING ${lightColumns('c')}, old.status AS was`,
      [input, now],
    );
    for (const row of rows) draft.moved(row.was, toChange(row, { now, paused: false }));
    const seqs = rows.map(({ seq }) => seq);
    await settleBefore(context, mine);
    await releaseBlocked(session, seqs, draft, now);
    await settleDoubt(session, seqs);
  }
  return new Set(known.map(({ id }) => id));
}

/**
 * The server takes a lane in order, so what left before an echo was taken too, even where it changed nothing and so is in
 * no feed, such as the delete of what was not there; on top of the echo it would undo it here. Only echoes that come before the answer
 * can have such changes before them. What did not leave, because it was restored or corrected since, still has to.
 */
async function settleBefore({ session, draft, now }: RemoteContext, mine: readonly FeedChange[]): Promise<void> {
  const input = JSON.stringify(mine.map(({ id, version }) => ({ id, v: version })));
  const rows = await session.run<{ seq: number; version: number }>(
    `SELECT c.seq, e.v AS version FROM local_changes c JOIN (
       SELECT o.entity_type AS t, o.entity_id AS n, max(o.seq) AS s, max(i.v) AS v
       FROM jsonb_to_recordset($1::jsonb) AS i(id text, v bigint) JOIN local_changes o ON o.id = i.id
       WHERE o.origin <> 'remote' GROUP BY o.entity_type, o.entity_id) AS e
       ON c.entity_type = e.t AND c.entity_id = e.n AND c.seq < e.s
     WHERE c.status = 'applied' AND c.origin <> 'remote'
       AND c.seq IN (SELECT unnest(in_doubt) FROM local_data.sync_binding)`,
    [input],
  );
  if (rows.length === 0) return;
  const move = {
    from: 'applied' as const,
    set: 'processed_sync = true, accepted_version = e.v, accepted_at = $2',
    using: 'jsonb_to_recordset($1::jsonb) AS e(s bigint, v bigint)',
    where: 'c.seq = e.s',
    params: [JSON.stringify(rows.map(({ seq, version }) => ({ s: seq, v: version }))), now],
  };
  await moveChanges(session, move, draft, { now, paused: false });
  const seqs = rows.map(({ seq }) => seq);
  await releaseBlocked(session, seqs, draft, now);
  await settleDoubt(session, seqs);
}

type Touched = EntityBase & { readonly isEcho: boolean };

/** The state in which each entity leaves the page; an echo only where all of the page's writes to it are our own. */
function lastOfEach(changes: readonly FeedChange[], echoes: ReadonlySet<string>): Touched[] {
  const last = new Map<string, Touched>();
  for (const { id, entityType, entityId, version, timestamp, entity } of changes) {
    const lane = laneOf({ entityType, entityId });
    const isEcho = echoes.has(id) && (last.get(lane)?.isEcho ?? true);
    last.set(lane, { entityType, entityId, version, timestamp, data: entity, isEcho });
  }
  return [...last.values()];
}

/**
 * Bases that a snapshot, whose pages were read while others wrote, has brought further than the page. What was accepted
 * before that stood on top of them until now, and does no longer.
 */
function untouched(bases: ReadonlyMap<string, EntityBase>, touched: readonly EntityName[]): EntityBase[] {
  const lanes = new Set(touched.map(laneOf));
  return [...bases].flatMap(([lane, base]) => (lanes.has(lane) ? [] : [base]));
}

/**
 * Puts entities to their bases with what still waits on top; `version` is where the feed has come. Gives by lane why an
 * entity could not be put in place; it stays as it was. Types that stay on this machine are left alone.
 */
export async function putOnBases(
  context: RemoteContext,
  given: readonly EntityBase[],
  version: number,
  reload = false,
): Promise<ReadonlyMap<string, unknown>> {
  const { session, entityTypes, draft } = context;
  const bases = given.filter(({ entityType }) => !context.isLocalOnly(entityType));
  const overlays = await readOverlay(session, bases, version);
  const puts = bases.map((base): Put => {
    const { entityType, entityId, data } = base;
    return { entityType, entityId, state: replayOverlay(data, overlays.get(laneOf(base)) ?? []) };
  });
  const { refused } = await putEntities({ session, entityTypes, draft, reload }, puts);
  const withOverlay = refused.filter(({ put }) => overlays.has(laneOf(put)));
  const byLane = new Map(refused.map(({ put, error }) => [laneOf(put), error]));
  for (const { put, error } of withOverlay) {
    const base = bases.find((candidate) => laneOf(candidate) === laneOf(put));
    if (base !== undefined && (await putBaseAlone(context, base, overlays.get(laneOf(put)) ?? [], error))) {
      byLane.delete(laneOf(put));
    }
  }
  await settleSetAside(context, bases, byLane);
  if (context.stuckHere > 0) {
    const appeared = bases.filter((base) => base.data !== null && !byLane.has(laneOf(base)));
    await retryAwaiting(session, appeared, draft, context.now);
  }
  return byLane;
}

/**
 * The same after a page: what cannot be put in place now is set aside under the last remote change of its entity, or under
 * one that says so where it came by a snapshot, so that it is shown, and tried again when more has come.
 */
export async function putOrSetAside(
  context: RemoteContext,
  bases: readonly EntityBase[],
  version: number,
): Promise<void> {
  const refused = await putOnBases(context, bases, version);
  for (const base of bases) {
    const error = refused.get(laneOf(base));
    if (error === undefined) continue;
    const failure = failureOf(context, base, error);
    const moved = await moveChanges(
      context.session,
      {
        from: 'synced',
        set: 'error = $3, failure = $4::jsonb, processed_local = false, applied_at = NULL',
        where: `c.seq = (SELECT max(l.seq) FROM local_changes l
          WHERE l.entity_type = $1 AND l.entity_id = $2 AND l.origin = 'remote')`,
        params: [base.entityType, base.entityId, failure.message, { ...failure }],
      },
      context.draft,
      { now: context.now, paused: false },
    );
    if (moved === 0) await recordSetAside(context, [base], refused);
  }
}

/** Those of the bases that were refused, once for each lane. */
export async function recordSetAside(
  context: RemoteContext,
  bases: readonly EntityBase[],
  refused: ReadonlyMap<string, unknown>,
): Promise<void> {
  const { session, draft, now, newId } = context;
  const rows = bases.flatMap((base) => {
    const error = refused.get(laneOf(base));
    if (error === undefined) return [];
    const { entityType, entityId, data, version } = base;
    const failure = failureOf(context, base, error);
    return [
      { id: newId(), t: entityType, e: entityId, o: data === null ? 'delete' : 'insert', d: data, v: version, failure },
    ];
  });
  if (rows.length === 0) return;
  const recorded = await session.run<ChangeRow>(
    `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, data, timestamp, processed_local, processed_sync,
       origin, accepted_version, accepted_at, error, failure)
     SELECT r.id, r.t, r.e, r.o, NULLIF(r.d, 'null'), $2, false, true, 'remote', r.v, $2, r.failure->>'message', r.failure
     FROM jsonb_to_recordset($1::jsonb) AS r(id text, t text, e text, o text, d jsonb, v bigint, failure jsonb)
     WHERE NOT EXISTS (SELECT FROM local_changes k WHERE k.entity_type = r.t AND k.entity_id = r.e AND k.origin = 'remote'
       AND k.status = 'failed')
     RETURNING ${lightColumns('c')}`,
    [JSON.stringify(rows), now],
  );
  for (const row of recorded) draft.recorded(toChange(row, { now, paused: false }));
}

/** What waits no longer fits on what the server has: the entity is the server's, and the first of the changes waits for a person. */
async function putBaseAlone(
  context: RemoteContext,
  base: EntityBase,
  overlay: readonly OverlayChange[],
  error: unknown,
): Promise<boolean> {
  const { session, entityTypes, draft, now } = context;
  const { entityType, entityId, data } = base;
  const alone = await putEntities({ session, entityTypes, draft }, [{ entityType, entityId, state: data }]);
  if (alone.refused.length > 0) return false;
  const [first] = overlay;
  if (first === undefined) return true;
  const failure = failureOf(context, { ...base, data: replayOverlay(data, overlay) }, error);
  const conflict = {
    at: now,
    policy: 'manual',
    version: base.version,
    operation: first.operation,
    base: first.previous,
    mine: replayOverlay(first.previous, [first]),
    theirs: data,
    fields: {},
    resolution: null,
  };
  const move = {
    set: `error = $2, failure = $3::jsonb, conflict = $4::jsonb, attempts = 0, next_attempt_at = NULL, blocked_by = NULL`,
    where: 'c.seq = $1 AND NOT c.processed_sync',
    params: [first.seq, failure.message, { ...failure }, JSON.stringify(conflict)],
  };
  // Also one that the server has refused, or that waits for such a one: it is no longer in the entity.
  for (const from of ['applied', 'retrying', 'failed', 'blocked'] as const) {
    if ((await moveChanges(session, { from, ...move }, draft, { now, paused: false })) > 0) break;
  }
  return true;
}

const NOT_UNDERSTOOD = 'NOT_UNDERSTOOD';

/** What was set aside and is in place now, by whatever came since, is done; what nobody can read, once a later one could be. */
async function settleSetAside(
  context: RemoteContext,
  names: readonly EntityName[],
  refused: ReadonlyMap<string, unknown>,
  which: 'readable' | 'also-strange' = 'readable',
): Promise<void> {
  if (context.setAside === 0) return;
  const settled = names.filter((name) => !refused.has(laneOf(name)) && !context.isLocalOnly(name.entityType));
  const readable = which === 'readable' ? `AND c.failure->>'code' IS DISTINCT FROM '${NOT_UNDERSTOOD}'` : '';
  await moveChanges(
    context.session,
    {
      from: 'failed',
      set: 'error = NULL, failure = NULL, processed_local = true, applied_at = $2',
      using: 'jsonb_to_recordset($1::jsonb) AS n(t text, e text)',
      where: `c.entity_type = n.t AND c.entity_id = n.e AND c.origin = 'remote' ${readable}`,
      params: [JSON.stringify(settled.map((name) => ({ t: name.entityType, e: name.entityId }))), context.now],
    },
    context.draft,
    { now: context.now, paused: false },
  );
}

const TRIED_AT_ONCE = 1_000;

/** Where trying again has come. */
export interface RetryFrom {
  /** The entity after which it goes on; undefined at the beginning. */
  readonly after: EntityName | undefined;
  /** Put in place since the beginning. */
  readonly placed: number;
}

export const RETRY_START: RetryFrom = { after: undefined, placed: 0 };

/**
 * Tries the next again of what was set aside, of all of it or that of one type, as far as it may go by now; undefined when
 * nothing is left that could go.
 */
export async function retrySetAside(
  context: RemoteContext,
  version: number,
  from: RetryFrom,
  only?: string,
): Promise<RetryFrom | undefined> {
  const names = await nextSetAside(context, from.after, only);
  const placed = from.placed + (await retryThese(context, version, names));
  const last = names.at(-1);
  if (last !== undefined && names.length === TRIED_AT_ONCE) return { after: last, placed };
  // One that was tried early may have waited for one that came later.
  return placed > 0 && from.after !== undefined ? RETRY_START : undefined;
}

/** Gives how many are in place. */
export async function retryThese(
  context: RemoteContext,
  version: number,
  names: readonly EntityName[],
): Promise<number> {
  const bases = [...(await readBases(context.session, names)).values()];
  const refused = await putOnBases(context, bases, version);
  return bases.length - refused.size;
}

async function nextSetAside(
  { session, entityTypes, isLocalOnly }: RemoteContext,
  after: EntityName | undefined,
  only: string | undefined,
): Promise<EntityName[]> {
  const types = entityTypes
    .all()
    .flatMap(({ entityType }) => (isLocalOnly(entityType) || entityType !== (only ?? entityType) ? [] : [entityType]));
  const rows = await session.run<{ t: string; e: string }>(
    `SELECT DISTINCT c.entity_type AS t, c.entity_id AS e FROM local_changes c
     WHERE c.status = 'failed' AND c.origin = 'remote' AND c.failure->>'code' IS DISTINCT FROM '${NOT_UNDERSTOOD}'
       AND c.entity_type = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))
       AND (c.entity_type, c.entity_id) > ($2, $3) ORDER BY t, e LIMIT ${TRIED_AT_ONCE}`,
    [JSON.stringify(types), after?.entityType ?? '', after?.entityId ?? ''],
  );
  return rows.map(({ t, e }) => ({ entityType: t, entityId: e }));
}

async function recordRemote(
  context: RemoteContext,
  changes: readonly FeedChange[],
  known: { readonly bases: ReadonlyMap<string, EntityBase>; readonly refused: ReadonlyMap<string, unknown> },
): Promise<void> {
  if (changes.length === 0) return;
  const { session, draft, now } = context;
  const before = new Map<string, Entity | null>([...known.bases].map(([lane, base]) => [lane, base.data]));
  const lastSeen = new Map(changes.map((change) => [laneOf(change), change.id]));
  const rows = changes.map((change) => {
    const lane = laneOf(change);
    const error = lastSeen.get(lane) === change.id ? known.refused.get(lane) : undefined;
    const failure = error === undefined ? null : failureOf(context, { ...change, data: change.entity }, error);
    const row = { ...change, previous: before.get(lane) ?? null, failure, error: failure?.message ?? null };
    before.set(lane, change.entity);
    return row;
  });
  const recorded = await session.run<ChangeRow>(
    `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, data, timestamp, processed_local, processed_sync,
       origin, transaction_id, previous, result, applied_at, accepted_version, accepted_at, client_id, error, failure)
     SELECT r.id, r."entityType", r."entityId", r.operation, NULLIF(r.data, 'null'), r.timestamp, r.error IS NULL, true, 'remote',
       r."transactionId", NULLIF(r.previous, 'null'), NULLIF(r.entity, 'null'), $2, r.version, $2, r."clientId", r.error,
       NULLIF(r.failure, 'null')
     FROM jsonb_to_recordset($1::jsonb) AS r(id text, "entityType" text, "entityId" text, operation text, data jsonb,
       timestamp bigint, "transactionId" text, previous jsonb, entity jsonb, version bigint, "clientId" text, error text,
       failure jsonb)
     ORDER BY r.version ON CONFLICT (id) DO NOTHING RETURNING ${lightColumns('c')}`,
    [JSON.stringify(rows), now],
  );
  for (const row of recorded) draft.recorded(toChange(row, { now, paused: false }));
}

const SHOWN_STRANGE_CHARACTERS = 10_000;

/** What cannot be read is kept as it came, for a person to look at; once, however often it comes. */
export async function recordStrange(context: RemoteContext, { what, value, problem }: Strange): Promise<void> {
  const { session, draft, now, newId } = context;
  const { entityType = '?', entityId = '?' } = nameOf(value);
  if (context.isLocalOnly(entityType)) return;
  const failure: Failure = {
    stage: 'pull',
    kind: 'permanent',
    code: NOT_UNDERSTOOD,
    message: `The server sent ${what} that cannot be read (${problem}). It is set aside; ask whoever runs the server.`,
    at: now,
  };
  const raw = (JSON.stringify(value) ?? 'undefined').slice(0, SHOWN_STRANGE_CHARACTERS).replaceAll('\\u0000', '');
  const [row] = await session.run<ChangeRow>(
    `INSERT INTO local_changes AS c (id, entity_type, entity_id, operation, data, timestamp, processed_local, processed_sync,
       origin, accepted_at, error, failure)
     SELECT $1, $2, $3, 'update', $4::jsonb, $5, false, true, 'remote', $5, $6, $7::jsonb
     WHERE NOT EXISTS (SELECT FROM local_changes k WHERE k.entity_type = $2 AND k.entity_id = $3 AND k.status = 'failed'
       AND k.origin = 'remote' AND k.data = $4::jsonb)
     RETURNING ${lightColumns('c')}`,
    [newId(), entityType, entityId, { received: raw }, now, failure.message, { ...failure }],
  );
  if (row !== undefined) draft.recorded(toChange(row, { now, paused: false }));
}

/** What it is about, as far as that can be told. */
export function nameOf(value: unknown): Partial<EntityName> {
  const text = (field: 'entityType' | 'entityId'): Partial<EntityName> => {
    const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, field) : undefined;
    return typeof found === 'string' && found !== '' ? { [field]: found.slice(0, 200).replaceAll('\u0000', '') } : {};
  };
  return { ...text('entityType'), ...text('entityId') };
}

/** `data` is what the entity was to be; null where it was to go. */
function failureOf(
  { entityTypes, now }: RemoteContext,
  { entityType, entityId, data }: EntityName & { readonly data: Entity | null },
  error: unknown,
): Failure {
  const base = { stage: 'pull', kind: 'permanent', at: now } as const;
  if (error instanceof UnknownType) return { ...base, code: 'UNKNOWN_ENTITY_TYPE', message: error.message };
  if (error instanceof StillReferredTo) return { ...base, code: 'STILL_REFERRED_TO', message: error.message };
  if (!(error instanceof SqlError)) return { ...base, code: 'INTERNAL', message: String(error) };
  // The entity as a whole, whatever the change was: of one that exists here already, Postgres speaks of another key.
  const attempted = { entityType, entityId, operation: data === null ? 'delete' : 'update', data } as const;
  const failure = describeSqlFailure(attempted, entityTypes.get(entityType), error, now);
  return { ...failure, ...base, message: `It could not be put in place here: ${failure.message}` };
}
