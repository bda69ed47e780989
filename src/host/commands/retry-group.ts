// Retries every change of a group of the Changes view.
import * as vscode from 'vscode';
import { GROUPS } from '../changes-view/elements.ts';
import { defineCommand } from '../command.ts';

export const retryGroup = defineCommand('localData.change.retryGroup', async (host, target) => {
  const data = host.database.require();
  const group = target !== undefined && 'group' in target ? target.group : 'failed';
  if (group === 'retrying') return data.processNow();
  const retried = await data.retryFailed({ status: GROUPS[group].statuses });
  vscode.window.setStatusBarMessage(`$(debug-restart) Retrying ${retried.toLocaleString()}`, 5_000);
});
