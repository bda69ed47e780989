// Compares this database with the server by hashes: bucket by bucket, and entity by entity where buckets differ. Looking
// changes nothing; a repair takes what the server has for the entities that differ, beneath the changes that wait. All that is
// compared is of one version: where the feed moves meanwhile, the comparison is begun again.
import { createHash } from 'node:crypto';
import type { Entity } from '../protocol/changes.ts';
import { canonicalJson } from '../protocol/canonical-json.ts';
import type { BucketResponse, DigestResponse, SnapshotEntity } from '../protocol/sync.ts';
import type { VerifyDifference, VerifyReport } from '../protocol/sync-state.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { laneOf } from '../db/change-row.ts';
import type { Session } from '../db/database.ts';
import { type EntityBase, feedVersion, moveBases } from '../db/entity-bases.ts';
import { type RemoteContext, putOnBases } from './apply-feed.ts';

export interface VerifyParts {
  readonly digest: () => Promise<DigestResponse>;
  readonly bucket: (bucket: number, page: string | null) => Promise<BucketResponse>;
  readonly read: <T>(work: (session: Session) => Promise<T>) => Promise<T>;
  readonly write: <T>(work: (context: RemoteContext & { readonly version: number }) => Promise<T>) => Promise<T>;
  readonly isLocalOnly: (entityType: string) => boolean;
  /** Resolves when everything the server has is here. */
  readonly caughtUp: () => Promise<void>;
}

const ATTEMPTS = 5;
const LISTED = 1_000;
const READ_AT_ONCE = 5_000;

export async function verifyAgainstServer(parts: VerifyParts, repair: boolean): Promise<VerifyReport> {
  for (let attempt = 1; ; attempt++) {
    const report = await compareOnce(parts, repair);
    if (report !== undefined) return report;
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
async function compareOnce(parts: VerifyParts, repair: boolean): Promise<VerifyReport | undefined> {
  const here = await readHashes(parts);
  if (here === undefined) return undefined;
  const theirs = await parts.digest();
  if (theirs.version !== here.version) return undefined;
  const digests = new Map(theirs.buckets.map((bucket) => [bucket.bucket, bucket.digest]));
  const differences: { difference: VerifyDifference; base: EntityBase }[] = [];
  for (const bucket of new Set([...digests.keys(), ...here.buckets.keys()])) {
    const entities = here.buckets.get(bucket) ?? [];
    if (digestOf(entities) === (digests.get(bucket) ?? digestOf([]))) continue;
    const found = await compareBucket(parts, bucket, entities, here.version);
    if (found === undefined) return undefined;
    differences.push(...found);
  }
  // The pages of a bucket are not of one moment.
  if (differences.length > 0 && (await parts.digest()).version !== here.version) return undefined;
  const repaired =
    repair && differences.length > 0
      ? await repairBases(
          parts,
          differences.map(({ base }) => base),
        )
      : 0;
  return {
    version: here.version,
    compared: here.count,
    differences: differences.slice(0, LISTED).map(({ difference }) => difference),
    differencesTotal: differences.length,
    repaired,
  };
}

interface Hashed {
  readonly entityType: string;
  readonly entityId: string;
  readonly version: number;
  readonly hash: string;
  readonly data: Entity | null;
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
      const hashed = { entityType: t, entityId: e, version: v, hash: hashOf(d), data: d };
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
): Promise<{ difference: VerifyDifference; base: EntityBase }[] | undefined> {
  const there = new Map<string, SnapshotEntity>();
  for (let page: string | null = null; ;) {
    const answer: BucketResponse = await parts.bucket(bucket, page);
    if (answer.version !== version) return undefined;
    for (const entity of answer.entities) if (!parts.isLocalOnly(entity.entityType)) there.set(laneOf(entity), entity);
    if (answer.next === null) break;
    page = answer.next;
  }
  const found: { difference: VerifyDifference; base: EntityBase }[] = [];
  for (const own of here) {
    const lane = laneOf(own);
    const other = there.get(lane);
    there.delete(lane);
    const { entityType, entityId, data } = own;
    if (other === undefined) {
      const base = { entityType, entityId, version: Math.max(version, own.version + 1), timestamp: 0, data: null };
      found.push({ difference: { entityType, entityId, kind: 'missing-there', server: null, here: data }, base });
    } else if (hashOf(other.entity) !== own.hash) {
      const base = {
        entityType,
        entityId,
        version: Math.max(other.version, own.version),
        timestamp: other.timestamp,
        data: other.entity,
      };
      found.push({ difference: { entityType, entityId, kind: 'different', server: other.entity, here: data }, base });
    }
  }
  for (const { entityType, entityId, entity, version: at, timestamp } of there.values()) {
    const base = { entityType, entityId, version: at, timestamp, data: entity };
    found.push({ difference: { entityType, entityId, kind: 'missing-here', server: entity, here: null }, base });
  }
  return found;
}

async function repairBases(parts: VerifyParts, bases: readonly EntityBase[]): Promise<number> {
  return parts.write(async (context) => {
    const names = JSON.stringify(bases.map(({ entityType, entityId }) => ({ t: entityType, e: entityId })));
    // A base that differs at the same version must give way to the server's.
    await context.session.run(
      `DELETE FROM local_data.entity_bases b USING jsonb_to_recordset($1::jsonb) AS n(t text, e text)
       WHERE b.entity_type = n.t AND b.entity_id = n.e`,
      [names],
    );
    await moveBases(context.session, bases);
    const refused = await putOnBases(context, bases, context.version, bases.length > LISTED);
    return bases.length - refused.size;
  });
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
