// Sends and receives now, whatever synchronisation waits for. Cancel only stops the waiting for it.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { CannotActError } from '../notices.ts';
import { withQuietProgress } from '../progress.ts';
import { requireServer, withRemedy } from '../sync/require-server.ts';

export const syncNow = defineCommand('localData.sync.now', async (host) => {
  const { status } = requireServer(host);
  if (status === 'paused') {
    throw new CannotActError('Local Data: you work offline.', [
      { title: 'Go Online', command: 'localData.sync.goOnline' },
    ]);
  }
  const { sync } = host.database.require();
  try {
    await withQuietProgress('Synchronising', async ({ signal }) => {
      const cancelled = new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(new vscode.CancellationError()));
      });
      await Promise.race([sync.syncNow(), cancelled]);
    });
  } catch (error) {
    throw withRemedy(error);
  }
  vscode.window.setStatusBarMessage('$(check) In sync', 5_000);
});
