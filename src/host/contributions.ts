// Every command, setting, view, menu entry and context key, declared once; package.json's `contributes` is generated
// from this file. Must not import `vscode`, since the generator runs in plain Node.
import type { ChangesElement, GroupId } from './changes-view/elements.ts';

/** The argument types are carried by `args` alone, which has no value at run time. */
export interface CommandContribution<Args extends readonly unknown[]> {
  readonly title: string;
  readonly icon?: string;
  /** Shown in the command palette; false for those that need an element to act on. */
  readonly palette: boolean;
  readonly args?: (args: Args) => void;
}

/** What a command on changes is given: an element of the Changes view, or the id of a change from anywhere else. */
export type ChangeTarget = ChangesElement | { readonly changeId: string };
/** VS Code gives the clicked element and, when several are selected, all of them; from a key nothing. */
export type ChangeTargets = readonly [target?: ChangeTarget, selected?: readonly ChangeTarget[]];

export interface EntityTarget {
  readonly entityType?: string;
  readonly entityId?: string;
}

/** For programs; a person is asked for what is missing. */
export interface GivenServer {
  readonly url?: string;
  readonly token?: string;
}

/** Where a rule of synchronisation is written; see sync/sync-rules.ts. */
export interface RulePlace {
  readonly source: 'file' | 'setting';
  readonly at: readonly (string | number)[];
}

function command<Args extends readonly unknown[] = readonly []>(
  title: string,
  more: { readonly icon?: string; readonly palette?: boolean } = {},
): CommandContribution<Args> {
  return { title, palette: more.palette ?? true, ...(more.icon === undefined ? {} : { icon: more.icon }) };
}

const onChange = { palette: false };

export const COMMANDS = {
  'localData.openEntities': command<readonly [target?: EntityTarget]>('Open Entities', { icon: '$(table)' }),
  'localData.recordChange': command<readonly [target?: EntityTarget]>('Record Change…', { icon: '$(add)' }),
  'localData.upsertEntity': command<readonly [target?: EntityTarget]>('Upsert Entity…'),
  'localData.deleteEntity': command<readonly [target?: EntityTarget]>('Delete Entity…'),
  'localData.import': command<readonly [file?: string, entityType?: string]>('Import…', { icon: '$(cloud-download)' }),
  'localData.undoImport': command('Undo Import…'),
  'localData.retryFailed': command('Retry Failed Changes', { icon: '$(debug-restart)' }),
  'localData.retryType': command('Retry All of a Type…'),
  'localData.pauseProcessing': command('Pause Processing', { icon: '$(debug-pause)' }),
  'localData.resumeProcessing': command('Resume Processing', { icon: '$(debug-continue)' }),
  'localData.processNow': command('Process Now', { icon: '$(run-all)' }),
  'localData.registerEntityType': command('Register Entity Type…'),
  'localData.createSampleData': command('Create Sample Data', { icon: '$(beaker)' }),
  'localData.showDataLocation': command('Show Data Location'),
  'localData.showLog': command('Show Log'),
  'localData.copyDiagnostics': command('Copy Diagnostics'),
  'localData.deleteAllData': command('Delete All Local Data…'),
  'localData.tryAgain': command('Try Again', { icon: '$(refresh)' }),
  'localData.createDatabase': command('Create Database'),
  'localData.usePersonalDatabase': command('Use Personal Database'),
  'localData.adoptDatabase': command('Adopt a Database…'),
  'localData.change.retry': command<ChangeTargets>('Retry', { ...onChange, icon: '$(debug-restart)' }),
  'localData.change.retryGroup': command<ChangeTargets>('Retry All', { ...onChange, icon: '$(debug-restart)' }),
  'localData.change.edit': command<ChangeTargets>('Edit & Retry', { ...onChange, icon: '$(edit)' }),
  'localData.change.saveEdit': command<readonly [uri?: unknown]>('Save & Retry', { ...onChange, icon: '$(check)' }),
  'localData.change.discard': command<ChangeTargets>('Discard…', { ...onChange, icon: '$(trash)' }),
  'localData.change.restore': command<ChangeTargets>('Restore', { ...onChange, icon: '$(discard)' }),
  'localData.change.undo': command<ChangeTargets>('Undo Change', { icon: '$(discard)' }),
  'localData.change.show': command<ChangeTargets>('Show Change', { ...onChange, icon: '$(diff)' }),
  'localData.change.openEntity': command<ChangeTargets>('Open Entity', onChange),
  'localData.change.copyError': command<ChangeTargets>('Copy Error', onChange),
  'localData.change.copyJson': command<ChangeTargets>('Copy as JSON', onChange),
  'localData.change.showReceipt': command<ChangeTargets>('Show Receipt', onChange),
  'localData.conflict.resolve': command<ChangeTargets>('Resolve Conflict…', { ...onChange, icon: '$(git-compare)' }),
  'localData.conflict.keepMine': command<ChangeTargets>('Keep Mine', { ...onChange, icon: '$(device-desktop)' }),
  'localData.conflict.takeTheirs': command<ChangeTargets>('Take Theirs', { ...onChange, icon: '$(cloud)' }),
  'localData.sync.connect': command<readonly [server?: GivenServer]>('Connect to Server…', { icon: '$(plug)' }),
  'localData.sync.disconnect': command('Disconnect from Server…', { icon: '$(debug-disconnect)' }),
  'localData.sync.now': command('Sync Now', { icon: '$(sync)' }),
  'localData.sync.goOffline': command('Work Offline', { icon: '$(debug-pause)' }),
  'localData.sync.goOnline': command('Go Online', { icon: '$(debug-continue)' }),
  'localData.sync.signIn': command<readonly [server?: GivenServer]>('Sign In…', { icon: '$(key)' }),
  'localData.sync.showStatus': command('Show Sync Status', { icon: '$(info)' }),
  'localData.sync.actions': command('Sync Actions…'),
  'localData.sync.openRules': command<readonly [place?: RulePlace]>('Open Sync Rules', { icon: '$(law)' }),
  'localData.sync.decideMissing': command('Decide on Missing Entities…', { icon: '$(question)' }),
  'localData.sync.verify': command('Verify Against Server', { icon: '$(checklist)' }),
  'localData.sync.networkConditions': command('Network Conditions…', { icon: '$(beaker)' }),
  'localData.changes.loadMore': command<readonly [group?: GroupId]>('Load More', onChange),
} as const;

export type CommandId = keyof typeof COMMANDS;
export type CommandArguments<Id extends CommandId> =
  (typeof COMMANDS)[Id] extends CommandContribution<infer Args> ? Args : never;

export const CONTEXT_KEYS = {
  /** A `DatabaseState` kind. */
  state: 'localData.state',
  /** The database is open and holds no change at all. */
  empty: 'localData.empty',
  /** Something failed and a person can retry it. */
  hasFailed: 'localData.hasFailed',
  paused: 'localData.paused',
  /** A `SyncStatus`. */
  sync: 'localData.sync',
  /** The server lacks entities that it had before, and a person is to decide on them. */
  hasMissing: 'localData.hasMissing',
  /** Databases of folders that are gone from where they were. */
  hasUnclaimed: 'localData.hasUnclaimed',
} as const;
export type ContextKey = keyof typeof CONTEXT_KEYS;

export const CONTAINER_ID = 'localData';
export const CHANGES_VIEW_ID = 'localData.changes';

/** Schemes of the documents this extension provides. */
/** Of a workspace; what it may say is in sync/sync-rules.ts. */
export const RULES_FILE = '.localdata/localdata.json';
export const RULES_SETTING = 'localData.sync.rules';

export const SCHEMES = {
  /** Payloads of changes, editable. */
  edit: 'local-data-change',
  /** Changes, entities and reports, read-only. */
  view: 'local-data-view',
  /** JSON schemas of payloads. */
  schema: 'local-data-schema',
} as const;

export interface SettingContribution {
  readonly type: 'string' | 'number' | 'boolean' | 'object';
  readonly default: string | number | boolean | object;
  readonly markdownDescription: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly scope: 'machine' | 'window' | 'resource' | 'application' | 'machine-overridable';
  /** Not read from an untrusted workspace. */
  readonly restricted?: boolean;
}

export const SETTINGS = {
  'localData.dataDirectory': {
    type: 'string',
    default: '',
    scope: 'machine-overridable',
    restricted: true,
    markdownDescription:
      'Absolute path of the folder that holds the databases, one subfolder for each workspace. Empty: the storage folder that VS Code gives this extension. The databases are not moved when this changes.',
  },
  'localData.retry.limit': {
    type: 'number',
    default: 8,
    minimum: 1,
    maximum: 100,
    scope: 'window',
    markdownDescription:
      'How many times a change with a passing trouble is attempted before it counts as failed and waits for you.',
  },
  'localData.retry.baseDelay': {
    type: 'number',
    default: 1_000,
    minimum: 10,
    maximum: 3_600_000,
    scope: 'window',
    markdownDescription: 'Milliseconds before the second attempt; it doubles with each further one.',
  },
  'localData.retry.maxDelay': {
    type: 'number',
    default: 60_000,
    minimum: 10,
    maximum: 86_400_000,
    scope: 'window',
    markdownDescription: 'The longest pause between two attempts, in milliseconds.',
  },
  'localData.processing.pausedAtStart': {
    type: 'boolean',
    default: false,
    scope: 'window',
    markdownDescription:
      'Open the database with processing paused: changes are recorded and wait until *Resume Processing*.',
  },
  'localData.changes.pageSize': {
    type: 'number',
    default: 50,
    minimum: 10,
    maximum: 1_000,
    scope: 'window',
    markdownDescription: 'How many changes a group of the Changes view shows before *Load more*.',
  },
  'localData.entities.pageSize': {
    type: 'number',
    default: 200,
    minimum: 20,
    maximum: 1_000,
    scope: 'window',
    markdownDescription: 'How many entities the Entities panel reads at a time.',
  },
  'localData.payload.maxBytes': {
    type: 'number',
    default: 1_000_000,
    minimum: 1_000,
    maximum: 64_000_000,
    scope: 'window',
    markdownDescription:
      'The largest payload a change may carry, in bytes of JSON. Larger ones are refused when they are recorded.',
  },
  'localData.sync.rules': {
    type: 'object',
    default: {},
    scope: 'resource',
    markdownDescription:
      'How entity types take part in synchronisation, by type; `*` stands for all that are not named. `"sync": false` keeps a type on this machine; `"conflicts"` says what becomes of a field that was written here and on the server. `.localdata/localdata.json` of the workspace may say the same under `"sync"`, and wins.',
  },
} as const satisfies Record<string, SettingContribution>;
export type SettingId = keyof typeof SETTINGS;
