// A space's row: made when its first token comes by, and locked by whoever pushes into it.
import { type Position, cursorExpired, epochChanged, historyChanged } from './cursor.ts';
import { STATEMENTS, type SpaceRow } from './statements.ts';
import type { SqlSession } from './store.ts';

/** What makes a space: its epoch must never have been one before. */
export interface SpaceOrigin {
  readonly now: () => number;
  readonly newEpoch: () => string;
}

export async function readSpace(session: SqlSession, space: string, origin: SpaceOrigin): Promise<SpaceRow> {
  return (await findSpace(session, space)) ?? createSpace(session, space, origin);
}

/**
 * The first statement of a push's transaction: other pushes of the space wait until this one is done, and what is read by
 * later statements is what they left. Null where the space is not there yet.
 */
export async function lockSpace(session: SqlSession, space: string): Promise<SpaceRow | null> {
  const [row] = await session.run<SpaceRow>(STATEMENTS.lockSpace, [space]);
  return row ?? null;
}

async function findSpace(session: SqlSession, space: string): Promise<SpaceRow | null> {
  const [row] = await session.run<SpaceRow>(STATEMENTS.readSpace, [space]);
  return row ?? null;
}

/** Two at once make one: the second finds what the first made. */
export async function createSpace(session: SqlSession, space: string, origin: SpaceOrigin): Promise<SpaceRow> {
  await session.run(STATEMENTS.createSpace, [space, origin.newEpoch(), origin.now()]);
  const row = await findSpace(session, space);
  if (row === null) throw new Error('A space that was just made is not there.');
  return row;
}

/** Throws unless the space's history still has what the position stands for. */
export async function verifyInSpace(
  session: SqlSession,
  space: string,
  row: SpaceRow,
  position: Position,
): Promise<void> {
  const isAtEdge = position.version >= row.version || position.version <= row.feed_from;
  const idThere = isAtEdge ? null : await readIdAt(session, space, position);
  await verifyPosition(session, space, row, position, idThere);
}

/** The same where the feed was read already: `idThere` is what it has at the position's version, null where it has none. */
export async function verifyPosition(
  session: SqlSession,
  space: string,
  row: SpaceRow,
  position: Position,
  idThere: string | null,
): Promise<void> {
  if (position.epoch !== row.epoch) throw epochChanged();
  if (position.version > row.version) throw historyChanged();
  if (position.version < row.feed_from) {
    const isOurs = await wasApplied(session, space, position);
    throw isOurs ? cursorExpired(position.version, row.feed_from) : historyChanged();
  }
  if (position.id !== idAt(position.version, row, idThere)) throw historyChanged();
}

function idAt(version: number, row: SpaceRow, idThere: string | null): string | null {
  if (version === row.version) return row.last_id;
  return version === row.feed_from ? row.feed_from_id : idThere;
}

/**
 * Whether this history has had the change at a position before the feed's beginning, for ids are known for longer than the
 * feed reaches back. A space that was put back to a backup has not; of what is older than all ids nobody can tell.
 */
async function wasApplied(session: SqlSession, space: string, { version, id }: Position): Promise<boolean> {
  const [known] = await session.run<{ version: number | null; oldest: number | null }>(STATEMENTS.readAppliedAt, [
    space,
    id,
  ]);
  return known?.version === version || version < (known?.oldest ?? Infinity);
}

/** The id of the change that the feed has at the position's version; null where it has none. */
export async function readIdAt(session: SqlSession, space: string, { version }: Position): Promise<string | null> {
  const [there] = await session.run<{ id: string }>(STATEMENTS.readChangeAt, [space, version]);
  return there?.id ?? null;
}
