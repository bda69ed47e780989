// Compares this database with the server by hashes: bucket by bucket, and entity by entity where buckets differ; and the
// entities themselves with what they should be. Looking changes nothing; a repair takes what the server has for the entities
// that differ, beneath the changes that wait. All that is compared with the server is of one version: where the feed moves
// meanwhile, the comparison is begun again. It goes in pages, and can be cancelled between two of them.
import { createHash } from 'node:crypto';
import type { Entity } from '../protocol/changes.ts';
import { canonicalJson } from '../protocol/canonical-json.ts';
import type { BucketResponse, DigestResponse, SnapshotEntity } from '../protocol/sync.ts';
import type { VerifyDifference, VerifyReport } from '../protocol/sync-state.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { laneOf } from '../db/change-row.ts';
import type { Session } from '../db/database.ts';
import type { EntityTypes } from '../db/entity-types.ts';
import { type EntityBase, feedVersion, readBases, replaceBases } from '../db/entity-bases.ts';
import { type RemoteContext, putOnBases } from './apply-feed.ts';
import { straysAmong, strayPages } from './stray-pages.ts';

export interface VerifyParts {
  readonly digest: () => Promise<DigestResponse>;
  readonly bucket: (bucket: number, page: string | null) => Promise<BucketResponse>;
  readonly read: <T>(work: (session: Session) => Promise<T>) => Promise<T>;
  readonly write: <T>(work: (context: RemoteContext) => Promise<T>) => Promise<T>;
  readonly entityTypes: EntityTypes;
  readonly isLocalOnly: (entityType: string) => boolean;
  /** Resolves when everything the server has is here. */
  readonly caughtUp: () => Promise<void>;
  /** Ends it between two pages; what was repaired by then stays so. */
  readonly signal: AbortSignal | undefined;
}

const ATTEMPTS = 5;
const LISTED = 1_000;
const READ_AT_ONCE = 5_000;
const REPAIRED_AT_ONCE = 1_000;

interface Difference {
  readonly difference: VerifyDifference;
  /** What the server has; undefined where that is known here already. */
  readonly base?: EntityBase;
}

interface Compared {
  readonly version: number;
  readonly count: number;
  readonly differences: readonly Difference[];
}

export async function verifyAgainstServer(parts: VerifyParts, repair: boolean): Promise<VerifyReport> {
  const { version, count, differences: ofBases } = await compareBases(parts);
  const differences = [...ofBases];
  const known = new Set(ofBases.map(({ difference }) => laneOf(difference)));
  for await (const strays of strayPages(parts)) {
    goOn(parts);
    for (const difference of strays) if (!known.has(laneOf(difference))) differences.push({ difference });
  }
  return {
    version,
    compared: count,
    differences: differences.slice(0, LISTED).map(({ difference }) => difference),
    differencesTotal: differences.length,
    repaired: repair ? await repairAll(parts, differences) : 0,
  };
}

async function compareBases(parts: VerifyParts): Promise<Compared> {
  for (let attempt = 1; ; attempt++) {
    const compared = await compareOnce(parts);
    if (compared !== undefined) return compared;
    if (attempt === ATTEMPTS) {
      throw new LocalDataError(
        'SYNC_NOT_CONNECTED',
        'The server went on while it was compared, again and again. Verify when less is written.',
      );
    }
    await parts.caughtUp();
  }
}

/** Undefined where what is here, the digests and the buckets were not all of one version. */
async function compareOnce(parts: VerifyParts): Promise<Compared | undefined> {
  const here = await readHashes(parts);
  if (here === undefined) return undefined;
  const theirs = await parts.digest();
  if (theirs.version !== here.version) return undefined;
  const digests = new Map(theirs.buckets.map((bucket) => [bucket.bucket, bucket.digest]));
  const differences: Difference[] = [];
  for (const bucket of new Set([...digests.keys(), ...here.buckets.keys()])) {
    const entities = here.buckets.get(bucket) ?? [];
    if (digestOf(entities) === (digests.get(bucket) ?? digestOf([]))) continue;
    const found = await compareBucket(parts, bucket, entities, here.version);
    if (found === undefined) return undefined;
    differences.push(...found);
  }
  // The pages of a bucket are not of one moment.
  if (differences.length > 0 && (await parts.digest()).version !== here.version) return undefined;
  return { version: here.version, count: here.count, differences };
}

function goOn({ signal }: VerifyParts): void {
  if (signal?.aborted === true) throw verifyCancelled();
}

export function verifyCancelled(): LocalDataError {
  return new LocalDataError('CANCELLED', 'The comparison was cancelled. What was repaired by then stays so.');
}

interface Hashed {
  readonly entityType: string;
  readonly entityId: string;
  readonly version: number;
  readonly hash: string;
}

interface Hashes {
  readonly version: number;
  readonly count: number;
  readonly buckets: Map<number, Hashed[]>;
}

async function readHashes(parts: VerifyParts): Promise<Hashes | undefined> {
  const buckets = new Map<number, Hashed[]>();
  let count = 0;
  let after: readonly [string, string] = ['', ''];
  const version = await parts.read(feedVersion);
  for (;;) {
    goOn(parts);
    const from = after;
    const page = await parts.read(async (session) => {
      if ((await feedVersion(session)) !== version) return undefined;
      return session.runList<{ t: string; e: string; v: number; d: Entity }>(
        `SELECT json_agg(json_build_object('t', b.entity_type, 'e', b.entity_id, 'v', b.version, 'd', b.data)) AS rows
         FROM (SELECT * FROM local_data.entity_bases b WHERE (b.entity_type, b.entity_id) > ($1, $2) AND NOT b.deleted
           ORDER BY b.entity_type, b.entity_id LIMIT ${READ_AT_ONCE}) b`,
        [from[0], from[1]],
      );
    });
    if (page === undefined) return undefined;
    for (const { t, e, v, d } of page) {
      if (parts.isLocalOnly(t)) continue;
      count += 1;
      const hashed = { entityType: t, entityId: e, version: v, hash: hashOf(d) };
      const bucket = bucketOf(t, e);
      const known = buckets.get(bucket);
      if (known === undefined) buckets.set(bucket, [hashed]);
      else known.push(hashed);
    }
    const last = page.at(-1);
    if (last === undefined || page.length < READ_AT_ONCE) return { version, count, buckets };
    after = [last.t, last.e];
  }
}

async function compareBucket(
  parts: VerifyParts,
  bucket: number,
  here: readonly Hashed[],
  version: number,
): Promise<Difference[] | undefined> {
  const there = new Map<string, SnapshotEntity>();
  for (let page: string | null = null; ;) {
    goOn(parts);
    const answer: BucketResponse = await parts.bucket(bucket, page);
    if (answer.version !== version) return undefined;
    for (const entity of answer.entities) if (!parts.isLocalOnly(entity.entityType)) there.set(laneOf(entity), entity);
    if (answer.next === null) break;
    page = answer.next;
  }
  const differing = here.filter((own) => {
    const other = there.get(laneOf(own));
    return other === undefined || hashOf(other.entity) !== own.hash;
  });
  // Only hashes are kept of what is the same on both sides.
  const bases = await parts.read((session) => readBases(session, differing));
  const found: Difference[] = [];
  for (const { entityType, entityId, version: at } of differing) {
    const lane = laneOf({ entityType, entityId });
    const other = there.get(lane);
    const data = bases.get(lane)?.data ?? null;
    if (other === undefined) {
      const base = { entityType, entityId, version: Math.max(version, at + 1), timestamp: 0, data: null };
      found.push({ difference: { entityType, entityId, kind: 'missing-there', server: null, here: data }, base });
      continue;
    }
    const { entity, timestamp } = other;
    const base = { entityType, entityId, version: Math.max(other.version, at), timestamp, data: entity };
    found.push({ difference: { entityType, entityId, kind: 'different', server: entity, here: data }, base });
  }
  for (const own of here) there.delete(laneOf(own));
  for (const { entityType, entityId, entity, version: at, timestamp } of there.values()) {
    const base = { entityType, entityId, version: at, timestamp, data: entity };
    found.push({ difference: { entityType, entityId, kind: 'missing-here', server: entity, here: null }, base });
  }
  return found;
}

/** Gives how many are as they should be now. */
async function repairAll(parts: VerifyParts, differences: readonly Difference[]): Promise<number> {
  let repaired = 0;
  for (let start = 0; start < differences.length; start += REPAIRED_AT_ONCE) {
    goOn(parts);
    const chunk = differences.slice(start, start + REPAIRED_AT_ONCE);
    repaired += await parts.write((context) => repairSome(context, chunk));
  }
  return repaired;
}

async function repairSome(context: RemoteContext, differences: readonly Difference[]): Promise<number> {
  const { session } = context;
  const names = differences.map(({ difference: { entityType, entityId } }) => ({ entityType, entityId }));
  await replaceBases(
    session,
    differences.flatMap(({ base }) => (base === undefined ? [] : [base])),
  );
  const known = await readBases(session, names);
  const bases = names.map((name) => known.get(laneOf(name)) ?? { ...name, version: 0, timestamp: 0, data: null });
  const refused = await putOnBases(context, bases, await feedVersion(session), bases.length === REPAIRED_AT_ONCE);
  const strays = await straysAmong(context, bases);
  return names.filter((name) => !refused.has(laneOf(name)) && !strays.has(laneOf(name))).length;
}

function bucketOf(entityType: string, entityId: string): number {
  return createHash('sha256').update(`${entityType}\n${entityId}`).digest()[0] ?? 0;
}

function hashOf(entity: Entity): string {
  return createHash('sha256').update(canonicalJson(entity)).digest('hex');
}

function digestOf(entities: readonly Hashed[]): string {
  const lines = entities.map(({ entityType, entityId, hash }) => Buffer.from(`${entityType}\n${entityId}\n${hash}\n`));
  const digest = createHash('sha256');
  for (const line of lines.sort((a, b) => Buffer.compare(a, b))) digest.update(line);
  return digest.digest('hex');
}
