// Copies the whole errors of changes, with what they were about.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { chosenChanges } from '../chosen-changes.ts';

export const copyError = defineCommand('localData.change.copyError', async (host, target, selected) => {
  const changes = await chosenChanges(host, target, selected);
  const texts = changes
    .filter(({ error }) => error !== null)
    .map(({ entityType, entityId, operation, error, failure }) => {
      const code = failure === null ? '' : ` (${failure.code})`;
      return `${operation} ${entityType} ${entityId}: ${error}${code}`;
    });
  await vscode.env.clipboard.writeText(texts.join('\n'));
  vscode.window.setStatusBarMessage('$(check) Error copied', 3_000);
});
