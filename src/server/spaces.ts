// A space's row: made when its first token comes by, and asked for whether a cursor still stands for what it did.
import { type Position, verifyPosition } from './cursor.ts';
import { STATEMENTS, type SpaceRow } from './statements.ts';
import type { SqlSession } from './store.ts';

/** What makes a space: its epoch must never have been one before. */
export interface SpaceOrigin {
  readonly now: () => number;
  readonly newEpoch: () => string;
}

export async function readSpace(session: SqlSession, space: string, origin: SpaceOrigin): Promise<SpaceRow> {
  return (await findSpace(session, space, 'readSpace')) ?? createSpace(session, space, origin, 'readSpace');
}

/** The first statement of a push's transaction: the others wait for it until this one is done. */
export async function lockSpace(session: SqlSession, space: string, origin: SpaceOrigin): Promise<SpaceRow> {
  return (await findSpace(session, space, 'lockSpace')) ?? createSpace(session, space, origin, 'lockSpace');
}

type Look = 'readSpace' | 'lockSpace';

async function findSpace(session: SqlSession, space: string, look: Look): Promise<SpaceRow | undefined> {
  const [row] = await session.run<SpaceRow>(STATEMENTS[look], [space]);
  return row;
}

/** Two at once make one: the second finds what the first made. */
async function createSpace(session: SqlSession, space: string, origin: SpaceOrigin, look: Look): Promise<SpaceRow> {
  await session.run(STATEMENTS.createSpace, [space, origin.newEpoch(), origin.now()]);
  const row = await findSpace(session, space, look);
  if (row === undefined) throw new Error('A space that was just made is not there.');
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
  const [there] = isAtEdge ? [] : await session.run<{ id: string }>(STATEMENTS.readChangeAt, [space, position.version]);
  verifyPosition(position, row, there?.id ?? null);
}
