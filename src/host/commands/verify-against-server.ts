// Compares this database with the server by hashes, shows what differs as a report, and takes the server's side on request.
import * as vscode from 'vscode';
import type { VerifyReport } from '../../protocol/sync-state.ts';
import { defineCommand } from '../command.ts';
import { showReport } from '../documents/view-documents.ts';
import { withQuietProgress } from '../progress.ts';
import { requireServer, withRemedy } from '../sync/require-server.ts';
import { verifyText } from '../sync/verify-text.ts';

export const verifyAgainstServer = defineCommand('localData.sync.verify', async (host) => {
  const { url } = requireServer(host).server;
  const { sync } = host.database.require();
  const compare = async (repair: boolean): Promise<VerifyReport> => {
    try {
      return await withQuietProgress(`Comparing with ${url}`, ({ signal }) => sync.verify({ repair, signal }));
    } catch (error) {
      throw withRemedy(error);
    }
  };
  const report = await compare(false);
  if (report.differencesTotal === 0) {
    void vscode.window.showInformationMessage(
      `All ${report.compared.toLocaleString()} entities are the same as the server’s, at version ${report.version.toLocaleString()}.`,
    );
    return;
  }
  await showReport('Verify Against Server.md', verifyText(report, url, new Date()));
  const answer = 'Repair…';
  const chosen = await vscode.window.showWarningMessage(
    `${report.differencesTotal.toLocaleString()} of ${report.compared.toLocaleString()} entities differ from the server’s.`,
    answer,
  );
  if (chosen === answer && (await confirmRepair(report.differencesTotal))) {
    const { repaired } = await compare(true);
    void vscode.window.showInformationMessage(
      `${entities(repaired)} ${repaired === 1 ? 'is' : 'are'} as the server has ${repaired === 1 ? 'it' : 'them'}.`,
    );
  }
});

async function confirmRepair(differences: number): Promise<boolean> {
  const answer = 'Repair';
  const chosen = await vscode.window.showWarningMessage(
    `Take the server’s side for ${entities(differences)}?`,
    {
      modal: true,
      detail:
        'Changes that still wait here stay on top of it. What is only here and was never sent as a change goes away.',
    },
    answer,
  );
  return chosen === answer;
}

function entities(count: number): string {
  return count === 1 ? '1 entity' : `${count.toLocaleString()} entities`;
}
