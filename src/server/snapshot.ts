// All entities of a space in pages, and their digests: for a client that is new, has fallen behind, or compares itself. Pages
// are not of one moment; the version that the snapshot began at says from where the feed makes them so.
import { type Position, type SnapshotPlace, decodePlace, encodeCursor, encodePlace } from './cursor.ts';
import { PAGE_BYTES } from './server-limits.ts';
import { type SpaceOrigin, readSpace, verifyInSpace } from './spaces.ts';
import { STATEMENTS, type SnapshotRow } from './statements.ts';
import type { Store } from './store.ts';

export interface SnapshotParts {
  readonly store: Store;
  readonly origin: SpaceOrigin;
}

/** JSON of a snapshotResponse. */
export async function readSnapshotPage(
  { store, origin }: SnapshotParts,
  space: string,
  page: string | undefined,
  limit: number,
): Promise<string> {
  const place = await placeOf({ store, origin }, space, page);
  const rows = await store.run<SnapshotRow>(STATEMENTS.readSnapshot, [
    space,
    place.entityType,
    place.entityId,
    limit,
    PAGE_BYTES,
  ]);
  return `{"epoch":${JSON.stringify(place.start.epoch)},"serverTime":${origin.now()},"entities":${entitiesJson(rows)},"total":${place.total},"next":${JSON.stringify(nextOf(space, place, rows, limit))},"cursor":${JSON.stringify(encodeCursor(space, place.start))},"version":${place.start.version}}`;
}

/** JSON of a bucketResponse. */
export async function readBucketPage(
  { store, origin }: SnapshotParts,
  space: string,
  bucket: number,
  page: string | undefined,
  limit: number,
): Promise<string> {
  const place = await placeOf({ store, origin }, space, page);
  const rows = await store.run<SnapshotRow>(STATEMENTS.readBucket, [
    space,
    place.entityType,
    place.entityId,
    limit,
    PAGE_BYTES,
    bucket,
  ]);
  return `{"epoch":${JSON.stringify(place.start.epoch)},"version":${place.start.version},"entities":${entitiesJson(rows)},"next":${JSON.stringify(nextOf(space, place, rows, limit))}}`;
}

export async function readDigest({ store, origin }: SnapshotParts, space: string): Promise<object> {
  type Row = { epoch: string; version: number; bucket: number | null; count: number; digest: string };
  await readSpace(store, space, origin);
  const rows = await store.run<Row>(STATEMENTS.readDigest, [space]);
  const buckets = rows.flatMap(({ bucket, count, digest }) => (bucket === null ? [] : [{ bucket, count, digest }]));
  return { epoch: rows[0]?.epoch, version: rows[0]?.version, buckets };
}

async function placeOf(
  { store, origin }: SnapshotParts,
  space: string,
  page: string | undefined,
): Promise<SnapshotPlace> {
  const row = await readSpace(store, space, origin);
  if (page !== undefined) {
    const place = decodePlace(space, page);
    await verifyInSpace(store, space, row, place.start);
    return place;
  }
  const start: Position = { epoch: row.epoch, version: row.version, id: row.last_id };
  const [counted] = await store.run<{ total: number }>(STATEMENTS.countEntities, [space]);
  return { start, total: counted?.total ?? 0, entityType: '', entityId: '' };
}

/** A page ends by its rows or by its bytes; one that did neither is the last. */
function nextOf(space: string, place: SnapshotPlace, rows: readonly SnapshotRow[], limit: number): string | null {
  const last = rows.at(-1);
  const isFull = rows.length >= limit || rows.reduce((sum, { bytes }) => sum + bytes, 0) >= PAGE_BYTES;
  return last === undefined || !isFull
    ? null
    : encodePlace(space, { ...place, entityType: last.entity_type, entityId: last.entity_id });
}

function entitiesJson(rows: readonly SnapshotRow[]): string {
  const entities = rows.map((row) => {
    const head = JSON.stringify({
      entityType: row.entity_type,
      entityId: row.entity_id,
      version: row.version,
      timestamp: row.timestamp,
    });
    return `${head.slice(0, -1)},"entity":${row.data}}`;
  });
  return `[${entities.join(',')}]`;
}
