// Offers what can be done about the server now, and beneath it how things stand.
import * as vscode from 'vscode';
import { COMMANDS, type CommandId } from '../contributions.ts';
import { defineCommand } from '../command.ts';
import { requireServer } from '../sync/require-server.ts';
import type { RuleFault } from '../sync/sync-rules.ts';
import { factsOf, iconOf, titleOf } from '../sync/sync-words.ts';
import type { SyncState, SyncStatus } from '../../protocol/sync-state.ts';

type Item = vscode.QuickPickItem & { readonly command?: CommandId; readonly args?: readonly unknown[] };

export const syncActions = defineCommand('localData.sync.actions', async (host) => {
  const state = requireServer(host);
  const chosen = await vscode.window.showQuickPick(itemsOf(state, host.sync.ruleFaults), {
    title: `${titleOf(state)} · ${state.server.space} on ${state.server.url}`,
    placeHolder: state.reason ?? 'Everything the server has is here, and what waits is on its way',
    matchOnDescription: true,
  });
  if (chosen?.command !== undefined) await vscode.commands.executeCommand(chosen.command, ...(chosen.args ?? []));
});

function itemsOf(state: SyncState, faults: readonly RuleFault[]): Item[] {
  const now = Date.now();
  const separator = (label: string): Item => ({ label, kind: vscode.QuickPickItemKind.Separator });
  return [
    ...actionsOf(state).map(([command, icon, title = COMMANDS[command].title]): Item => ({
      label: `$(${icon}) ${title}`,
      command,
    })),
    separator('State'),
    {
      label: `$(${iconOf(state).replace('~spin', '')}) ${titleOf(state)}`,
      ...(state.reason === null ? {} : { detail: state.reason }),
    },
    ...factsOf(state, now).map(({ name, value }): Item => ({
      label: name,
      description: value,
    })),
    ...(faults.length === 0 ? [] : [separator('Rules that do not fit')]),
    ...faults.map((fault): Item => ({
      label: '$(warning)',
      description: fault.message,
      command: 'localData.sync.openRules',
      args: [fault],
    })),
  ];
}

/** What helps in this state comes first; the rest is always there. */
function actionsOf({ status, missing }: SyncState): [CommandId, string, title?: string][] {
  const first: Partial<Record<SyncStatus, [CommandId, string, title?: string]>> = {
    paused: ['localData.sync.goOnline', 'debug-continue'],
    'sign-in-needed': ['localData.sync.signIn', 'key'],
    'needs-decision': ['localData.sync.signIn', 'warning', 'Decide…'],
  };
  const own = first[status];
  return [
    ...(own === undefined ? [] : [own]),
    ...(missing === 0 ? [] : ([['localData.sync.decideMissing', 'question']] satisfies [CommandId, string][])),
    ...(status === 'paused' || own !== undefined
      ? []
      : ([['localData.sync.now', 'sync']] satisfies [CommandId, string][])),
    ...(status === 'paused' ? [] : ([['localData.sync.goOffline', 'debug-pause']] satisfies [CommandId, string][])),
    ['localData.sync.showStatus', 'info'],
    ['localData.sync.verify', 'checklist'],
    ['localData.sync.networkConditions', 'beaker'],
    ['localData.sync.disconnect', 'debug-disconnect'],
  ];
}
