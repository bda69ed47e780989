// The public, versioned API for other extensions. Types only: no code, and nothing that could break an importer.
//
//   const exports = await vscode.extensions.getExtension<LocalDataExports>('vibestack.local-data')?.activate();
//   const localData = exports?.getApi(1);
//   await localData?.recordChange('User', 'user-123', 'update', { name: 'John Doe' });
import type {
  Change,
  ChangeFilter,
  ChangePage,
  Entity,
  JsonObject,
  ListChangesOptions,
  Operation,
} from './protocol/changes.ts';
import type { OpenTransport } from './sync/transport.ts';
import type { EntityPage, EntityTypeInfo, QueryEntitiesOptions, RegisterEntityType } from './protocol/engine.ts';

export type * from './protocol/changes.ts';
export type * from './protocol/engine.ts';
export type { ErrorCode } from './protocol/errors.ts';
export type * from './protocol/sync.ts';
export type {
  OpenTransport,
  SyncTransport,
  TransportCall,
  TransportErrorDetails,
  TransportErrorKind,
  TransportOptions,
} from './sync/transport.ts';

export interface LocalDataExports {
  /** The newest version that `getApi` gives. */
  readonly apiVersion: 1;
  /** Throws when this version is not offered. A version once published keeps its meaning. */
  getApi(version: 1): LocalDataApi;
}

export interface Disposable {
  dispose(): void;
}

/**
 * Each call waits for the database that is being opened. Where there is none (no folder, none created yet, Restricted
 * Mode) it rejects with an error whose `code` is `ENGINE_CLOSED` and whose message says why; none is ever created by a
 * call. All errors carry a `code`; see `ErrorCode`.
 */
export interface LocalDataApi {
  /** Queues one change; resolves once it is committed. The change processor applies it. */
  recordChange(entityType: string, entityId: string, operation: Operation, data?: JsonObject | null): Promise<Change>;
  /** Inserts, or updates the fields that differ; applied and recorded when it resolves. */
  upsertEntity(entityType: string, entityId: string, data: JsonObject): Promise<Entity>;
  /** Resolves to whether there was such an entity. */
  deleteEntity(entityType: string, entityId: string): Promise<boolean>;
  getEntity(entityType: string, entityId: string): Promise<Entity | undefined>;
  queryEntities(entityType: string, options?: QueryEntitiesOptions): Promise<EntityPage>;
  listChanges(options?: ListChangesOptions): Promise<ChangePage>;
  listEntityTypes(): Promise<EntityTypeInfo[]>;
  /** Without `table` a type of JSON documents is made. */
  registerEntityType(registration: RegisterEntityType): Promise<EntityTypeInfo>;
  /** Calls back after each commit with the changes that match. */
  watchChanges(filter: ChangeFilter, callback: (changes: Change[]) => void): Promise<Disposable>;
  /** Calls back after each commit with every change it touched; keeps on over restarts of the database. */
  onDidChange(listener: (changes: readonly Change[]) => void): Disposable;
  /**
   * Carries synchronisation to servers whose address begins with this scheme, such as `supabase` for `supabase:project`.
   * Called when a database connects to such an address; taken back by disposing, which ends contact until another is
   * registered. A transport fails with an `Error` that has a `kind` ({@link TransportErrorKind}) and may have `details`
   * ({@link TransportErrorDetails}); anything else that it throws counts as `unreachable`. What it answers is checked.
   */
  registerSyncTransport(scheme: string, open: OpenTransport): Disposable;
}
