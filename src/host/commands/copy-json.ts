// Copies changes as JSON: one as an object, several as a list.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { chosenChanges } from '../chosen-changes.ts';

export const copyJson = defineCommand('localData.change.copyJson', async (host, target, selected) => {
  const changes = await chosenChanges(host, target, selected);
  const [only] = changes;
  await vscode.env.clipboard.writeText(JSON.stringify(changes.length === 1 ? only : changes, null, 2));
  vscode.window.setStatusBarMessage('$(check) Copied as JSON', 3_000);
});
