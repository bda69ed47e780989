// Two status bar items beside the one of the changes: how the server is, and, as a warning, that a developer has put
// conditions on the network. They show what the engine said last and never ask it anything.
import * as vscode from 'vscode';
import type { SyncState } from '../../protocol/sync-state.ts';
import type { Host } from '../host.ts';
import { describeConditions } from './conditions.ts';
import { factsOf, iconOf, isConfigured, needsAPerson, reasonOf, titleOf } from './sync-words.ts';

export function registerSyncStatusBar({ sync }: Host): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('localData.sync', vscode.StatusBarAlignment.Left, 9);
  item.name = 'Local Data: Server';
  item.command = 'localData.sync.actions';
  const conditions = vscode.window.createStatusBarItem('localData.network', vscode.StatusBarAlignment.Left, 8);
  conditions.name = 'Local Data: Network Conditions';
  conditions.command = 'localData.sync.networkConditions';
  conditions.backgroundColor = new vscode.ThemeColor('statusBarItem.warningBackground');
  const show = (state: SyncState) => {
    showState(item, state);
    showConditions(conditions, state);
  };
  show(sync.state);
  return vscode.Disposable.from(item, conditions, sync.onDidChangeState(show));
}

function showState(item: vscode.StatusBarItem, state: SyncState): void {
  if (!isConfigured(state)) {
    item.hide();
    return;
  }
  const waiting = state.waiting > 0 ? ` ${state.waiting.toLocaleString()}` : '';
  const conflicts = state.conflicts > 0 ? ` $(git-compare) ${state.conflicts.toLocaleString()}` : '';
  const isQuiet = state.status === 'synced' || state.status === 'syncing';
  item.text = `$(${iconOf(state)})${isQuiet ? '' : ` ${titleOf(state)}`}${waiting}${conflicts}`;
  item.tooltip = tooltipOf(state);
  item.accessibilityInformation = {
    label: `Local Data, server: ${titleOf(state)}${waiting === '' ? '' : `,${waiting} waiting`}`,
  };
  item.backgroundColor = needsAPerson(state) ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
  item.show();
}

function showConditions(item: vscode.StatusBarItem, { networkConditions }: SyncState): void {
  if (networkConditions === null) {
    item.hide();
    return;
  }
  const described = describeConditions(networkConditions);
  item.text = '$(beaker) Network Conditions';
  item.tooltip = `Requests to the server are disturbed on purpose: ${described}. Click to change it or take it off.`;
  item.accessibilityInformation = { label: item.tooltip };
  item.show();
}

function tooltipOf(state: SyncState): vscode.MarkdownString {
  const text = new vscode.MarkdownString();
  text.appendMarkdown(`**${titleOf(state)}**\n\n`);
  const reason = reasonOf(state);
  if (reason !== null) text.appendText(`${reason}\n\n`);
  const lines = factsOf(state, Date.now());
  for (const { name, value } of lines) {
    text.appendMarkdown(`- ${name}: `);
    text.appendText(value);
    text.appendMarkdown('\n');
  }
  return text;
}
