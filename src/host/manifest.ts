// Turns the declarations of contributions.ts into the parts of package.json that VS Code reads. Pure; it must not
// import `vscode`, and nothing of it is needed at run time.
import {
  CHANGES_VIEW_ID,
  COMMANDS,
  CONTAINER_ID,
  CONTEXT_KEYS,
  type CommandContribution,
  type CommandId,
  RULES_FILE,
  RULES_SETTING,
  SCHEMES,
  SETTINGS,
  type SettingContribution,
} from './contributions.ts';
import { rulesJsonSchema } from './sync/sync-rules.ts';

type MenuEntry = { command: CommandId; when?: string; group?: string };

const inChanges = `view == ${CHANGES_VIEW_ID}`;
const ready = `${CONTEXT_KEYS.state} == ready`;
const isState = (kind: string) => `${CONTEXT_KEYS.state} == ${kind}`;
const can = (capability: string) => `${inChanges} && viewItem =~ /\\b${capability}\\b/`;
const link = (title: string, command: string) => `[${title}](command:${command})`;

/** Of the workspace's file; written beside the manifest. */
export const RULES_FILE_SCHEMA = 'media/localdata.schema.json';

export function manifest(): Record<string, unknown> {
  return {
    main: './dist/extension.cjs',
    extensionKind: ['workspace'],
    activationEvents: ['onStartupFinished', `onFileSystem:${SCHEMES.edit}`, 'onWebviewPanel:localData.entities'],
    capabilities: {
      untrustedWorkspaces: {
        supported: 'limited',
        description: 'In Restricted Mode no database is opened.',
        restrictedConfigurations: settings()
          .filter(([, setting]) => setting.restricted === true)
          .map(([id]) => id),
      },
      virtualWorkspaces: false,
    },
    contributes: {
      commands: commands().map(([id, { title, icon }]) => ({
        command: id,
        title,
        category: 'Local Data',
        ...(icon === undefined ? {} : { icon }),
      })),
      configuration: {
        title: 'Local Data',
        properties: Object.fromEntries(
          settings().map(([id, { restricted: _, ...setting }], order) => [
            id,
            { ...(id === RULES_SETTING ? rulesJsonSchema() : {}), ...setting, order },
          ]),
        ),
      },
      jsonValidation: [{ fileMatch: RULES_FILE, url: `./${RULES_FILE_SCHEMA}` }],
      keybindings: keybindings(),
      menus: menus(),
      views: { [CONTAINER_ID]: [{ id: CHANGES_VIEW_ID, name: 'Changes', icon: 'media/local-data.svg' }] },
      viewsContainers: {
        activitybar: [{ id: CONTAINER_ID, title: 'Local Data', icon: 'media/local-data.svg' }],
      },
      viewsWelcome: viewsWelcome(),
    },
  };
}

function commands(): [CommandId, CommandContribution<readonly never[]>][] {
  return Object.entries(COMMANDS) as [CommandId, CommandContribution<readonly never[]>][];
}

function settings(): [string, SettingContribution][] {
  return Object.entries(SETTINGS);
}

function keybindings(): object[] {
  const when = `focusedView == ${CHANGES_VIEW_ID} && listFocus && !inputFocus`;
  return [
    { command: 'localData.change.retry', key: 'ctrl+enter', mac: 'cmd+enter', when },
    { command: 'localData.change.edit', key: 'f2', when },
    { command: 'localData.change.discard', key: 'delete', mac: 'cmd+backspace', when },
    { command: 'localData.change.copyJson', key: 'ctrl+c', mac: 'cmd+c', when },
  ];
}

function menus(): Record<string, MenuEntry[]> {
  return {
    commandPalette: commands()
      .filter(([, { palette }]) => !palette)
      .map(([command]) => ({ command, when: 'false' })),
    'view/title': viewTitle(),
    'view/item/context': [...inline(), ...contextMenu()],
    'editor/title': [
      { command: 'localData.change.saveEdit', when: `resourceScheme == ${SCHEMES.edit}`, group: 'navigation@1' },
    ],
  };
}

function viewTitle(): MenuEntry[] {
  const { paused, sync } = CONTEXT_KEYS;
  const connected = `${ready} && ${sync} && ${sync} != not-configured`;
  const entries: [CommandId, string, string][] = [
    ['localData.recordChange', ready, 'navigation@1'],
    ['localData.openEntities', ready, 'navigation@2'],
    ['localData.retryFailed', `${ready} && ${CONTEXT_KEYS.hasFailed}`, 'navigation@3'],
    ['localData.resumeProcessing', `${ready} && ${paused}`, 'navigation@4'],
    ['localData.pauseProcessing', `${ready} && !${paused}`, '1_processing@1'],
    ['localData.processNow', ready, '1_processing@2'],
    ['localData.retryType', ready, '1_processing@3'],
    ['localData.sync.now', `${connected} && ${sync} != paused`, 'navigation@5'],
    ['localData.sync.goOnline', `${sync} == paused`, 'navigation@5'],
    ['localData.sync.connect', `${ready} && !(${connected})`, '1_sync@1'],
    ['localData.sync.showStatus', connected, '1_sync@1'],
    ['localData.sync.goOffline', `${connected} && ${sync} != paused`, '1_sync@2'],
    ['localData.sync.signIn', `${sync} == sign-in-needed`, '1_sync@3'],
    ['localData.sync.decideMissing', `${connected} && ${CONTEXT_KEYS.hasMissing}`, '1_sync@3'],
    ['localData.sync.verify', connected, '1_sync@4'],
    ['localData.sync.networkConditions', connected, '1_sync@5'],
    ['localData.sync.openRules', connected, '1_sync@6'],
    ['localData.sync.disconnect', connected, '1_sync@7'],
    ['localData.import', ready, '2_data@1'],
    ['localData.undoImport', ready, '2_data@2'],
    ['localData.registerEntityType', ready, '2_data@3'],
    ['localData.createSampleData', ready, '2_data@4'],
    ['localData.showDataLocation', ready, '3_about@1'],
    ['localData.showLog', 'true', '3_about@2'],
    ['localData.copyDiagnostics', 'true', '3_about@3'],
    ['localData.deleteAllData', ready, '4_delete@1'],
  ];
  return entries.map(([command, when, group]) => ({
    command,
    when: when === 'true' ? inChanges : `${inChanges} && ${when}`,
    group,
  }));
}

function inline(): MenuEntry[] {
  return [
    { command: 'localData.conflict.keepMine', when: can('resolve'), group: 'inline@1' },
    { command: 'localData.conflict.takeTheirs', when: can('resolve'), group: 'inline@2' },
    { command: 'localData.conflict.resolve', when: can('resolve'), group: 'inline@3' },
    { command: 'localData.change.retry', when: can('retry'), group: 'inline@1' },
    { command: 'localData.change.edit', when: can('edit'), group: 'inline@2' },
    { command: 'localData.change.discard', when: can('discard'), group: 'inline@3' },
    { command: 'localData.change.restore', when: can('restore'), group: 'inline@1' },
    { command: 'localData.change.retryGroup', when: can('retryGroup'), group: 'inline@1' },
  ];
}

function contextMenu(): MenuEntry[] {
  return [
    { command: 'localData.conflict.resolve', when: `${can('resolve')} && !listMultiSelection`, group: '0_conflict@1' },
    { command: 'localData.conflict.keepMine', when: can('resolve'), group: '0_conflict@2' },
    { command: 'localData.conflict.takeTheirs', when: can('resolve'), group: '0_conflict@3' },
    { command: 'localData.change.retry', when: can('retry'), group: '1_repair@1' },
    { command: 'localData.change.edit', when: `${can('edit')} && !listMultiSelection`, group: '1_repair@2' },
    { command: 'localData.change.discard', when: can('discard'), group: '1_repair@3' },
    { command: 'localData.change.restore', when: can('restore'), group: '1_repair@4' },
    { command: 'localData.change.undo', when: can('undo'), group: '1_repair@5' },
    { command: 'localData.change.retryGroup', when: can('retryGroup'), group: '1_repair@1' },
    { command: 'localData.change.show', when: `${can('change')} && !listMultiSelection`, group: '2_look@1' },
    { command: 'localData.change.openEntity', when: `${can('entity')} && !listMultiSelection`, group: '2_look@2' },
    { command: 'localData.change.showReceipt', when: `${can('change')} && !listMultiSelection`, group: '2_look@3' },
    { command: 'localData.change.copyError', when: can('error'), group: '3_copy@1' },
    { command: 'localData.change.copyJson', when: can('change'), group: '3_copy@2' },
  ];
}

/** What is only known when it happens, such as who has the database, the view says itself (state-notice.ts). */
function viewsWelcome(): object[] {
  const adopt = {
    contents: `A database whose folder was moved or deleted is still here.\n${link('Adopt a Database…', 'localData.adoptDatabase')}`,
    when: `${isState('no-database')} && ${CONTEXT_KEYS.hasUnclaimed}`,
  };
  const entries = [
    {
      when: isState('no-folder'),
      contents: [
        'Local Data keeps one database for each folder or workspace.',
        link('Open Folder', 'vscode.openFolder'),
        'Without a folder you can use a personal database, which every window without a folder shares.',
        link('Use Personal Database', 'localData.usePersonalDatabase'),
      ],
    },
    {
      when: isState('no-database'),
      contents: [
        'This workspace has no local database yet.',
        'Creating one makes a Postgres data directory of about 30 MB in VS Code’s storage for this extension. Your workspace stays untouched, and nothing leaves this machine.',
        link('Create Database', 'localData.createDatabase'),
        `See ${link('where it would be kept', 'localData.showDataLocation')}.`,
      ],
    },
    { when: isState('starting'), contents: ['Opening the database…', link('Show Log', 'localData.showLog')] },
    {
      when: `${ready} && ${CONTEXT_KEYS.empty}`,
      contents: [
        'No changes yet. Every modification of your data will be listed here: what waits, what failed and why, and what was done.',
        link('Create Sample Data', 'localData.createSampleData'),
        link('Import…', 'localData.import'),
        link('Record Change…', 'localData.recordChange'),
        link('Connect to Server…', 'localData.sync.connect'),
      ],
    },
    {
      when: isState('restricted'),
      contents: [
        'This workspace is in Restricted Mode. No database is opened until you trust it.',
        link('Manage Workspace Trust', 'workbench.trust.manage'),
      ],
    },
    {
      when: isState('closed'),
      contents: ['The database is closed.', link('Open It Again', 'localData.tryAgain')],
    },
  ];
  return [...entries.map(({ when, contents }) => ({ contents: contents.join('\n'), when })), adopt].map((entry) => ({
    view: CHANGES_VIEW_ID,
    ...entry,
  }));
}
