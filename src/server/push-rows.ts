// What a push reads and writes, as rows: one statement that reads, and one that writes. Their number is what a small push
// costs: with a statement for each table it took a fifth more of the database's time (measured).
import { canonicalJson } from '../protocol/canonical-json.ts';
import type { JsonObject } from '../protocol/changes.ts';
import type { FieldWrite } from '../protocol/sync.ts';
import { type ReadChange, laneOf } from './change-rules.ts';
import {
  type AppliedChange,
  type KnownChange,
  type PresentEntity,
  type PushDecision,
  type WrittenEntity,
  sha256,
} from './decide-push.ts';
import { type EntityRow, STATEMENTS } from './statements.ts';
import type { SqlSession, SqlTransaction, SqlValue } from './store.ts';

/** What is there of what the changes are about. */
export interface Present {
  /** By lane. */
  readonly entities: ReadonlyMap<string, PresentEntity>;
  /** The changes that were applied before, by id. */
  readonly known: ReadonlyMap<string, KnownChange>;
}

type PresentRow = {
  readonly id: string;
  readonly known_version: number | null;
  readonly payload_hash: string;
} & (EntityRow | { readonly entity_id: null });

export async function readPresent(
  session: SqlSession,
  space: string,
  changes: readonly ReadChange[],
): Promise<Present> {
  const entities = new Map<string, PresentEntity>();
  const known = new Map<string, KnownChange>();
  const wanted = changes.flatMap((read) => (read.kind === 'change' ? [read.change] : []));
  if (wanted.length === 0) return { entities, known };
  const first = new Map(wanted.toReversed().map((change) => [laneOf(change), change]));
  const rows = await session.run<PresentRow>(STATEMENTS.readPresent, [
    space,
    wanted.map(({ id }) => id),
    wanted.map(({ entityType }) => entityType),
    wanted.map((change) => (first.get(laneOf(change)) === change ? change.entityId : null)),
  ]);
  for (const row of rows) {
    if (row.known_version !== null) known.set(row.id, { version: row.known_version, payloadHash: row.payload_hash });
    if (row.entity_id === null) continue;
    entities.set(laneOf({ entityType: row.entity_type, entityId: row.entity_id }), presentOf(row));
  }
  return { entities, known };
}

/** Sent, not waited for: what fails here fails the transaction. */
export function writeDecision(
  session: SqlTransaction,
  space: string,
  clientId: string,
  now: number,
  { entities, applied, remembered, version }: PushDecision,
): void {
  if (remembered.length === 0) return;
  session.send(STATEMENTS.writePush, [
    space,
    now,
    clientId,
    version,
    applied.at(-1)?.change.id ?? '',
    ...columnsOf(entities, ENTITY_COLUMNS),
    ...columnsOf(applied, FEED_COLUMNS),
    ...columnsOf(remembered, REMEMBERED_COLUMNS),
  ]);
}

/** `[version, client id, timestamp]`, as the column `fields` keeps it. */
type KeptWrite = readonly [number, string, number];

function presentOf(row: EntityRow): PresentEntity {
  // Our own column, written below and by nothing else.
  const [whole, fields] = JSON.parse(row.fields) as [KeptWrite, Record<string, KeptWrite>];
  return {
    entityType: row.entity_type,
    entityId: row.entity_id,
    version: row.version,
    timestamp: row.timestamp,
    clientId: row.client_id,
    data: row.data === null ? null : (JSON.parse(row.data) as JsonObject),
    whole: writeOf(whole),
    fields: new Map(Object.entries(fields).map(([field, kept]) => [field, writeOf(kept)])),
  };
}

function writeOf([version, clientId, timestamp]: KeptWrite): FieldWrite {
  return { version, clientId, timestamp };
}

function keptOf({ version, clientId, timestamp }: FieldWrite): KeptWrite {
  return [version, clientId, timestamp];
}

type Column<T> = (row: T) => string | number | boolean | null;

function columnsOf<T>(rows: readonly T[], columns: readonly Column<T>[]): SqlValue[] {
  return columns.map((column) => rows.map(column));
}

/** In the order of the statement, as the two lists below. */
const ENTITY_COLUMNS: readonly Column<WrittenEntity>[] = [
  ({ entityType }) => entityType,
  ({ entityId }) => entityId,
  ({ version }) => version,
  ({ timestamp }) => timestamp,
  ({ clientId }) => clientId,
  ({ data }) => data === null,
  ({ json }) => json,
  ({ whole, fields }) => {
    return JSON.stringify([
      keptOf(whole),
      Object.fromEntries([...fields].map(([field, last]) => [field, keptOf(last)])),
    ]);
  },
  ({ data }) => (data === null ? '' : sha256(canonicalJson(data))),
  (entity) => Number.parseInt(sha256(laneOf(entity)).slice(0, 2), 16),
  ({ bytes }) => bytes,
];

const FEED_COLUMNS: readonly Column<AppliedChange>[] = [
  ({ version }) => version,
  ({ change }) => change.id,
  ({ change }) => change.entityType,
  ({ change }) => change.entityId,
  ({ operation }) => operation,
  ({ entityJson }) => entityJson,
  ({ dataJson }) => dataJson,
  ({ timestamp }) => timestamp,
  ({ change }) => change.transactionId,
  ({ entityBytes, dataBytes }) => entityBytes + dataBytes,
];

const REMEMBERED_COLUMNS: readonly Column<PushDecision['remembered'][number]>[] = [
  ({ id }) => id,
  ({ version }) => version,
  ({ payloadHash }) => payloadHash,
];
