// Retries every failed change of one entity type.
import * as vscode from 'vscode';
import { pick } from '../ask.ts';
import { defineCommand } from '../command.ts';

export const retryType = defineCommand('localData.retryType', async (host) => {
  const data = host.database.require();
  const { changes } = await data.listChanges({ status: ['failed', 'conflicted'], limit: 1_000 });
  const counts = new Map<string, number>();
  for (const { entityType } of changes) counts.set(entityType, (counts.get(entityType) ?? 0) + 1);
  if (counts.size === 0) {
    vscode.window.setStatusBarMessage('$(info) Nothing has failed', 5_000);
    return;
  }
  const items = [...counts].map(([label, count]) => ({ label, description: `${count.toLocaleString()} failed` }));
  const { label } = await pick(items, 'Retry All of a Type', 'Entity type');
  const retried = await data.retryFailed({ entityType: label });
  vscode.window.setStatusBarMessage(`$(debug-restart) Retrying ${retried.toLocaleString()} of ${label}`, 5_000);
});
