// What is known of synchronisation at any moment, which contact, push and pull share: whom the database belongs to, how
// contact stands, the rules, what is in the way, and the state that all of it comes to. The one place that shows it, and the
// one way to write what came from the server.
import { LocalDataError } from '../protocol/errors.ts';
import {
  type ConflictPolicy,
  NO_SYNC,
  type NetworkConditions,
  type SyncRules,
  type SyncState,
  type SyncStatus,
} from '../protocol/sync-state.ts';
import type { Change } from '../protocol/changes.ts';
import type { Clock } from '../db/clock.ts';
import { laneOf } from '../db/change-row.ts';
import type { CommitDraft, CommitLog } from '../db/commit-log.ts';
import type { Session } from '../db/database.ts';
import { type EntityName, feedVersion } from '../db/entity-bases.ts';
import type { EntityTypes } from '../db/entity-types.ts';
import { CARRIED_CHANGES } from '../db/move-changes.ts';
import type { RetryLimits } from '../db/retry-schedule.ts';
import { sendChanged } from './missing-entities.ts';
import { AcceptedUnseen } from './accepted-unseen.ts';
import type { Obstacle } from './obstacles.ts';
import { PushRate } from './push-rate.ts';
import type { SettleContext } from './settle-push.ts';
import { type Binding, readBinding } from './sync-binding.ts';
import { withinTime } from './time-limit.ts';
import type { OpenTransport, TransportCall } from './transport.ts';
import { Troubles } from './troubles.ts';
import { type TypeStanding, readStandings } from './type-standing.ts';

export interface SyncParts {
  /** Runs alone on the session, in one transaction, and publishes the draft after its commit. */
  readonly write: <T>(work: (session: Session, draft: CommitDraft) => Promise<T>) => Promise<T>;
  readonly read: <T>(work: (session: Session) => Promise<T>) => Promise<T>;
  readonly entityTypes: EntityTypes;
  readonly commits: CommitLog;
  readonly clock: Clock;
  readonly random: () => number;
  readonly newId: () => string;
  readonly retry: RetryLimits;
  readonly openTransport: OpenTransport;
  /** Writes a copy of the database before a server's new history is taken over. */
  readonly backUp: () => Promise<void>;
  readonly onState: (state: SyncState) => void;
  readonly onError: (error: unknown) => void;
}

export type ContactState =
  /** The server has not been asked yet, or is being asked for the first time. */
  | { readonly kind: 'asking' }
  | { readonly kind: 'made' }
  /** Tried again by itself; `nextTryAt` is null while it is being tried. */
  | { readonly kind: 'lost'; readonly reason: string; readonly nextTryAt: number | null }
  | { readonly kind: 'prevented'; readonly obstacle: Obstacle };

/** What is shown that nothing else derives. */
type Shown = Pick<
  SyncState,
  'inFlight' | 'lastAnswerAt' | 'lastRoundTripMs' | 'lastPushAt' | 'lastPullAt' | 'snapshot'
>;

export class SyncLedger {
  readonly parts: SyncParts;
  readonly troubles: Troubles;
  readonly unseen = new AcceptedUnseen();
  #binding: Binding | undefined;
  #contact: ContactState = { kind: 'asking' };
  #rules: SyncRules = {};
  #hasRules = false;
  #standings: ReadonlyMap<string, TypeStanding> = new Map();
  /** That were registered at any time since the database was opened. */
  readonly #typesSeen = new Set<string>();
  #conditions: NetworkConditions | null = null;
  /** Where local changes have come that nothing was looked for in yet, by lane. */
  #changed: Map<string, EntityName> | 'all' = 'all';
  readonly #rate = new PushRate();
  #cancelRate: (() => void) | undefined;
  #shown: Shown = NO_SYNC;
  #state: SyncState = NO_SYNC;
  #told = JSON.stringify(NO_SYNC);
  #isClosed = false;
  readonly #listeners = new Set<() => void>();

  constructor(parts: SyncParts) {
    this.parts = parts;
    this.troubles = new Troubles({
      clock: parts.clock,
      read: parts.read,
      localOnlyTypes: () => this.localOnlyTypes(),
      onError: parts.onError,
      onCounted: () => this.show(),
    });
  }

  get state(): SyncState {
    return this.#state;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  // --- Whom the database belongs to

  /** Undefined where it was never connected. */
  get binding(): Binding | undefined {
    return this.#binding;
  }

  async reread(): Promise<Binding | undefined> {
    await this.parts.read(async (session) => {
      this.#binding = await readBinding(session);
      this.#standings = await readStandings(session);
    });
    this.#announce();
    return this.#binding;
  }

  /** What a write has just set, without reading it again. */
  moved(values: Pick<Binding, 'cursor' | 'version'>): void {
    if (this.#binding !== undefined) this.#binding = { ...this.#binding, ...values };
  }

  get isConnected(): boolean {
    return this.#binding?.connected === true;
  }

  /** It may be in contact: connected, and nobody works offline. */
  get isOnline(): boolean {
    return this.#binding?.connected === true && !this.#binding.paused;
  }

  requireBinding(): Binding {
    if (this.#binding !== undefined && this.#binding.connected) return this.#binding;
    throw new LocalDataError('SYNC_NOT_CONNECTED', 'This database is not connected to a server. Connect it first.');
  }

  // --- How contact stands

  get contact(): ContactState {
    return this.#contact;
  }

  set contact(contact: ContactState) {
    this.#contact = contact;
    this.show();
  }

  get isInContact(): boolean {
    return this.#contact.kind === 'made';
  }

  /** A request with a time limit; its answer is a sign of life, and its length is what a person calls the round trip. */
  async ask<T>(
    timeoutMs: number,
    signal: AbortSignal,
    send: (call: TransportCall) => Promise<T>,
    waits: 'at-once' | 'may-wait' = 'at-once',
  ): Promise<T> {
    const { clock } = this.parts;
    const from = clock.now();
    const answer = await withinTime(clock, timeoutMs, signal, send);
    const now = clock.now();
    this.show({
      lastAnswerAt: now,
      ...(waits === 'at-once' ? { lastRoundTripMs: Math.max(0, now - from) } : {}),
    });
    return answer;
  }

  // --- Rules

  get rules(): SyncRules {
    return this.#rules;
  }

  set rules(rules: SyncRules) {
    this.#rules = rules;
    this.#hasRules = true;
  }

  /** Somebody has said how types take part, now or before the database was opened again. */
  get hasRules(): boolean {
    return this.#hasRules;
  }

  /** How types stand with the server, by name. */
  get standings(): ReadonlyMap<string, TypeStanding> {
    return this.#standings;
  }

  /** What a write has just set, without reading it again. */
  stand(standings: ReadonlyMap<string, TypeStanding>): void {
    this.#standings = standings;
  }

  /** Nothing of it is sent, and what comes from the server stays beneath: by the rules, or until it has come in step. */
  isLocalOnly(entityType: string): boolean {
    return this.staysHere(entityType) || this.#isApart(entityType);
  }

  /** By the rules. */
  staysHere(entityType: string): boolean {
    return (this.#rules[entityType]?.sync ?? this.#rules['*']?.sync) === false;
  }

  #isApart(entityType: string): boolean {
    if (this.#binding === undefined || this.parts.entityTypes.get(entityType) === undefined) return false;
    return this.#standings.get(entityType)?.isInStep !== true;
  }

  policyOf(entityType: string): ConflictPolicy {
    return this.#rules[entityType]?.conflicts ?? this.#rules['*']?.conflicts ?? 'merge';
  }

  /** Also types that are not registered here any more: changes of theirs may still be here. */
  localOnlyTypes(): string[] {
    // Asked with every change of the types and of what stays here: one whose table goes after that is known all the same.
    for (const { entityType } of this.parts.entityTypes.all()) this.#typesSeen.add(entityType);
    const names = new Set([...this.#typesSeen, ...this.#standings.keys(), ...Object.keys(this.#rules)]);
    return [...names].filter((name) => name !== '*' && this.isLocalOnly(name));
  }

  get conditions(): NetworkConditions | null {
    return this.#conditions;
  }

  set conditions(conditions: NetworkConditions | null) {
    this.#conditions = conditions;
    this.show();
  }

  // --- What waits

  /** Changes that have still to reach the server, without those that stay here or wait for a person. */
  get waiting(): number {
    if (this.#binding === undefined) return 0;
    return Math.max(0, this.parts.commits.counts.applied - this.troubles.counts.kept);
  }

  /** What waits is known, and not only taken to be so. */
  get isWaitingKnown(): boolean {
    return !this.troubles.isKeptStale;
  }

  set localOnlyWaiting(count: number) {
    this.troubles.takeKept(count);
  }

  noteLocalOnly(): void {
    this.troubles.takeKept(this.troubles.counts.kept + 1);
  }

  accepted(count: number): void {
    const { clock } = this.parts;
    this.#rate.add(clock.now(), count);
    if (count > 0) this.#fadeRate();
  }

  /** A rate that nothing adds to any more comes to an end by itself. */
  #fadeRate(): void {
    if (this.#isClosed) return;
    this.#cancelRate ??= this.parts.clock.setTimer(() => {
      this.#cancelRate = undefined;
      this.show();
      if (this.#state.pushedPerSecond > 0) this.#fadeRate();
    }, PushRate.windowMs);
  }

  // --- Writing

  /** Of changes that were committed, so that {@link write} goes by them. */
  noteChanged(changes: readonly Change[]): void {
    if (this.#changed === 'all' || this.troubles.counts.missing === 0) return;
    for (const { entityType, entityId, origin } of changes) {
      const name = { entityType, entityId };
      if (origin !== 'remote') this.#changed.set(laneOf(name), name);
    }
    // More may have moved than an event carries.
    if (changes.length >= CARRIED_CHANGES || this.#changed.size >= CARRIED_CHANGES) this.#changed = 'all';
  }

  /** Of what is here the server may lack something from now on. */
  noteMissing(): void {
    this.#changed = 'all';
    this.troubles.countSoon();
  }

  /** One transaction with everything that is needed to write what came from the server. */
  async write<T>(work: (context: SettleContext) => Promise<T>, clientId = this.#binding?.client_id ?? ''): Promise<T> {
    try {
      return await this.parts.write(async (session, draft) => {
        await this.troubles.refresh(session);
        const context = this.#context(session, draft, clientId, await feedVersion(session));
        await this.#sendChanged(context);
        return work(context);
      });
    } catch (error) {
      this.#changed = 'all';
      throw error;
    }
  }

  #context(session: Session, draft: CommitDraft, clientId: string, version: number): SettleContext {
    const { clock, entityTypes, newId } = this.parts;
    const { setAside, conflicts, stuck, missing } = this.troubles.counts;
    return {
      session,
      draft,
      entityTypes,
      now: clock.now(),
      newId,
      clientId,
      setAside,
      conflicts,
      stuck,
      isLocalOnly: (entityType) => this.isLocalOnly(entityType),
      missing,
      tellMissing: () => this.troubles.countSoon(),
      stuckHere: this.parts.commits.stuck,
      policyOf: (entityType) => this.policyOf(entityType),
      // As it stands in the database: a page that was written in the turn before may not have been told yet.
      version,
    };
  }

  /** Before anything is taken to be sent: an update of what the server lacks would be refused. */
  async #sendChanged(context: SettleContext): Promise<void> {
    const changed = this.#changed;
    this.#changed = new Map();
    if (context.missing === 0 || (changed !== 'all' && changed.size === 0)) return;
    await sendChanged(context, changed === 'all' ? 'all' : [...changed.values()]);
  }

  // --- Showing

  /** Tells who listens, where anything is another than before. */
  show(changed: Partial<Shown> = {}): void {
    this.#shown = { ...this.#shown, ...changed };
    this.#state = this.#derive();
    const told = JSON.stringify(this.#state);
    if (told !== this.#told) {
      this.#told = told;
      this.parts.onState(this.#state);
    }
    this.tellListeners();
  }

  tellListeners(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Resolves as soon as it is so; looked at whenever something is shown. */
  async until(isSo: () => boolean, signal?: AbortSignal): Promise<void> {
    if (isSo()) return;
    if (!this.#isClosed && signal?.aborted !== true) {
      await new Promise<void>((resolve) => {
        const end = (): void => {
          this.#listeners.delete(look);
          signal?.removeEventListener('abort', end);
          resolve();
        };
        const look = (): void => {
          if (isSo() || this.#isClosed) end();
        };
        this.#listeners.add(look);
        signal?.addEventListener('abort', end, { once: true });
      });
    }
    if (isSo()) return;
    if (this.#isClosed) throw new LocalDataError('ENGINE_CLOSED', 'The database is closed. Open it again.');
    throw new LocalDataError('CANCELLED', 'The call was cancelled.');
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelRate?.();
    this.troubles.close();
    this.tellListeners();
  }

  #derive(): SyncState {
    const binding = this.#binding?.connected === true ? this.#binding : undefined;
    if (binding === undefined) return { ...NO_SYNC, networkConditions: this.#conditions };
    const { refused, conflicts, setAside, missing } = this.troubles.counts;
    const status = this.#status(binding);
    return {
      ...this.#shown,
      status,
      reason: this.#reason(status),
      server: { url: binding.url, space: binding.space, epoch: binding.epoch, clientId: binding.client_id },
      waiting: this.waiting,
      refused,
      conflicts,
      setAside,
      // While a snapshot is received it is not known yet what the server lacks.
      missing: binding.phase === 'linked' ? missing : 0,
      pushedPerSecond: this.#rate.perSecond(this.parts.clock.now()),
      version: binding.version,
      nextTryAt: this.#contact.kind === 'lost' && !binding.paused ? this.#contact.nextTryAt : null,
      networkConditions: this.#conditions,
    };
  }

  #status({ phase, paused }: Binding): SyncStatus {
    if (paused) return 'paused';
    switch (this.#contact.kind) {
      case 'prevented':
        return this.#contact.obstacle.status;
      case 'asking':
        return 'connecting';
      case 'lost':
        return 'offline';
      case 'made':
        if (phase !== 'linked') return 'snapshot';
        return this.waiting > 0 || this.#shown.inFlight > 0 ? 'syncing' : 'synced';
    }
  }

  #reason(status: SyncStatus): string | null {
    switch (status) {
      case 'not-configured':
      case 'synced':
      case 'syncing':
        return null;
      case 'connecting':
        return 'Asking the server';
      case 'snapshot':
        return 'Receiving everything the server has';
      case 'paused':
        return 'You work offline';
      case 'offline':
        return this.#contact.kind === 'lost' ? this.#contact.reason : null;
      case 'sign-in-needed':
      case 'needs-decision':
      case 'stopped':
        return this.#contact.kind === 'prevented' ? this.#contact.obstacle.reason : null;
    }
  }

  /** Tells changes why they wait, for as long as there is a server. */
  #announce(): void {
    const describe = (): string => this.#whyWaiting();
    const isLocalOnly = (entityType: string): boolean => this.isLocalOnly(entityType);
    this.parts.commits.push = this.isConnected
      ? {
          get reason() {
            return describe();
          },
          isLocalOnly,
        }
      : undefined;
  }

  #whyWaiting(): string {
    if (this.#binding?.paused === true) return 'you work offline';
    switch (this.#contact.kind) {
      case 'prevented': {
        const { status, reason } = this.#contact.obstacle;
        return status === 'sign-in-needed' ? 'sign-in needed' : reason;
      }
      case 'made':
        return 'waits to be sent';
      case 'asking':
      case 'lost':
        return 'offline';
    }
  }
}
