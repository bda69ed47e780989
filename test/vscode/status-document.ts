// The document of Show Sync Status, which says everything that is known of the server, and follows.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { when } from './when.ts';

/** Resolves once its text is so. */
export async function whenStatus(isSo: (text: string) => boolean): Promise<void> {
  await vscode.commands.executeCommand('localData.sync.showStatus');
  const document = vscode.window.activeTextEditor?.document;
  assert.equal(document?.uri.path, '/Sync Status.md');
  await when(() => isSo(document.getText()) || undefined, vscode.workspace.onDidChangeTextDocument);
}
