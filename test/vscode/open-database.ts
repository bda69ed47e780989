// What the suites inside VS Code share: the extension, its public API, and an open database with the sample data.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Change, LocalDataApi, LocalDataExports } from '../../src/api.ts';

export async function activated(): Promise<LocalDataExports> {
  const extension = vscode.extensions.getExtension<LocalDataExports>('vibestack.local-data');
  assert.ok(extension, 'the extension is installed');
  return extension.activate();
}

export interface SeenDiagnostics {
  readonly activationMs: number;
  readonly state: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** What Copy Diagnostics copies. */
export async function diagnostics(): Promise<SeenDiagnostics> {
  const text = await vscode.commands.executeCommand<string>('localData.copyDiagnostics');
  return JSON.parse(text) as SeenDiagnostics;
}

export async function openDatabase(): Promise<LocalDataApi> {
  const exports = await activated();
  await vscode.commands.executeCommand('localData.createDatabase');
  return exports.getApi(1);
}

export async function openSampleData(): Promise<LocalDataApi> {
  const api = await openDatabase();
  const types = await api.listEntityTypes();
  if (!types.some(({ entityType }) => entityType === 'Task')) {
    await vscode.commands.executeCommand('localData.createSampleData');
  }
  return api;
}

/** Resolves with the change as soon as a commit has brought it to where `reached` says. */
export async function whenChange(api: LocalDataApi, id: string, reached: (change: Change) => boolean): Promise<Change> {
  let resolve: (change: Change) => void = () => {};
  const waited = new Promise<Change>((settle) => {
    resolve = settle;
  });
  const look = async () => {
    const { changes } = await api.listChanges({ limit: 1_000, order: 'desc' });
    const change = changes.find((one) => one.id === id);
    if (change !== undefined && reached(change)) resolve(change);
  };
  const watching = api.onDidChange((changes) => {
    if (changes.some((change) => change.id === id)) void look();
  });
  await look();
  return waited.finally(() => watching.dispose());
}
