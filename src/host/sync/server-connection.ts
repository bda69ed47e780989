// The window's contact with a server: keeps tokens in VS Code's SecretStorage and nowhere else, gives the engine its rules,
// and takes contact up again by itself when a database opens or the engine's thread, which knows the token only in memory,
// was started anew. Says nothing unasked; what a person must do stands in the status bar and the view.
import type { ParseError } from 'jsonc-parser';
import * as vscode from 'vscode';
import type { LocalData } from '../../engine/local-data.ts';
import { type ConnectOptions, NO_SYNC, type SyncRules, type SyncState } from '../../protocol/sync-state.ts';
import { CONTEXT_KEYS, RULES_FILE, RULES_SETTING } from '../contributions.ts';
import type { Database, DatabaseState } from '../database.ts';
import type { HostBase } from '../host.ts';
import { RuleFaultNotices } from './rule-fault-notices.ts';
import type { RuleFault, RulesRead } from './sync-rules.ts';
import { isConfigured } from './sync-words.ts';

/** A token that the server refuses is not tried again and again by itself. */
const SAME_TOKEN_AGAIN_MS = 60_000;

export class ServerConnection implements vscode.Disposable {
  readonly #context: vscode.ExtensionContext;
  readonly #log: vscode.LogOutputChannel;
  readonly #database: Database;
  readonly #disposables: vscode.Disposable[];
  readonly #changed = new vscode.EventEmitter<SyncState>();
  /** Fires whenever the state of synchronisation is another, and when another database is open. */
  readonly onDidChangeState = this.#changed.event;
  #state: SyncState = NO_SYNC;
  #unsubscribe = () => {};
  #tried: { readonly token: string; readonly at: number } | undefined;
  #rules: SyncRules = {};
  #faults: readonly RuleFault[] = [];
  readonly #faultNotices: RuleFaultNotices;

  constructor({ context, log, database }: HostBase) {
    this.#context = context;
    this.#log = log;
    this.#database = database;
    this.#faultNotices = new RuleFaultNotices(context.workspaceState);
    const files = vscode.workspace.createFileSystemWatcher(`**/${RULES_FILE}`);
    const follow = () => void this.#followRules();
    this.#disposables = [
      this.#changed,
      files,
      files.onDidChange(follow),
      files.onDidCreate(follow),
      files.onDidDelete(follow),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration(RULES_SETTING)) follow();
      }),
      database.onDidChangeState((state) => this.#follow(state)),
    ];
    this.#follow(database.state);
  }

  get state(): SyncState {
    return this.#state;
  }

  /** The rules in force, as the engine was given them last. */
  get rules(): SyncRules {
    return this.#rules;
  }

  /** What of the rules does not fit. */
  get ruleFaults(): readonly RuleFault[] {
    return this.#faults;
  }

  /** The address a person gave last in this workspace. */
  get lastAddress(): string {
    return this.#state.server?.url ?? this.#context.workspaceState.get('localData.server', '');
  }

  /** The one this database was connected with last; undefined where VS Code has forgotten it. */
  async keptToken(): Promise<string | undefined> {
    return this.#context.secrets.get(this.#secretName());
  }

  /** Connects, and keeps the token only once the server has taken it. */
  async connect(options: ConnectOptions): Promise<SyncState> {
    const data = this.#database.require();
    // Another database may be open when the server has answered.
    const secretName = this.#secretName();
    await this.#giveRules(data);
    const state = await data.sync.connect(options);
    await this.#context.workspaceState.update('localData.server', options.url);
    await this.#context.secrets.store(secretName, options.token);
    return state;
  }

  async disconnect(): Promise<void> {
    const secretName = this.#secretName();
    await this.#database.require().sync.disconnect();
    await this.#context.secrets.delete(secretName);
  }

  dispose(): void {
    this.#unsubscribe();
    for (const disposable of this.#disposables) disposable.dispose();
  }

  #follow(state: DatabaseState): void {
    this.#unsubscribe();
    this.#unsubscribe = () => {};
    this.#tried = undefined;
    if (state.kind !== 'ready') {
      this.#set(NO_SYNC);
      return;
    }
    const { data } = state;
    const { sync } = data.stores;
    // Also for one that is worked with offline: its rules, and what is wrong with them, are shown.
    if (isConfigured(sync.getState())) void this.#followRules();
    this.#unsubscribe = sync.subscribe((now) => this.#note(data, now));
    this.#note(data, sync.getState());
  }

  #note(data: LocalData, state: SyncState): void {
    const before = this.#state;
    this.#set(state);
    if (state.status === 'synced' || state.status === 'syncing' || state.status === 'snapshot') this.#tried = undefined;
    if (state.status === 'sign-in-needed' && before.status !== 'sign-in-needed') void this.#signInByItself(data);
  }

  async #signInByItself(data: LocalData): Promise<void> {
    const { server } = this.#state;
    const token = await this.keptToken();
    if (server === null || token === undefined) return;
    const { url, space } = server;
    const isSameAgain = this.#tried?.token === token && Date.now() - this.#tried.at < SAME_TOKEN_AGAIN_MS;
    if (isSameAgain) return;
    this.#tried = { token, at: Date.now() };
    try {
      await this.#giveRules(data);
      await data.sync.connect({ url, space, token });
    } catch (error) {
      // In the background: the state says what is wrong, and what helps is offered there.
      this.#log.warn(`The server was not reached by itself: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #followRules(): Promise<void> {
    const { state } = this.#database;
    if (state.kind !== 'ready') return;
    try {
      await this.#giveRules(state.data);
    } catch (error) {
      this.#log.warn(`The rules of synchronisation were not taken: ${String(error)}`);
    }
  }

  async #giveRules(data: LocalData): Promise<void> {
    const { rules, faults } = await readAllRules();
    const isTold = sameFaults(faults, this.#faults);
    this.#faults = faults;
    if (!isTold) for (const { message } of faults) this.#log.warn(message);
    await this.#faultNotices.tell(faults);
    await data.sync.setRules(rules);
    this.#rules = rules;
    this.#changed.fire(this.#state);
  }

  #secretName(): string {
    const { state } = this.#database;
    const place = 'place' in state ? state.place?.dataDir : undefined;
    return `localData.token:${place ?? ''}`;
  }

  #set(state: SyncState): void {
    const { status, missing } = this.#state;
    this.#state = state;
    if (state.status !== status) void vscode.commands.executeCommand('setContext', CONTEXT_KEYS.sync, state.status);
    if (state.missing > 0 !== missing > 0) {
      void vscode.commands.executeCommand('setContext', CONTEXT_KEYS.hasMissing, state.missing > 0);
    }
    this.#changed.fire(state);
  }
}

function sameFaults(some: readonly RuleFault[], others: readonly RuleFault[]): boolean {
  return some.length === others.length && some.every(({ message }, index) => message === others[index]?.message);
}

/** The schemas are loaded with the first reading, not with the extension. */
const load = () => import('./sync-rules.ts');

async function readAllRules(): Promise<RulesRead> {
  const { joinRules, readRulesSetting } = await load();
  const setting = readRulesSetting(vscode.workspace.getConfiguration().get(RULES_SETTING));
  return joinRules(setting, await readFile());
}

async function readFile(): Promise<RulesRead> {
  const { readRulesFile, unreadable } = await load();
  const uri = rulesFile();
  const none = { rules: {}, holdsAll: false, faults: [] };
  if (uri === undefined || !vscode.workspace.isTrusted) return none;
  let text: string;
  try {
    text = new TextDecoder().decode(await vscode.workspace.fs.readFile(uri));
  } catch (error) {
    if (error instanceof vscode.FileSystemError && error.code === 'FileNotFound') return none;
    const why = error instanceof Error ? error.message : String(error);
    return unreadable({ message: `${RULES_FILE} could not be read: ${why}.`, at: [] });
  }
  const { parse } = await import('jsonc-parser');
  const errors: ParseError[] = [];
  const content: unknown = parse(text, errors, { allowTrailingComma: true });
  if (errors.length > 0) return unreadable({ message: `${RULES_FILE} is no JSON.`, at: [] });
  return readRulesFile(content);
}

export function rulesFile(): vscode.Uri | undefined {
  const folder = vscode.workspace.workspaceFolders?.[0];
  return folder === undefined ? undefined : vscode.Uri.joinPath(folder.uri, ...RULES_FILE.split('/'));
}
