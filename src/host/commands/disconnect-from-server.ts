// Ends contact with the server. What waits stays and goes out when the same server is connected again.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { requireServer } from '../sync/require-server.ts';

export const disconnectFromServer = defineCommand('localData.sync.disconnect', async (host) => {
  const { server, waiting } = requireServer(host);
  const answer = 'Disconnect';
  const waits =
    waiting === 0
      ? 'Nothing waits to be sent.'
      : `${waiting.toLocaleString()} changes have not reached it; they stay here and are sent when you connect again.`;
  const chosen = await vscode.window.showWarningMessage(
    `Disconnect from ${server.url}?`,
    { modal: true, detail: `${waits} The token is forgotten. All data stays.` },
    answer,
  );
  if (chosen !== answer) return;
  await host.sync.disconnect();
  vscode.window.setStatusBarMessage('$(debug-disconnect) Disconnected', 5_000);
});
