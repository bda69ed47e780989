// The status bar item: what waits and what failed, at a glance; opens the Changes view. Updated at most four times a
// second, and it never asks the engine anything.
import * as vscode from 'vscode';
import { type ChangeCounts, noChanges } from '../protocol/changes.ts';
import type { ProcessorState } from '../protocol/engine.ts';
import { needingAPerson } from './changes-view/elements.ts';
import { Throttle } from './changes-view/throttle.ts';
import { CHANGES_VIEW_ID, CONTEXT_KEYS } from './contributions.ts';
import { type DatabaseState, inUseBy } from './database.ts';
import type { Host } from './host.ts';

const REFRESH_EVERY_MS = 250;

interface Appearance {
  readonly text: string;
  readonly tooltip: string;
  readonly warns: boolean;
}

export function registerStatusBar({ database }: Host): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('localData.status', vscode.StatusBarAlignment.Left, 10);
  item.name = 'Local Data';
  item.command = `${CHANGES_VIEW_ID}.focus`;
  let paused = false;
  const show = () => {
    const appearance = appearanceOf(database.state);
    setPaused();
    if (appearance === undefined) return item.hide();
    item.text = appearance.text;
    item.tooltip = appearance.tooltip;
    item.accessibilityInformation = { label: `Local Data: ${appearance.tooltip}` };
    item.backgroundColor = appearance.warns ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
    item.show();
  };
  const setPaused = () => {
    const now = processorOf(database.state) === 'stopped';
    if (now === paused) return;
    paused = now;
    void vscode.commands.executeCommand('setContext', CONTEXT_KEYS.paused, paused);
  };
  const throttle = new Throttle(REFRESH_EVERY_MS, show);
  let unsubscribe = () => {};
  const connect = (state: DatabaseState) => {
    unsubscribe();
    unsubscribe = state.kind === 'ready' ? state.data.stores.changes.subscribe(() => throttle.call()) : () => {};
    show();
  };
  const following = database.onDidChangeState(connect);
  connect(database.state);
  return vscode.Disposable.from(following, throttle, item, new vscode.Disposable(() => unsubscribe()));
}

function processorOf(state: DatabaseState): ProcessorState {
  return state.kind === 'ready' ? state.data.stores.changes.getState().processor : 'idle';
}

function appearanceOf(state: DatabaseState): Appearance | undefined {
  switch (state.kind) {
    case 'restricted':
    case 'no-folder':
    case 'no-database':
    case 'closed':
      return undefined;
    case 'starting':
      return { text: '$(loading~spin) Local Data', tooltip: 'Opening the database', warns: false };
    case 'in-use':
      return { text: '$(lock) Local Data', tooltip: `The database is ${inUseBy(state)}`, warns: true };
    case 'failed':
      return { text: '$(warning) Local Data', tooltip: 'The database could not be opened', warns: true };
    case 'ready': {
      const { counts, processor } = state.data.stores.changes.getState();
      const appearance = appearanceOfChanges(counts, processor);
      return state.pausedBecause === null ? appearance : stoppedByTrouble(appearance, state.pausedBecause);
    }
  }
}

function stoppedByTrouble({ text }: Appearance, { message }: Error): Appearance {
  return { text, tooltip: `${message} Click to see the changes.`, warns: true };
}

function appearanceOfChanges(counts: ChangeCounts = noChanges(), processor: ProcessorState): Appearance {
  const failed = needingAPerson(counts);
  const waiting = counts.pending + counts.retrying + counts.blocked;
  const parts = [
    ...(failed > 0 ? [`$(error) ${failed.toLocaleString()}`] : []),
    ...(waiting > 0 ? [`$(clock) ${waiting.toLocaleString()}`] : []),
  ];
  const icon = processor === 'processing' ? '$(sync~spin)' : processor === 'stopped' ? '$(debug-pause)' : '$(database)';
  const said = [
    ...(failed > 0 ? [`${failed.toLocaleString()} failed, needing you`] : []),
    ...(counts.blocked > 0 ? [`${counts.blocked.toLocaleString()} blocked`] : []),
    ...(counts.retrying > 0 ? [`${counts.retrying.toLocaleString()} retrying`] : []),
    ...(counts.pending > 0 ? [`${counts.pending.toLocaleString()} pending`] : []),
  ];
  const paused = processor === 'stopped' ? ', processing is paused' : '';
  return {
    text: [icon, ...(parts.length === 0 ? ['Local Data'] : parts)].join(' '),
    tooltip: `${said.length === 0 ? 'Every change is applied' : said.join(', ')}${paused}. Click to see the changes.`,
    warns: failed > 0,
  };
}
