// What the engine takes and gives, beside changes: entity types, queries, imports, events. Plain data only; crosses the thread.
import type { SyncState } from './sync-state.ts';
import type { Change, ChangeCounts, Entity, JsonObject, JsonValue } from './changes.ts';

export interface RegisterEntityType {
  /** Name in changes and interface, such as `Task`. */
  readonly entityType: string;
  /** An existing table, optionally schema-qualified; without it a document table (`id`, `data jsonb`) is made. */
  readonly table?: string;
  /** The key column (document types: the key's name in the document). Default: the primary key, or `id`. */
  readonly key?: string;
}

export interface ColumnInfo {
  readonly name: string;
  /** As `format_type` says, such as `integer` or `timestamp with time zone`. */
  readonly type: string;
  readonly notNull: boolean;
  readonly hasDefault: boolean;
  /** Generated always; never written. */
  readonly generated: boolean;
  /** Labels of an enum type. */
  readonly enumValues?: readonly string[];
  /** The entity type (when registered) and table a single-column foreign key points to. */
  readonly references?: { readonly table: string; readonly column: string; readonly entityType?: string };
  /** CHECK constraints that name this column, as SQL. */
  readonly checks?: readonly string[];
}

export interface EntityTypeInfo {
  readonly entityType: string;
  readonly table: string;
  readonly key: string;
  readonly kind: 'table' | 'document';
  readonly columns: readonly ColumnInfo[];
  /** Entities of this type now. */
  readonly count: number;
}

export interface QueryResult {
  readonly rows: JsonObject[];
  readonly fields: { readonly name: string; readonly dataTypeId: number }[];
  readonly affectedRows?: number;
  /** True when more rows were there than the limit let through. */
  readonly truncated?: boolean;
}

export type Comparison =
  '=' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'contains' | 'startsWith' | 'isNull' | 'isNotNull';

/** One condition; a list of them is joined by AND. */
export interface Condition {
  readonly field: string;
  readonly op: Comparison;
  readonly value?: JsonValue;
}

export interface QueryEntitiesOptions {
  /** `{ field: value }` is equality (null means IS NULL); a list of conditions for the rest. */
  readonly where?: JsonObject | readonly Condition[];
  /** Free text: entities of which any field contains it, case-insensitively. */
  readonly search?: string;
  /** A leading `-` means descending: `['-priority', 'title']`. The key is added last, so that order is total. */
  readonly orderBy?: string | readonly string[];
  /** Default 100, at most 1,000. */
  readonly limit?: number;
  /** The `next` of the page before (keyset). */
  readonly after?: string;
  /** Skips rows, for a panel that jumps; prefer `after`. */
  readonly offset?: number;
}

export interface EntityPage {
  readonly rows: Entity[];
  /** Pass as `after`; null at the end. */
  readonly next: string | null;
}

export type TransactionOperation =
  | { readonly kind: 'upsert'; readonly entityType: string; readonly entityId: string; readonly data: JsonObject }
  | { readonly kind: 'delete'; readonly entityType: string; readonly entityId: string };

/** Collects what a transaction does; applied and recorded together when the callback returns. */
export interface Transaction {
  upsertEntity(entityType: string, entityId: string, data: JsonObject): void;
  deleteEntity(entityType: string, entityId: string): void;
}

export interface TransactionResult {
  readonly transactionId: string | null;
  readonly changes: Change[];
}

export interface DiscardOptions {
  /** Discards what depends on it too; without, dependents make the call fail with HAS_DEPENDENTS. */
  readonly withDependents?: boolean;
}

/** What discarding a change would do, for the dialog that asks first. */
export interface DiscardPreview {
  readonly change: Change;
  /** The other members of its transaction, discarded with it. */
  readonly members: Change[];
  /** Changes that depend on it (at most 100 listed). */
  readonly dependents: Change[];
  readonly dependentsTotal: number;
  /** The entity now, and after the discard; null where it is not there. */
  readonly before: JsonObject | null;
  readonly after: JsonObject | null;
}

export type ImportFormat = 'json' | 'jsonl' | 'csv';

export interface ImportOptions {
  /** Absolute path of the file, read where the engine runs. */
  readonly file: string;
  /** Default: by the file's ending. */
  readonly format?: ImportFormat;
  readonly entityType: string;
  /** Name of the field in the file that holds the entity id; default the type's key. */
  readonly idField?: string;
}

export interface ImportProgress {
  readonly rowsRead: number;
  readonly rowsRecorded: number;
  readonly bytesRead: number;
  readonly bytesTotal: number;
}

export interface RefusedRow {
  /** Line (CSV, JSONL) or index from 1 (JSON). */
  readonly row: number;
  readonly reason: string;
}

export interface ImportReport {
  readonly label: string;
  readonly entityType: string;
  readonly file: string;
  readonly rowsRead: number;
  readonly rowsRecorded: number;
  /** The first 1,000 of them. */
  readonly refused: RefusedRow[];
  readonly refusedTotal: number;
  readonly cancelled: boolean;
}

export interface ImportSummary {
  readonly label: string;
  readonly entityType: string;
  readonly file: string;
  readonly startedAt: number;
  readonly rowsRecorded: number;
  /** Nothing of it is in place any more by its own doing. */
  readonly undone: boolean;
}

export interface UndoImportReport {
  readonly label: string;
  /** Rows that were taken back: discarded, or undone by a recorded delete where the server has them. */
  readonly undone: number;
}

export type ProcessorState = 'stopped' | 'idle' | 'processing';

/** What a commit did; one a batch, carried to every store. */
export interface CommitEvent {
  /** Touched changes as they are now, in `seq` order; `previous` and `result` are left out (null) to keep it small. */
  readonly changes: Change[];
  readonly entities: EntityDelta[];
  /** All changes by status, after the commit. */
  readonly counts: ChangeCounts;
  readonly processor: ProcessorState;
  /** Set when entity types were registered or their tables altered. */
  readonly entityTypes?: EntityTypeInfo[];
  /** Set when the state of synchronisation has changed. */
  readonly sync?: SyncState;
}

export interface EntityDelta {
  readonly entityType: string;
  readonly upserted: Entity[];
  readonly deleted: string[];
  /** Entities of the type after the commit. */
  readonly count: number;
  /** Too many to carry: whoever shows this type reads again. */
  readonly reload?: boolean;
}

/** The stores' content at the time of a subscription; later commits come as events. */
export interface StoreSnapshot {
  readonly counts: ChangeCounts;
  readonly newest: Change[];
  readonly entityTypes: EntityTypeInfo[];
  readonly processor: ProcessorState;
  readonly sync: SyncState;
}

export interface Diagnostics {
  readonly versions: Readonly<Record<string, string>>;
  readonly dataDir: string | null;
  readonly dataBytes: number;
  readonly walBytes: number;
  readonly rssBytes: number;
  readonly counts: ChangeCounts;
  readonly entityTypes: readonly { readonly entityType: string; readonly count: number }[];
  readonly processor: ProcessorState;
  readonly openMs: number;
  readonly openedFrom: 'template' | 'initdb' | 'existing' | 'memory';
}
