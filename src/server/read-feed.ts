// Reads pages of the feed: in the order of versions, ending where a transaction ends, verified against the cursor they go on
// from. What the database keeps as JSON text goes out as that text.
import type { FeedChange } from '../protocol/sync.ts';
import { type Position, encodeCursor } from './cursor.ts';
import { PAGE_BYTES } from './server-limits.ts';
import { type SpaceOrigin, readSpace, verifyPosition } from './spaces.ts';
import { type PageRow, STATEMENTS, type SpaceRow } from './statements.ts';
import type { SqlSession } from './store.ts';

export interface FeedPage {
  readonly epoch: string;
  /** JSON of the changes. */
  readonly changes: string;
  readonly count: number;
  readonly cursor: string;
  readonly version: number;
  readonly more: boolean;
}

/** What pushes have added: the rows that follow `after`, at least one. */
export interface GrownFeed {
  readonly space: string;
  readonly after: Position;
  readonly rows: readonly GrownRow[];
}

export interface GrownRow {
  readonly version: number;
  readonly id: string;
  /** As the feed counts them. */
  readonly bytes: number;
  /** Made when somebody wants it. */
  json(): string;
}

/** Where a reader stands; null at the feed's start. */
export type Standing = Position | null;

type FilledRow = PageRow & { readonly row_version: number };

/** Rows of a transaction that goes on beyond its page are fetched in steps of this many. */
const REST_ROWS = 1_000;
const REST_BYTES = 1_000_000_000;

export async function readFeedPage(
  session: SqlSession,
  space: string,
  standing: Standing,
  limit: number,
  origin: SpaceOrigin,
): Promise<FeedPage> {
  const after = standing?.version ?? 0;
  const rows = await readRows(session, space, after, limit, PAGE_BYTES, origin);
  const [first] = rows;
  if (first === undefined) throw new Error('A page has no row of its space.');
  const position = standing ?? { epoch: first.epoch, version: 0, id: '' };
  await verifyPosition(session, space, first, position, first.cursor_id);
  const filled = rows.filter(isFilled);
  await completeTransaction(session, space, filled, origin);
  return pageOf(space, first, position, filled);
}

function isFilled(row: PageRow): row is FilledRow {
  return row.row_version !== null;
}

async function readRows(
  session: SqlSession,
  space: string,
  after: number,
  limit: number,
  bytes: number,
  origin: SpaceOrigin,
): Promise<PageRow[]> {
  const rows = await session.run<PageRow>(STATEMENTS.readPage, [space, after, limit, bytes]);
  if (rows.length > 0) return rows;
  await readSpace(session, space, origin);
  return session.run<PageRow>(STATEMENTS.readPage, [space, after, limit, bytes]);
}

async function completeTransaction(
  session: SqlSession,
  space: string,
  rows: FilledRow[],
  origin: SpaceOrigin,
): Promise<void> {
  for (;;) {
    const last = rows.at(-1);
    const goesOn = last?.transaction_id !== null && last?.next_transaction_id === last?.transaction_id;
    if (last === undefined || !goesOn) return;
    const next = await readRows(session, space, last.row_version, REST_ROWS, REST_BYTES, origin);
    const rest = next.filter(isFilled);
    const end = rest.findIndex((row) => row.transaction_id !== last.transaction_id);
    // Retention may have taken the rest meanwhile; the reader's next page says so.
    if (rest.length === 0) return;
    rows.push(...(end === -1 ? rest : rest.slice(0, end)));
    if (end !== -1) return;
  }
}

function pageOf(space: string, row: SpaceRow, position: Position, rows: readonly FilledRow[]): FeedPage {
  const last = rows.at(-1);
  const end = last === undefined ? position : { epoch: row.epoch, version: last.row_version, id: last.id };
  return {
    epoch: row.epoch,
    changes: `[${rows.map(changeJson).join(',')}]`,
    count: rows.length,
    cursor: encodeCursor(space, end),
    version: end.version,
    more: end.version < row.version,
  };
}

function changeJson(row: FilledRow): string {
  const head = {
    version: row.row_version,
    id: row.id,
    clientId: row.client_id,
    entityType: row.entity_type,
    entityId: row.entity_id,
    operation: row.operation,
    timestamp: row.timestamp,
    transactionId: row.transaction_id,
  };
  return feedChangeJson(head, row.entity, row.data);
}

/** Of the entity and the data as JSON texts. */
export function feedChangeJson(
  head: Omit<FeedChange, 'entity' | 'data' | 'operation'> & { readonly operation: string },
  entity: string | null,
  data: string | null,
): string {
  return `${JSON.stringify(head).slice(0, -1)},"entity":${entity ?? 'null'},"data":${data ?? 'null'}}`;
}

/** The page for who stands where it begins or at one of its rows, without a look at the database; else, and if too much, null. */
export function pageOfGrown(grown: GrownFeed, standing: Standing): FeedPage | null {
  const rows = rowsAfter(grown, standing);
  const last = rows.at(-1);
  const bytes = rows.reduce((sum, row) => sum + row.bytes, 0);
  if (last === undefined || bytes > PAGE_BYTES) return null;
  const { space, after } = grown;
  return {
    epoch: after.epoch,
    changes: `[${rows.map((row) => row.json()).join(',')}]`,
    count: rows.length,
    cursor: encodeCursor(space, { epoch: after.epoch, version: last.version, id: last.id }),
    version: last.version,
    more: false,
  };
}

function rowsAfter({ after, rows }: GrownFeed, standing: Standing): readonly GrownRow[] {
  if (standing === null || standing.epoch !== after.epoch) return [];
  if (standing.version === after.version && standing.id === after.id) return rows;
  const index = rows.findIndex(({ version, id }) => standing.version === version && standing.id === id);
  return index === -1 ? [] : rows.slice(index + 1);
}

export function pageJson({ epoch, changes, cursor, version, more }: FeedPage, serverTime: number): string {
  return `{"epoch":${JSON.stringify(epoch)},"serverTime":${serverTime},"changes":${changes},"cursor":${JSON.stringify(cursor)},"version":${version},"more":${String(more)}}`;
}
