// Retries every failed change.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';

export const retryFailed = defineCommand('localData.retryFailed', async (host) => {
  const retried = await host.database.require().retryFailed();
  const message =
    retried === 0 ? '$(info) Nothing has failed' : `$(debug-restart) Retrying ${retried.toLocaleString()}`;
  vscode.window.setStatusBarMessage(message, 5_000);
});
