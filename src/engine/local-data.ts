// The one face of the engine. Two implementations: in process (open-local-data.ts) and over RPC (worker/client.ts).
// One contract test suite runs against both.
import type {
  Change,
  ChangeFilter,
  ChangeInput,
  ChangePage,
  Entity,
  EntityMark,
  JsonObject,
  ListChangesOptions,
  Operation,
} from '../protocol/changes.ts';
import type {
  CommitEvent,
  Diagnostics,
  DiscardOptions,
  DiscardPreview,
  EntityPage,
  EntityTypeInfo,
  ImportOptions,
  ImportProgress,
  ImportReport,
  ImportSummary,
  QueryEntitiesOptions,
  QueryResult,
  RegisterEntityType,
  StoreSnapshot,
  Transaction,
  TransactionResult,
  UndoImportReport,
} from '../protocol/engine.ts';
import type { LocalDataSync } from '../sync/local-data-sync.ts';
import type { LocalDataStores } from '../stores/local-data-stores.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds. */
  readonly timeoutMs?: number;
}

export interface LocalData {
  /** Zustand vanilla stores, updated once per commit. */
  readonly stores: LocalDataStores;
  /** What `stores` are fed with, for who keeps a mirror of them elsewhere; returns unsubscribe. */
  onCommit(listener: (event: CommitEvent) => void): () => void;
  /** What a mirror starts from; every commit that is not in it comes to the listeners after it. */
  snapshot(): Promise<StoreSnapshot>;

  /** The server: connecting, conflicts, comparing. */
  readonly sync: LocalDataSync;

  createChangesTable(): Promise<void>;
  doesChangesTableExist(): Promise<boolean>;

  /** Runs SQL that may write; one statement when `params` are given, else any number (the last one's rows come back). */
  exec(sql: string, params?: readonly unknown[], options?: CallOptions): Promise<QueryResult>;
  /** Read-only SQL, whatever is tried. One statement. */
  query(
    sql: string,
    params?: readonly unknown[],
    options?: CallOptions & { readonly limit?: number },
  ): Promise<QueryResult>;

  registerEntityType(registration: RegisterEntityType): Promise<EntityTypeInfo>;
  listEntityTypes(): Promise<EntityTypeInfo[]>;
  /** JSON Schema of an entity, or of a patch (nothing required), made from the table. */
  describePayload(entityType: string, operation: Operation): Promise<JsonObject>;

  /** Queues one change; resolves once it is committed. The processor applies it. */
  recordChange(entityType: string, entityId: string, operation: Operation, data?: JsonObject | null): Promise<Change>;
  /** All recorded or none; applied lane by lane. */
  recordChanges(changes: readonly ChangeInput[]): Promise<Change[]>;

  /** Inserts, or updates the fields that differ; applied and recorded when it resolves. */
  upsertEntity(entityType: string, entityId: string, data: JsonObject): Promise<Entity>;
  /** True when there was such an entity. */
  deleteEntity(entityType: string, entityId: string): Promise<boolean>;
  getEntity(entityType: string, entityId: string): Promise<Entity | undefined>;
  queryEntities(entityType: string, options?: QueryEntitiesOptions, call?: CallOptions): Promise<EntityPage>;
  countEntities(
    entityType: string,
    options?: Pick<QueryEntitiesOptions, 'where' | 'search'>,
    call?: CallOptions,
  ): Promise<number>;
  /** The callback only collects; all of it is applied and recorded together, or nothing. */
  transaction(collect: (tx: Transaction) => void | Promise<void>): Promise<TransactionResult>;

  listChanges(options?: ListChangesOptions): Promise<ChangePage>;
  /** Which of these entities have changes that are not done; however many wait. At most 1,000 ids. */
  listMarks(entityType: string, entityIds: readonly string[]): Promise<EntityMark[]>;
  /** The first entities that are not there because their insert did not succeed; default 100, at most 1,000. */
  listNotInserted(entityType: string, limit?: number): Promise<EntityMark[]>;
  getChange(id: string): Promise<Change | undefined>;
  /** Calls back after each commit with the changes that match; returns unsubscribe. */
  watchChanges(filter: ChangeFilter, callback: (changes: Change[]) => void): Promise<() => void>;

  startChangeProcessor(): void;
  /** Finishes what is under way. */
  stopChangeProcessor(): Promise<void>;
  /** Treats every waiting retry as due and runs until nothing can run, also while stopped. */
  processNow(): Promise<void>;
  /** Resolves when nothing can run now (blocked, failed and waiting-for-time do not count). */
  whenIdle(): Promise<void>;

  retryChange(id: string): Promise<Change>;
  /** Retries all failed changes that match; returns how many. */
  retryFailed(filter?: ChangeFilter): Promise<number>;
  /** What is in place here shows the new data at once. One that may have left for the server goes on under a new id. */
  editChange(id: string, data: JsonObject): Promise<Change>;
  previewDiscard(id: string): Promise<DiscardPreview>;
  discardChange(id: string, options?: DiscardOptions): Promise<Change>;
  restoreChange(id: string): Promise<Change>;
  /**
   * Records the change that undoes one which has taken effect, here or on the server, whoever made it, and gives it. A
   * member of a transaction is undone with all of it.
   */
  undoChange(id: string): Promise<Change>;

  importEntities(
    options: ImportOptions,
    call?: CallOptions & { readonly onProgress?: (progress: ImportProgress) => void },
  ): Promise<ImportReport>;
  listImports(): Promise<ImportSummary[]>;
  /** Refused with HAS_DEPENDENTS where later changes stand on it. */
  undoImport(label: string): Promise<UndoImportReport>;
  /** Users, projects and tasks, with three repairable troubles among their changes. */
  createSampleData(): Promise<void>;

  diagnostics(): Promise<Diagnostics>;
  /** Writes a compressed copy of the data directory to a file. */
  backup(file: string): Promise<void>;
  close(): Promise<void>;
}
