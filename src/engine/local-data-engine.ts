// The engine in process: wires the changes table, the processor, the entity API and the stores over one database, and
// runs each call alone on the session. Everything after a commit (stores, watchers, processor) hangs on one event.
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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
import { WAITING_STATUSES, matchesFilter } from '../protocol/changes.ts';
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
  TransactionOperation,
  TransactionResult,
  UndoImportReport,
} from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { applyChanges } from '../db/apply-changes.ts';
import { CAPTURED_CHANNEL, SCHEMA_CHANNEL } from '../db/capture.ts';
import { newChangeId } from '../db/change-id.ts';
import { ChangeProcessor } from '../db/change-processor.ts';
import { publishCaptured } from '../db/captured-changes.ts';
import * as changesTable from '../db/changes-table.ts';
import type { ReasonContext } from '../db/change-row.ts';
import type { Clock } from '../db/clock.ts';
import { CommitDraft, CommitLog } from '../db/commit-log.ts';
import type { Database, Parameter, Session } from '../db/database.ts';
import { EntityTypes, type EntityType } from '../db/entity-types.ts';
import { canonical } from '../db/failures.ts';
import { DiskSpace } from '../db/disk-space.ts';
import type { OpenedDatabase } from '../db/open-database.ts';
import { Maintenance } from '../db/maintenance.ts';
import { payloadSchema } from '../db/payload-schema.ts';
import { readOnlyQuery, writeSql } from '../db/people-sql.ts';
import { recordApplied } from '../db/record-applied.ts';
import { discardChange, previewDiscard, restoreChange } from '../db/discard-changes.ts';
import { editChange, findSetAside, retryChange, retryFailed } from '../db/repair-changes.ts';
import type { RepairContext } from '../db/repair-context.ts';
import { isStillImported, undoImport } from '../db/undo-import.ts';
import { type RetryLimits, RetrySchedule } from '../db/retry-schedule.ts';
import { SqlError } from '../db/sql-error.ts';
import * as entityApi from '../entities/entity-api.ts';
import { importEntities } from '../entities/import/import-entities.ts';
import { countEntities, queryEntities } from '../entities/query-entities.ts';
import { createSampleData } from '../entities/sample-data.ts';
import { undoChange } from '../entities/undo-change.ts';
import { NO_SYNC, type SyncState } from '../protocol/sync-state.ts';
import type { LocalDataSync } from '../sync/local-data-sync.ts';
import { underConditions } from '../sync/network-conditions.ts';
import { SyncEngine } from '../sync/sync-engine.ts';
import type { OpenTransport } from '../sync/transport.ts';
import { type LocalDataStores, createStores, publishCommit, resetStores } from '../stores/local-data-stores.ts';
import type { CallOptions, LocalData } from './local-data.ts';

/** Milliseconds for which a repair waits for the server's answer to what it is about. */
const ANSWER_WAIT = 10_000;

export interface EngineParts {
  readonly opened: OpenedDatabase;
  /** `performance.now()` before opening. */
  readonly startedAt: number;
  readonly clock: Clock;
  readonly random: (() => number) | undefined;
  readonly retry: RetryLimits;
  readonly maxPayloadBytes: number;
  readonly startProcessor: boolean;
  readonly batchSize: number;
  readonly onBackgroundError: (error: unknown) => void;
  /** Reaches a server; by its address, whatever carries it. */
  readonly openTransport: OpenTransport;
}

export class LocalDataEngine implements LocalData {
  readonly stores: LocalDataStores = createStores();
  readonly #parts: EngineParts;
  readonly #database: Database;
  readonly #disk: DiskSpace;
  readonly #entityTypes = new EntityTypes();
  readonly #commits: CommitLog;
  readonly #processor: ChangeProcessor;
  readonly #maintenance: Maintenance;
  readonly #random: () => number;
  readonly #sync: SyncEngine;
  #syncState: SyncState = NO_SYNC;
  #openMs = 0;
  /** Counts commits. */
  #committed = 0;
  #capturedUpTo = 0;
  #capturedPending = false;
  #schemaPending = false;
  #closing: Promise<void> | undefined;

  private constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#database = parts.opened.database;
    this.#disk = new DiskSpace(parts.opened.dataDir);
    this.#random = parts.random ?? Math.random;
    this.#commits = new CommitLog(this.#entityTypes, parts.onBackgroundError);
    this.#commits.listen(({ changes }) => void (this.#committed += changes.length > 0 ? 1 : 0));
    const isIdle = (): boolean => this.#closing === undefined && this.#commits.processor !== 'processing';
    this.#maintenance = new Maintenance(this.#database, parts.clock, isIdle, parts.onBackgroundError);
    this.#processor = new ChangeProcessor({
      database: this.#database,
      entityTypes: this.#entityTypes,
      commits: this.#commits,
      schedule: new RetrySchedule(parts.retry, this.#random),
      clock: parts.clock,
      batchSize: parts.batchSize,
      beginTransaction: async (session) => {
        this.#disk.requireRoom();
        await this.#announceWrite(session, null);
      },
      afterCommit: (session) => this.#afterCommit(session),
      onError: parts.onBackgroundError,
    });
    this.#sync = new SyncEngine({
      write: (work) => this.#writeRemote(work),
      read: (work) => this.#alone(work),
      entityTypes: this.#entityTypes,
      commits: this.#commits,
      clock: parts.clock,
      random: this.#random,
      newId: () => this.#newId(),
      retry: parts.retry,
      openTransport: (options) =>
        underConditions(parts.openTransport(options), {
          conditions: () => this.#sync.networkConditions,
          clock: parts.clock,
          random: this.#random,
        }),
      backUp: () => this.#backUpBeside(),
      onState: (state) => {
        this.#syncState = state;
        this.#commits.tellSync(state);
      },
      onError: parts.onBackgroundError,
    });
  }

  get sync(): LocalDataSync {
    return this.#sync;
  }

  static async start(parts: EngineParts): Promise<LocalDataEngine> {
    const engine = new LocalDataEngine(parts);
    await engine.#start();
    return engine;
  }

  async #start(): Promise<void> {
    this.#database.onNotification((channel) => {
      if (channel === CAPTURED_CHANNEL) this.#capturedPending = true;
      if (channel === SCHEMA_CHANNEL) this.#schemaPending = true;
    });
    this.#commits.listen((event) => publishCommit(this.stores, event));
    this.#commits.listen((event) => this.#maintenance.written(event.changes.length));
    await this.#database.exclusive(async (session) => {
      await this.#entityTypes.load(session);
      if (await changesTable.doesChangesTableExist(session)) await this.#reload(session);
      this.#schemaPending = false;
    });
    resetStores(this.stores, await this.snapshot());
    this.#openMs = performance.now() - this.#parts.startedAt;
    await this.#sync.start();
    if (this.#parts.startProcessor) this.startChangeProcessor();
  }

  /** What a mirror of the stores starts from; later commits reach it through {@link onCommit}. */
  async snapshot(): Promise<StoreSnapshot> {
    const newest = await this.#alone((session) => this.#newestWaiting(session));
    return {
      counts: { ...this.#commits.counts },
      newest,
      entityTypes: this.#entityTypes.infos(),
      processor: this.#commits.processor,
      sync: this.#syncState,
    };
  }

  onCommit(listener: (event: CommitEvent) => void): () => void {
    return this.#commits.listen(listener);
  }

  async createChangesTable(): Promise<void> {
    await this.#alone(async (session) => {
      await changesTable.createChangesTable(session);
      await this.#reload(session);
    });
  }

  doesChangesTableExist(): Promise<boolean> {
    return this.#alone((session) => changesTable.doesChangesTableExist(session));
  }

  async exec(sql: string, params?: readonly unknown[], options: CallOptions = {}): Promise<QueryResult> {
    return this.#write(async (session) => {
      await this.#announceSession(session);
      const result = await writeSql(session, sql, params as readonly Parameter[] | undefined);
      // Someone's SQL may have written the changes table itself.
      if (/local_changes/i.test(sql)) await this.#reload(session);
      return result;
    }, options.signal);
  }

  query(
    sql: string,
    params?: readonly unknown[],
    options: CallOptions & { readonly limit?: number } = {},
  ): Promise<QueryResult> {
    return this.#alone(
      (session) => readOnlyQuery(session, sql, params as readonly Parameter[] | undefined, options.limit),
      options.signal,
    );
  }

  async registerEntityType(registration: RegisterEntityType): Promise<EntityTypeInfo> {
    return this.#write(async (session) => {
      const type = await this.#entityTypes.register(session, registration);
      const draft = new CommitDraft();
      draft.entityTypesChanged = true;
      this.#commits.publish(draft);
      this.#schemaPending = false;
      return this.#entityTypes.info(type);
    });
  }

  async listEntityTypes(): Promise<EntityTypeInfo[]> {
    return this.#alone(() => Promise.resolve(this.#entityTypes.infos()));
  }

  async describePayload(entityType: string, operation: Operation): Promise<JsonObject> {
    return payloadSchema(this.#entityTypes.info(this.#entityTypes.require(entityType)), operation);
  }

  recordChange(entityType: string, entityId: string, operation: Operation, data?: JsonObject | null): Promise<Change> {
    const input = { entityType, entityId, operation, ...(data === undefined ? {} : { data }) };
    return this.#write(async (session) => {
      const change = await changesTable.recordChange(this.#recordContext(session), input);
      this.#publishRecorded(changesTable.draftOf([change]));
      return change;
    });
  }

  recordChanges(changes: readonly ChangeInput[]): Promise<Change[]> {
    return this.#write(async (session) => {
      const recorded = await changesTable.recordChanges(this.#recordContext(session), changes);
      this.#publishRecorded(changesTable.draftOf(recorded));
      return recorded;
    });
  }

  async upsertEntity(entityType: string, entityId: string, data: JsonObject): Promise<Entity> {
    return this.#writeEntity(entityType, async (context) =>
      entityApi.upsertEntity(context, entityType, entityId, data),
    ).then(({ entity }) => entity);
  }

  async deleteEntity(entityType: string, entityId: string): Promise<boolean> {
    const { entity } = await this.#writeEntity(entityType, (context) =>
      entityApi.deleteEntity(context, entityType, entityId),
    );
    return entity !== undefined;
  }

  getEntity(entityType: string, entityId: string): Promise<Entity | undefined> {
    return this.#alone((session) => entityApi.getEntity(session, this.#entityTypes.require(entityType), entityId));
  }

  queryEntities(
    entityType: string,
    options: QueryEntitiesOptions = {},
    { signal }: CallOptions = {},
  ): Promise<EntityPage> {
    return this.#alone((session) => queryEntities(session, this.#entityTypes.require(entityType), options), signal);
  }

  countEntities(
    entityType: string,
    options: Pick<QueryEntitiesOptions, 'where' | 'search'> = {},
    { signal }: CallOptions = {},
  ): Promise<number> {
    return this.#alone((session) => countEntities(session, this.#entityTypes.require(entityType), options), signal);
  }

  async transaction(collect: (tx: Transaction) => void | Promise<void>): Promise<TransactionResult> {
    const operations: TransactionOperation[] = [];
    await collect({
      upsertEntity: (entityType, entityId, data) =>
        void operations.push({ kind: 'upsert', entityType, entityId, data }),
      deleteEntity: (entityType, entityId) => void operations.push({ kind: 'delete', entityType, entityId }),
    });
    return this.runTransaction(operations);
  }

  /** The collected form of {@link transaction}, which is what crosses a thread. */
  async runTransaction(operations: readonly TransactionOperation[]): Promise<TransactionResult> {
    const transactionId = this.#newId();
    return this.#write(async (session) => {
      const { draft, ...result } = await session.transaction(async () => {
        await this.#announceWrite(session, transactionId);
        return entityApi.applyTransaction(this.#writeContext(session, transactionId), operations);
      });
      this.#commits.publish(draft);
      return result;
    });
  }

  listChanges(options: ListChangesOptions = {}): Promise<ChangePage> {
    return this.#alone((session) => changesTable.listChanges(session, options, this.#reasonContext()));
  }

  listMarks(entityType: string, entityIds: readonly string[]): Promise<EntityMark[]> {
    return this.#alone((session) => changesTable.listMarks(session, { entityType, entityIds }, this.#reasonContext()));
  }

  listNotInserted(entityType: string, limit?: number): Promise<EntityMark[]> {
    return this.#alone((session) =>
      changesTable.listNotInserted(session, { entityType, limit }, this.#reasonContext()),
    );
  }

  getChange(id: string): Promise<Change | undefined> {
    return this.#alone((session) => changesTable.getChange(session, id, this.#reasonContext()));
  }

  async watchChanges(filter: ChangeFilter, callback: (changes: Change[]) => void): Promise<() => void> {
    return this.#commits.listen((event) => {
      const matching = event.changes.filter((change) => matchesFilter(change, filter));
      if (matching.length > 0) callback(matching);
    });
  }

  startChangeProcessor(): void {
    this.#processor.startChangeProcessor();
  }

  stopChangeProcessor(): Promise<void> {
    return this.#processor.stopChangeProcessor();
  }

  async processNow(): Promise<void> {
    this.#requireOpen();
    return this.#processor.processNow();
  }

  async whenIdle(): Promise<void> {
    this.#requireOpen();
    await this.#processor.whenIdle();
  }

  async retryChange(id: string): Promise<Change> {
    const change = await this.getChange(id);
    if (change?.origin !== 'remote' || change.status !== 'failed')
      return this.#repair((context) => retryChange(context, id));
    await this.#sync.retrySetAside(id);
    return (await this.getChange(id)) ?? change;
  }

  async retryFailed(filter: ChangeFilter = {}): Promise<number> {
    const aside = await this.#alone((session) => findSetAside(session, filter));
    const retried = await this.#repair((context) => retryFailed(context, filter));
    for (const { id } of aside) await this.#sync.retrySetAside(id);
    return aside.reduce((total, { count }) => total + count, retried);
  }

  editChange(id: string, data: JsonObject): Promise<Change> {
    return this.#repairSettled((context) => editChange(context, id, data));
  }

  previewDiscard(id: string): Promise<DiscardPreview> {
    return this.#repair((context) => previewDiscard(context, id));
  }

  discardChange(id: string, options: DiscardOptions = {}): Promise<Change> {
    return this.#repairSettled((context) => discardChange(context, id, options.withDependents ?? false));
  }

  restoreChange(id: string): Promise<Change> {
    return this.#repair((context) => restoreChange(context, id));
  }

  undoChange(id: string): Promise<Change> {
    return this.#repair((context) => {
      const writeContext = (transactionId: string | null) => this.#writeContext(context.session, transactionId);
      return undoChange({ ...context, writeContext }, id);
    });
  }

  async importEntities(
    options: ImportOptions,
    call: CallOptions & { readonly onProgress?: (progress: ImportProgress) => void } = {},
  ): Promise<ImportReport> {
    this.#requireOpen();
    const deps = {
      describe: (entityType: string) => this.#entityTypes.info(this.#entityTypes.require(entityType)),
      recordBatch: (inputs: readonly ChangeInput[], label: string) => this.#recordImported(inputs, label, options),
      whenApplied: () => this.whenIdle(),
      maxPayloadBytes: this.#parts.maxPayloadBytes,
      newId: () => this.#newId(),
      canonicalId: (entityType: string, id: string) => canonical(this.#entityTypes.require(entityType), id),
    };
    return importEntities(deps, options, call);
  }

  async listImports(): Promise<ImportSummary[]> {
    const rows = await this.#alone((session) =>
      session.run<{
        label: string;
        entity_type: string;
        file: string;
        started_at: number;
        undone: boolean;
        recorded: number;
      }>(
        `SELECT i.label, i.entity_type, i.file, i.started_at,
           i.undone_at IS NOT NULL AND NOT EXISTS (
             SELECT FROM local_changes c WHERE c.label = i.label AND ${isStillImported('c')}) AS undone,
           (SELECT count(*) FROM local_changes c WHERE c.label = i.label) AS recorded
         FROM local_data.imports i ORDER BY i.started_at DESC LIMIT 1000`,
      ),
    );
    return rows.map((row) => ({
      label: row.label,
      entityType: row.entity_type,
      file: row.file,
      startedAt: row.started_at,
      rowsRecorded: row.recorded,
      undone: row.undone,
    }));
  }

  undoImport(label: string): Promise<UndoImportReport> {
    return this.#repairSettled((context) => undoImport(context, label));
  }

  /** Safe to call again: tables that are there stay, and changes are recorded once. */
  async createSampleData(): Promise<void> {
    await createSampleData({
      exec: (sql) => this.exec(sql),
      query: (sql) => this.query(sql),
      registerEntityType: (registration) => this.registerEntityType(registration),
      getEntity: (entityType, entityId) => this.getEntity(entityType, entityId),
      hasWaitingChange: async (entityType, entityId) => {
        const { changes } = await this.listChanges({ entityType, entityId, status: WAITING_STATUSES, limit: 1 });
        return changes.length > 0;
      },
      recordChanges: (changes) => this.recordChanges(changes),
    });
  }

  async diagnostics(): Promise<Diagnostics> {
    const { opened } = this.#parts;
    const [row] = await this.#alone((session) => session.run<{ version: string }>(`SELECT version() AS version`));
    const dataDir = opened.dataDir;
    return {
      versions: { postgres: row?.version ?? 'unknown', node: process.versions.node },
      dataDir,
      dataBytes: dataDir === null ? 0 : await directoryBytes(dataDir),
      walBytes: dataDir === null ? 0 : await directoryBytes(join(dataDir, 'pg_wal')),
      rssBytes: process.memoryUsage.rss(),
      counts: { ...this.#commits.counts },
      entityTypes: this.#entityTypes.infos().map(({ entityType, count }) => ({ entityType, count })),
      processor: this.#commits.processor,
      openMs: Math.round(this.#openMs),
      openedFrom: opened.openedFrom,
    };
  }

  async backup(file: string): Promise<void> {
    const dump = await this.#alone(async (session) => {
      await session.run('CHECKPOINT');
      return this.#database.dump();
    });
    await writeFile(file, dump, { mode: 0o600 });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#sync.close();
    await this.#processor.stopChangeProcessor();
    this.#maintenance.dispose();
    await this.#parts.opened.close();
  }

  /** Runs a read alone on the session. */
  async #alone<T>(work: (session: Session) => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.#requireOpen();
    return this.#database.exclusive((session) => {
      throwIfCancelled(signal);
      return work(session);
    });
  }

  /** Runs a write alone on the session, then tells what it caused and wakes the processor. */
  async #write<T>(work: (session: Session) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#alone(async (session) => {
      this.#disk.requireRoom();
      try {
        return await work(session);
      } finally {
        await this.#afterCommit(session);
        if (this.#commits.counts.pending > 0) this.#processor.wake();
      }
    }, signal);
  }

  /** Where the server's answer is on its way, it is waited for, and decides. */
  async #repairSettled<T>(work: (context: RepairContext) => Promise<T>): Promise<T> {
    const { clock } = this.#parts;
    const until = clock.now() + ANSWER_WAIT;
    const timeLeft = (): number => Math.min(ANSWER_WAIT, until - clock.now());
    for (;;) {
      const seen = this.#committed;
      try {
        return await this.#repair(work);
      } catch (error) {
        if (!LocalDataError.isCode(error, 'SENDING_IN_DOUBT')) throw error;
        const isSettled = (): boolean => this.#committed !== seen;
        // While others write there is always a commit since: only the time ends the waiting then.
        if (timeLeft() <= 0 || !(await this.#sync.whenSettled(isSettled, timeLeft()))) throw error;
      }
    }
  }

  async #repair<T>(work: (context: RepairContext) => Promise<T>): Promise<T> {
    return this.#write(async (session) => {
      const draft = new CommitDraft();
      const transactionId = this.#newId();
      const result = await session.transaction(async () => {
        await this.#announceWrite(session, transactionId);
        const { maxPayloadBytes } = this.#parts;
        return work({
          session,
          draft,
          transactionId,
          entityTypes: this.#entityTypes,
          maxPayloadBytes,
          newId: () => this.#newId(),
          ...this.#reasonContext(),
        });
      });
      this.#commits.publish(draft);
      return result;
    });
  }

  /** What came from the server, in one transaction: captured side effects belong to it. */
  #writeRemote<T>(work: (session: Session, draft: CommitDraft) => Promise<T>): Promise<T> {
    return this.#write(async (session) => {
      const draft = new CommitDraft();
      const result = await session.transaction(async () => {
        await this.#announceWrite(session, null);
        // Plans are made once, while tables may still be empty: what is looked up by its key must stay so.
        await session.run(`SELECT set_config('enable_seqscan', 'off', true)`);
        return work(session, draft);
      });
      this.#publishRecorded(draft);
      return result;
    });
  }

  /** Before a server's new history is taken over. */
  async #backUpBeside(): Promise<void> {
    const { dataDir } = this.#parts.opened;
    if (dataDir !== null) await this.backup(`${dataDir}-before-start-anew-${this.#parts.clock.now()}.tar.gz`);
  }

  async #writeEntity<T extends entityApi.EntityWrite>(
    entityType: string,
    write: (context: entityApi.WriteContext) => Promise<T>,
  ): Promise<T> {
    return this.#write(async (session) => {
      const type = this.#entityTypes.get(entityType);
      const isPlain = this.#commits.waiting === 0 && (type === undefined || !mayCauseMore(type));
      const run = async (transactionId: string | null): Promise<T> => write(this.#writeContext(session, transactionId));
      const result = isPlain
        ? await run(null)
        : await session.transaction(async () => {
            const transactionId = type !== undefined && mayCauseMore(type) ? this.#newId() : null;
            await this.#announceWrite(session, transactionId);
            return run(transactionId);
          });
      this.#commits.publish(result.draft);
      return result;
    });
  }

  /** The import itself is written down with its first batch, so that it can be listed and undone. */
  async #recordImported(
    inputs: readonly ChangeInput[],
    label: string,
    { entityType, file }: ImportOptions,
  ): Promise<void> {
    await this.#write(async (session) => {
      const draft = await session.transaction(async () => {
        await session.run(
          `INSERT INTO local_data.imports (label, entity_type, file, started_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
          [label, entityType, file, this.#parts.clock.now()],
        );
        return (
          (await this.#recordImportedApplied(session, inputs, label, this.#entityTypes.require(entityType))) ??
          changesTable.draftOf(await changesTable.recordChanges(this.#recordContext(session), inputs, label))
        );
      });
      this.#publishRecorded(draft);
    });
  }

  /** Where nothing waits that the rows could depend on or overtake; undefined where they must go through the queue. */
  async #recordImportedApplied(
    session: Session,
    inputs: readonly ChangeInput[],
    label: string,
    type: EntityType,
  ): Promise<CommitDraft | undefined> {
    if (!this.#processor.started || this.#commits.waiting > 0 || type.hasUserTriggers) return undefined;
    const context = { session, now: this.#parts.clock.now(), newId: () => this.#newId() };
    try {
      return await recordApplied(context, type, inputs, label);
    } catch (error) {
      // Recorded the usual way, each of them is tried and the one at fault is shown.
      if (error instanceof SqlError) return undefined;
      throw error;
    }
  }

  #publishRecorded(draft: CommitDraft): void {
    if (!this.#capturedPending)
      for (const seq of draft.changes.keys()) this.#capturedUpTo = Math.max(this.#capturedUpTo, seq);
    this.#commits.publish(draft);
  }

  /** What captured rows of the coming statements are recorded with, until the transaction ends. */
  async #announceWrite(session: Session, transactionId: string | null): Promise<void> {
    await this.#announce(session, transactionId ?? this.#newId(), true);
  }

  async #announceSession(session: Session): Promise<void> {
    await this.#announce(session, this.#newId(), false);
  }

  async #announce(session: Session, transactionId: string, untilCommit: boolean): Promise<void> {
    await session.run(
      `SELECT set_config('local_data.now', $1, ${untilCommit}), set_config('local_data.seed', $2, ${untilCommit}),
         set_config('local_data.transaction', $3, ${untilCommit}), set_config('local_data.aim', '', ${untilCommit})`,
      [String(this.#parts.clock.now()), this.#newId(), transactionId],
    );
  }

  async #afterCommit(session: Session): Promise<void> {
    if (this.#schemaPending) {
      this.#schemaPending = false;
      await this.#database.forgetPrepared();
      await this.#entityTypes.load(session);
      await this.#entityTypes.reinstallCapture(session);
      this.#schemaPending = false;
      const draft = new CommitDraft();
      draft.entityTypesChanged = true;
      this.#commits.publish(draft);
    }
    if (!this.#capturedPending) return;
    this.#capturedPending = false;
    this.#capturedUpTo = await publishCaptured(
      session,
      this.#capturedUpTo,
      this.#entityTypes,
      this.#commits,
      this.#reasonContext(),
    );
    if (this.#commits.counts.pending > 0) this.#processor.wake();
  }

  async #reload(session: Session): Promise<void> {
    await this.#commits.recount(session);
    for (const type of this.#entityTypes.all()) await this.#entityTypes.recount(session, type);
    const [row] = await session.run<{ last: number | null }>(`SELECT max(seq) AS last FROM local_changes`);
    this.#capturedUpTo = row?.last ?? 0;
    this.#capturedPending = false;
    const draft = new CommitDraft();
    draft.entityTypesChanged = true;
    this.#commits.publish(draft);
  }

  async #newestWaiting(session: Session): Promise<Change[]> {
    if (!(await changesTable.doesChangesTableExist(session))) return [];
    const page = async (options: ListChangesOptions): Promise<Change[]> =>
      (await changesTable.listChanges(session, { order: 'desc', limit: 100, ...options }, this.#reasonContext()))
        .changes;
    const pages = [];
    for (const status of ['failed', 'blocked', 'retrying', 'pending'] as const) pages.push(await page({ status }));
    pages.push(await page({}));
    const bySeq = new Map(pages.flat().map((change) => [change.seq, { ...change, previous: null, result: null }]));
    return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
  }

  #recordContext(session: Session): changesTable.RecordContext {
    return {
      session,
      entityTypes: this.#entityTypes,
      maxPayloadBytes: this.#parts.maxPayloadBytes,
      newId: () => this.#newId(),
      ...this.#reasonContext(),
    };
  }

  #writeContext(session: Session, transactionId: string | null): entityApi.WriteContext {
    return {
      session,
      entityTypes: this.#entityTypes,
      maxPayloadBytes: this.#parts.maxPayloadBytes,
      now: this.#parts.clock.now(),
      newId: () => this.#newId(),
      transactionId,
      anyFailed: this.#commits.counts.failed > 0,
      drainLane: (type, entityId, draft) => this.#drainLane(session, type, entityId, draft),
    };
  }

  /** Applies what waits in a lane before a write to its entity; a lane that cannot be drained refuses the write. */
  async #drainLane(session: Session, type: EntityType, entityId: string, draft: CommitDraft): Promise<void> {
    if (this.#commits.waiting === 0) return;
    const now = this.#parts.clock.now();
    const waiting = await entityApi.waitingInLane(session, type.entityType, canonical(type, entityId), now);
    if (waiting.length === 0) return;
    const stuck = waiting.find((change) => change.status !== 'pending');
    if (stuck !== undefined) throw laneBlocked(stuck);
    const schedule = new RetrySchedule(this.#parts.retry, this.#random);
    const applied = await applyChanges(
      { session, entityTypes: this.#entityTypes, schedule, now, stuck: this.#commits.stuck },
      waiting,
    );
    const failed = [...applied.changes.values()].find((change) =>
      ['failed', 'retrying', 'blocked'].includes(change.status),
    );
    if (failed !== undefined) throw laneBlocked(failed);
    draft.include(applied);
  }

  #reasonContext(): ReasonContext {
    return { now: this.#parts.clock.now(), paused: !this.#processor.started, push: this.#commits.push };
  }

  #newId(): string {
    return newChangeId(this.#parts.clock.now(), this.#parts.random);
  }

  #requireOpen(): void {
    if (this.#closing === undefined) return;
    throw new LocalDataError('ENGINE_CLOSED', 'The database is closed. Open it again.');
  }
}

/** Writes to such a table may touch rows beyond those aimed at, which then belong to the same transaction. */
function mayCauseMore(type: EntityType): boolean {
  return type.hasUserTriggers || type.referencedBy === 'cascades';
}

function laneBlocked(change: Change): LocalDataError {
  return new LocalDataError(
    'LANE_BLOCKED',
    `${change.entityType} "${change.entityId}" has change ${change.seq} (${change.operation}) ${change.status}: ${change.reason ?? change.error ?? 'it waits'}. Retry, edit or discard that one first.`,
    { entityType: change.entityType, entityId: change.entityId, id: change.id, status: change.status },
  );
}

function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new LocalDataError('CANCELLED', 'The call was cancelled before it ran; nothing was done.');
}

async function directoryBytes(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        // A WAL segment may go between listing and looking.
        const stats = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
        return stats?.size ?? 0;
      }),
  );
  return sizes.reduce((total, size) => total + size, 0);
}
