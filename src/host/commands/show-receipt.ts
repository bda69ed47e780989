// When a change was what: saved here, applied here, accepted by the server, seen in the feed that all clients read.
import * as vscode from 'vscode';
import { chosenChange } from '../chosen-changes.ts';
import { defineCommand } from '../command.ts';

export const showReceipt = defineCommand('localData.change.showReceipt', async (host, target) => {
  const change = await chosenChange(host, target);
  const receipt = await host.database.require().sync.receipt(change.id);
  const { savedAt, appliedAt, acceptedAt, acceptedVersion, seenInFeedAt } = receipt;
  const version = acceptedVersion === null ? '' : `, as version ${acceptedVersion.toLocaleString()}`;
  const step = (label: string, at: number | null, more = ''): vscode.QuickPickItem => ({
    label: `$(${at === null ? 'circle-large-outline' : 'pass-filled'}) ${label}`,
    description: at === null ? 'not yet' : `${new Date(at).toLocaleString()}${more}`,
  });
  const name = `${change.operation} of ${change.entityType} ${change.entityId}`;
  await vscode.window.showQuickPick(
    [
      step('Saved in the changes table', savedAt),
      step('Applied to the entity here', appliedAt),
      step('Accepted by the server', acceptedAt, version),
      step('Seen in the feed that every client reads', seenInFeedAt),
    ],
    { title: `Receipt of the ${name}`, placeHolder: change.note ?? 'Saved, applied, accepted, seen' },
  );
  return receipt;
});
