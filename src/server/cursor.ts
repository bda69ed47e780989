// Cursors and page tokens: opaque to clients, verified against the space whenever they come back (spaces.ts). They carry no secret and
// give no access; a made-up one can only be refused.
import { z } from 'zod';
import { SyncRequestError } from './sync-request-error.ts';

/** A place in a space's feed: after the change `id`, which got `version`. */
export interface Position {
  readonly epoch: string;
  readonly version: number;
  readonly id: string;
}

/** Where a page of a snapshot goes on: after this entity. `start` is where the feed stood when the snapshot began. */
export interface SnapshotPlace {
  readonly start: Position;
  readonly total: number;
  readonly entityType: string;
  readonly entityId: string;
}

const version = z.number().int().nonnegative();
const cursorSchema = z.tuple([z.literal('c'), z.string(), z.string(), version, z.string()]);
const placeSchema = z.tuple([
  z.literal('p'),
  z.string(),
  z.string(),
  version,
  z.string(),
  z.number().int().nonnegative(),
  z.string(),
  z.string(),
]);

export function encodeCursor(space: string, { epoch, version, id }: Position): string {
  return encode(['c', epoch, space, version, id]);
}

export function decodeCursor(space: string, text: string, field: string): Position {
  const parsed = cursorSchema.safeParse(decode(text));
  if (!parsed.success) throw unreadable('cursor', field);
  const [, epoch, namedSpace, version, id] = parsed.data;
  if (namedSpace !== space) throw otherSpace('cursor', field);
  return { epoch, version, id };
}

export function encodePlace(space: string, { start, total, entityType, entityId }: SnapshotPlace): string {
  return encode(['p', start.epoch, space, start.version, start.id, total, entityType, entityId]);
}

export function decodePlace(space: string, text: string): SnapshotPlace {
  const parsed = placeSchema.safeParse(decode(text));
  if (!parsed.success) throw unreadable('page token', 'page');
  const [, epoch, namedSpace, version, id, total, entityType, entityId] = parsed.data;
  if (namedSpace !== space) throw otherSpace('page token', 'page');
  return { start: { epoch, version, id }, total, entityType, entityId };
}

export function epochChanged(): SyncRequestError {
  return new SyncRequestError(
    'EPOCH_CHANGED',
    'This server has another history than the one this client knows. Start from a snapshot.',
  );
}

export function historyChanged(): SyncRequestError {
  return new SyncRequestError(
    'HISTORY_CHANGED',
    'This server was put back to an earlier state: it does not have the change that the cursor names. Start from a snapshot.',
  );
}

export function cursorExpired(version: number, feedFrom: number): SyncRequestError {
  return new SyncRequestError(
    'CURSOR_EXPIRED',
    `The feed no longer reaches back to version ${version}; it begins after ${feedFrom}. Start from a snapshot.`,
  );
}

function unreadable(what: string, field: string): SyncRequestError {
  return new SyncRequestError('INVALID_REQUEST', `The ${what} cannot be read. Send one that this server gave.`, {
    field,
  });
}

function otherSpace(what: string, field: string): SyncRequestError {
  return new SyncRequestError('INVALID_REQUEST', `The ${what} is one of another space.`, { field });
}

function encode(value: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decode(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
  } catch {
    return null;
  }
}
