// The part of the engine's face that is about the server: connecting, conflicts, comparing.
import type { Change } from '../protocol/changes.ts';
import type {
  ConnectOptions,
  MissingDecision,
  MissingEntity,
  MissingOutcome,
  NetworkConditions,
  Receipt,
  Resolve,
  SyncRules,
  SyncState,
  VerifyReport,
} from '../protocol/sync-state.ts';

export interface LocalDataSync {
  /** Binds this database to the server's space, or takes up again with another token; resolves when it is in contact. */
  connect(options: ConnectOptions): Promise<SyncState>;
  /** Ends contact and forgets the server's address; what the database has of the server stays, so that the same can be connected again. */
  disconnect(): Promise<void>;
  /** Pushes and pulls now, whatever it waits for; resolves when what can go has gone, gives the state then. */
  syncNow(): Promise<SyncState>;
  /** Works offline until {@link goOnline}. */
  goOffline(): Promise<void>;
  goOnline(): Promise<void>;
  /** Resolves when nothing waits that can go, and everything the server has is here. Rejects where a person is needed. */
  whenSynced(): Promise<void>;
  state(): Promise<SyncState>;
  setRules(rules: SyncRules): Promise<void>;
  setNetworkConditions(conditions: NetworkConditions | null): Promise<void>;
  /** Compares with the server by hashes, entities without what still waits; with `repair`, takes what the server has. */
  verify(options?: { readonly repair?: boolean; readonly signal?: AbortSignal }): Promise<VerifyReport>;
  /** Changes that wait for a person to resolve their conflict, oldest first; at most 1,000. */
  conflicts(): Promise<Change[]>;
  /** Resolves one; gives the change as it is then. */
  resolve(changeId: string, resolve: Resolve): Promise<Change>;
  receipt(changeId: string): Promise<Receipt>;
  /** What the server's earlier history had and its new one lacks, by type and id; at most 1,000, which is the default. */
  missingEntities(options?: { readonly limit?: number | undefined }): Promise<MissingEntity[]>;
  /**
   * Decides about all of them: sends them as they are, or removes them here. What something else here refers to is not
   * removed. A local change to one of them decides for it, too: it is sent.
   */
  decideMissing(decision: MissingDecision): Promise<MissingOutcome>;
}
