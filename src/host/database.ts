// The database of this window: where it is, whether it may be opened, and what came of opening it, as one state that
// views and commands follow. Runs no SQL itself; it never makes a database that nobody asked for.
import * as vscode from 'vscode';
import type { LocalData } from '../engine/local-data.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { CONTEXT_KEYS } from './contributions.ts';
import type { KnownDatabase } from '../worker/data-location.ts';
import type { DataPlace } from './data-place.ts';
import type { Engine } from './engine.ts';
import { CannotActError, type Remedy } from './notices.ts';
import type { Settings } from './settings.ts';
import type { TransportRegistry } from '../worker/transport-registry.ts';

export type DatabaseState =
  | { readonly kind: 'restricted' }
  | { readonly kind: 'no-folder' }
  | { readonly kind: 'no-database'; readonly place: DataPlace }
  | { readonly kind: 'starting'; readonly place: DataPlace }
  /** `pausedBecause`: processing was paused without being asked to, since it ended the engine again and again. */
  | {
      readonly kind: 'ready';
      readonly place: DataPlace;
      readonly data: LocalData;
      readonly pausedBecause: Error | null;
    }
  | { readonly kind: 'in-use'; readonly place: DataPlace; readonly pid: number | null; readonly since: number | null }
  | { readonly kind: 'failed'; readonly place: DataPlace | null; readonly error: Error }
  | { readonly kind: 'closed' };

export class Database implements vscode.Disposable {
  readonly #context: vscode.ExtensionContext;
  readonly #log: vscode.LogOutputChannel;
  readonly #settings: () => Settings;
  readonly #transports: TransportRegistry;
  readonly #changed = new vscode.EventEmitter<DatabaseState>();
  readonly onDidChangeState = this.#changed.event;
  #state: DatabaseState = { kind: 'closed' };
  #engine: Engine | undefined;
  #disposed = false;
  /** Openings and closings run one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    context: vscode.ExtensionContext,
    log: vscode.LogOutputChannel,
    settings: () => Settings,
    transports: TransportRegistry,
  ) {
    this.#context = context;
    this.#log = log;
    this.#settings = settings;
    this.#transports = transports;
  }

  get state(): DatabaseState {
    return this.#state;
  }

  /** The open database, or an error that says why there is none and what would help. */
  require(): LocalData {
    if (this.#state.kind === 'ready') return this.#state.data;
    throw whyNotReady(this.#state);
  }

  /** Opens the database of this window if it is there; makes none. */
  openExisting(): Promise<DatabaseState> {
    return this.#inTurn(async () => {
      const place = await this.#locate();
      if (place === undefined) return;
      if (await place.exists()) await this.#start(place);
      else this.#set({ kind: 'no-database', place });
    });
  }

  /** Opens the database of this window, and makes it if there is none: only on a person's word. */
  create(): Promise<DatabaseState> {
    return this.#inTurn(async () => {
      const place = await this.#locate();
      if (place !== undefined) await this.#start(place);
    });
  }

  usePersonal(): Promise<DatabaseState> {
    return this.#inTurn(async () => {
      if (!vscode.workspace.isTrusted) return this.#set({ kind: 'restricted' });
      const { personalPlace } = await import('./data-place.ts');
      await this.#start(personalPlace(this.#context, this.#settings()));
    });
  }

  adopt(unclaimed: KnownDatabase): Promise<DatabaseState> {
    return this.#inTurn(async () => {
      const place = await this.#locate();
      if (place === undefined) return;
      const { adoptDatabase } = await import('../worker/data-location.ts');
      await adoptDatabase(place, unclaimed);
      await this.#start(place);
    });
  }

  /** Closes and opens again, where the settings now say. */
  reopen(): Promise<DatabaseState> {
    return this.#inTurn(async () => {
      const { state } = this;
      await this.#stop();
      const personal = 'place' in state && state.place?.kind === 'personal' ? state.place : undefined;
      const place = personal ?? (await this.#locate());
      if (place === undefined) return;
      if (await place.exists()) await this.#start(place);
      else this.#set({ kind: 'no-database', place });
    });
  }

  /** Closes the database, then runs what needs it closed, then leaves the state to whatever is there. */
  closeFor(work: (place: DataPlace) => Promise<void>): Promise<DatabaseState> {
    const { state } = this;
    if (state.kind !== 'ready') throw whyNotReady(state);
    return this.#inTurn(async () => {
      await this.#stop();
      try {
        await work(state.place);
      } finally {
        if (await state.place.exists()) await this.#start(state.place);
        else this.#set({ kind: 'no-database', place: state.place });
      }
    });
  }

  /** Resolves once nothing is being opened or closed. */
  async whenSettled(): Promise<DatabaseState> {
    await this.#turn;
    return this.#state;
  }

  /** For good: when the window closes. What is under way is finished first. */
  async close(): Promise<void> {
    this.#disposed = true;
    await this.#stop();
  }

  dispose(): void {
    void this.close();
    this.#changed.dispose();
  }

  #inTurn(work: () => Promise<void>): Promise<DatabaseState> {
    const done = this.#turn.then(async () => {
      try {
        await work();
      } catch (error) {
        this.#fail(error, null);
      }
      return this.#state;
    });
    this.#turn = done;
    return done;
  }

  async #locate(): Promise<DataPlace | undefined> {
    if (!vscode.workspace.isTrusted) {
      this.#set({ kind: 'restricted' });
      return undefined;
    }
    const { findPlace } = await import('./data-place.ts');
    const place = await findPlace(this.#context, this.#settings());
    if (place === undefined) this.#set({ kind: 'no-folder' });
    return place;
  }

  async #start(place: DataPlace): Promise<void> {
    if (this.#engine !== undefined || this.#disposed) return;
    this.#set({ kind: 'starting', place });
    const started = performance.now();
    try {
      const { startEngine } = await import('./engine.ts');
      const workerFile = vscode.Uri.joinPath(this.#context.extensionUri, 'dist', 'worker.js').fsPath;
      this.#engine = await startEngine({
        place,
        settings: this.#settings(),
        workerFile,
        log: this.#log,
        transports: this.#transports,
      });
    } catch (error) {
      this.#fail(error, place);
      return;
    }
    if (this.#disposed) return this.#stop();
    this.#log.info(`Opened ${place.dataDir} in ${Math.round(performance.now() - started)} ms`);
    this.#engine.onDidDie((error) => {
      this.#engine = undefined;
      this.#fail(error, place);
    });
    const { data } = this.#engine;
    this.#engine.onDidPause((pausedBecause) => {
      const { state } = this;
      if (state.kind !== 'ready' || state.data !== data || state.pausedBecause === pausedBecause) return;
      this.#set({ ...state, pausedBecause });
    });
    this.#set({ kind: 'ready', place, data, pausedBecause: null });
  }

  async #stop(): Promise<void> {
    const engine = this.#engine;
    this.#engine = undefined;
    if (engine === undefined) return;
    this.#set({ kind: 'closed' });
    await engine.stop();
  }

  #fail(thrown: unknown, place: DataPlace | null): void {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    if (place !== null && LocalDataError.isCode(error, 'DATA_DIRECTORY_IN_USE')) {
      const { pid, since } = error.details;
      this.#log.warn(error.message);
      this.#set({ kind: 'in-use', place, pid: numberOrNull(pid), since: numberOrNull(since) });
      return;
    }
    this.#log.error(error);
    this.#set({ kind: 'failed', place, error });
  }

  #set(state: DatabaseState): void {
    this.#state = state;
    if (this.#disposed) return;
    void vscode.commands.executeCommand('setContext', CONTEXT_KEYS.state, state.kind);
    this.#changed.fire(state);
  }
}

function numberOrNull(value: unknown): number | null {
  const number = typeof value === 'string' ? Date.parse(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}

export function whyNotReady(state: DatabaseState): CannotActError {
  const tryAgain: Remedy = { title: 'Try Again', command: 'localData.tryAgain' };
  const showLog: Remedy = { title: 'Show Log', command: 'localData.showLog' };
  const because = (why: string, ...remedies: Remedy[]) => new CannotActError(`Local Data: ${why}`, remedies);
  switch (state.kind) {
    case 'restricted':
      return because('no database is opened in Restricted Mode. Trust this workspace to use it.', {
        title: 'Manage Trust',
        command: 'workbench.trust.manage',
      });
    case 'no-folder':
      return because(
        'no folder is open, so there is no database. Open a folder, or use your personal database.',
        { title: 'Open Folder', command: 'vscode.openFolder' },
        { title: 'Use Personal Database', command: 'localData.usePersonalDatabase' },
      );
    case 'no-database':
      return because('this workspace has no database yet. Create it first.', {
        title: 'Create Database',
        command: 'localData.createDatabase',
      });
    case 'starting':
      return because('the database is still being opened. Try again in a moment.', showLog);
    case 'in-use':
      return because(`the database is ${inUseBy(state)}. Close it there, then try again.`, tryAgain);
    case 'failed':
      return because(`the database could not be opened. ${state.error.message}`, tryAgain, showLog);
    case 'closed':
      return because('the database is closed.', tryAgain);
    case 'ready':
      return because('the database is open.');
  }
}

export function inUseBy({ pid, since }: { readonly pid: number | null; readonly since: number | null }): string {
  const who = pid === null ? 'in use by another process' : `in use by process ${pid}`;
  return since === null ? who : `${who} since ${new Date(since).toLocaleTimeString()}`;
}
