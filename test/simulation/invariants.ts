// What must hold in a simulated history, each as a function of what was found: at every restart, and when all is quiet again.
import assert from 'node:assert/strict';
import type { PGlite } from '@electric-sql/pglite';
import { canonicalJson } from '../../src/protocol/canonical-json.ts';
import type { Change, JsonObject } from '../../src/protocol/changes.ts';
import type { FeedRow, ServerHistory } from './simulated-server.ts';

/** What the checks look at of a client. */
export interface Replica {
  readonly name: string;
  /** Its changes, in order. */
  readonly changes: readonly Change[];
  /** Its entities by lane, as {@link comparable} text. */
  readonly entities: ReadonlyMap<string, string>;
}

/** What was there when the server lost its history. */
export interface Loss {
  /** Lanes that a client had and the server had not deleted. */
  readonly lanes: ReadonlySet<string>;
  /** Ids of all changes that the lost feed had. */
  readonly inFeed: ReadonlySet<string>;
}

export function checkFeeds(histories: readonly ServerHistory[]): void {
  for (const { feed } of histories) {
    assert.equal(new Set(feed.map(({ id }) => id)).size, feed.length, 'a change is in the feed more than once');
    const versions = feed.map(({ version }) => version);
    assert.deepEqual(
      versions,
      versions.map((_, index) => index + 1),
    );
  }
}

/** Nothing acknowledged is gone; what is synced took effect or says why not, and what waits says for what. */
export function checkQueue(
  { name, changes }: Replica,
  acknowledged: ReadonlySet<string>,
  histories: readonly ServerHistory[],
): void {
  const inFeed = new Set(histories.flatMap(({ feed }) => feed.map(({ id }) => id)));
  const known = new Set(changes.map(({ id }) => id));
  for (const id of acknowledged) assert.ok(known.has(id), `${name}: an acknowledged change is gone: ${id}`);
  for (const change of changes) if (change.origin !== 'remote') checkChange(name, change, inFeed);
}

function checkChange(name: string, change: Change, inFeed: ReadonlySet<string>): void {
  const what = `${name}: ${nameOf(change)} (${change.seq}, ${change.status})`;
  switch (change.status) {
    case 'synced': {
      const isExplained = change.note !== null || (change.conflict?.resolution ?? null) !== null;
      const isNothing = change.operation === 'delete' && change.acceptedAt !== null;
      assert.ok(inFeed.has(change.id) || isExplained || isNothing, `${what} is nowhere: ${JSON.stringify(change)}`);
      break;
    }
    case 'discarded':
      break;
    case 'failed':
    case 'blocked':
      assert.ok((change.error ?? change.reason ?? '') !== '', `${what} does not say why it waits`);
      break;
    case 'applied':
      assert.ok((change.reason ?? change.awaiting ?? null) !== null, `${what} waits and does not say for what`);
      break;
    case 'pending':
    case 'retrying':
    case 'conflicted':
      assert.fail(`${what} is left over`);
  }
}

/** The changes of an entity by one client stand in every feed in the order in which they were made. */
export function checkLanes(
  { name, changes }: Replica,
  repaired: ReadonlySet<string>,
  histories: readonly ServerHistory[],
): void {
  const byId = new Map(changes.map((change) => [change.id, change]));
  for (const { feed } of histories) {
    const last = new Map<string, number>();
    for (const { id } of feed) {
      const change = byId.get(id);
      if (change === undefined || change.origin === 'remote') continue;
      const lane = laneOf(change);
      if (repaired.has(lane)) continue;
      const before = last.get(lane) ?? 0;
      assert.ok(
        change.seq > before,
        `${name}: ${lane} was sent out of order: ${before} before ${change.seq}:\n${told(changes, lane)}`,
      );
      last.set(lane, change.seq);
    }
  }
}

/**
 * Of every entity that the feed speaks of up to the cursor, the base is at least as new, and what the server had then. In a
 * history that was lost meanwhile as well, as long as the client does not know; `histories` are those it may be in.
 */
export async function checkCursor(name: string, pglite: PGlite, histories: readonly ServerHistory[]): Promise<void> {
  const { rows } = await pglite.query<{ version: number | string; phase: string; epoch: string }>(
    'SELECT version, phase, epoch FROM local_data.sync_binding',
  );
  const [binding] = rows;
  if (binding === undefined || binding.phase !== 'linked') return;
  const bases = await readBases(pglite);
  const problems = histories
    .filter(({ epoch }) => epoch === binding.epoch)
    .map(({ feed }) => problemOf(bases, Number(binding.version), feed));
  assert.ok(problems.length > 0, `${name} belongs to the epoch ${binding.epoch}, which never was`);
  const [first] = problems;
  if (first !== undefined && !problems.includes(undefined)) assert.fail(`${name}: ${first}`);
}

interface Base {
  readonly version: number;
  /** Null where it is deleted. */
  readonly data: JsonObject | null;
}

async function readBases(pglite: PGlite): Promise<ReadonlyMap<string, Base>> {
  const { rows } = await pglite.query<{ lane: string; version: number | string; data: JsonObject | null }>(
    `SELECT entity_type || '/' || entity_id AS lane, version, CASE WHEN deleted THEN NULL ELSE data END AS data
     FROM local_data.entity_bases`,
  );
  return new Map(rows.map(({ lane, version, data }) => [lane, { version: Number(version), data }]));
}

function problemOf(bases: ReadonlyMap<string, Base>, cursor: number, feed: readonly FeedRow[]): string | undefined {
  const lastOf = new Map(feed.map((row) => [laneOfRow(row), row]));
  const lastKnownOf = new Map(feed.filter(({ version }) => version <= cursor).map((row) => [laneOfRow(row), row]));
  for (const [lane, row] of lastKnownOf) {
    const base = bases.get(lane);
    // A snapshot says of what was deleted before it nothing at all: whoever knew of an earlier deletion still knows that one.
    if (row.entity === null && (base === undefined || base.data === null)) continue;
    if (base === undefined || base.version < row.version)
      return `the cursor is at ${cursor}, and the base of ${lane} at ${base?.version ?? 'none'}, before ${row.version}`;
  }
  for (const row of feed) {
    const lane = laneOfRow(row);
    const base = bases.get(lane);
    if (base?.version !== row.version) continue;
    const there: JsonObject | null = row.entity === null ? null : JSON.parse(row.entity);
    // A snapshot that went on while it was deleted lacks it, at a version that says it was there.
    const isGoneSince = base.data === null && lastOf.get(lane)?.entity === null;
    if (canonicalJson(base.data) !== canonicalJson(there) && !isGoneSince)
      return `the base of ${lane} at ${base.version} is not what the server had: ${row.entity}`;
  }
  return undefined;
}

/** But for entities with a change that failed, every replica has what the server has. */
export function checkEntities({ name, changes, entities }: Replica, there: ReadonlyMap<string, string>): void {
  const unsettled = new Set(changes.filter(isUnsettled).map(laneOf));
  for (const lane of new Set([...there.keys(), ...entities.keys()])) {
    if (unsettled.has(lane)) continue;
    const message = `${name} has another ${lane} than the server; its changes:\n${told(changes, lane)}`;
    assert.equal(entities.get(lane), there.get(lane), message);
  }
}

function isUnsettled({ status, processedSync }: Change): boolean {
  return status === 'failed' || status === 'blocked' || (status === 'applied' && !processedSync);
}

/** What clients had when the server lost its history is there again, unless somebody deleted it or it waits for a person. */
export function checkNothingLost(
  losses: readonly Loss[],
  replicas: readonly Replica[],
  there: ReadonlyMap<string, string>,
): void {
  for (const { lanes, inFeed } of losses) {
    for (const lane of lanes) {
      if (there.has(lane)) continue;
      const own = replicas.flatMap(({ changes }) =>
        changes.filter((change) => laneOf(change) === lane && change.origin !== 'remote'),
      );
      const isExplained = own.some(
        (change) =>
          isUnsettled(change) ||
          change.status === 'discarded' ||
          change.conflict !== null ||
          (change.operation === 'delete' && !inFeed.has(change.id)),
      );
      assert.ok(isExplained, `${lane} was there when the server lost its history, and is gone: nobody deleted it`);
    }
  }
}

export function laneOf({ entityType, entityId }: { readonly entityType: string; readonly entityId: string }): string {
  return `${entityType}/${entityId}`;
}

function laneOfRow(row: FeedRow): string {
  return laneOf({ entityType: row.entity_type, entityId: row.entity_id });
}

export function nameOf({ operation, entityType, entityId }: Change): string {
  return `${operation} of ${laneOf({ entityType, entityId })}`;
}

/** Null and absent are the same to a table's column. */
export function comparable(entity: JsonObject): string {
  return canonicalJson(Object.fromEntries(Object.entries(entity).filter(([, value]) => value !== null)));
}

function told(changes: readonly Change[], lane: string): string {
  const own = changes.filter((change) => laneOf(change) === lane);
  return own.map((change) => JSON.stringify(change)).join('\n');
}
