// Deletes the whole database of this window: only after its name was typed, and only once a backup stands beside it.
import { rm } from 'node:fs/promises';
import * as vscode from 'vscode';
import { ask } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { whyNotReady } from '../database.ts';
import { withQuietProgress } from '../progress.ts';

export const deleteAllData = defineCommand('localData.deleteAllData', async (host) => {
  const { state } = host.database;
  if (state.kind !== 'ready') throw whyNotReady(state);
  const { place, data } = state;
  await ask({
    title: 'Delete All Local Data',
    prompt: `This deletes every entity and the whole history of changes of ${place.name}. A backup is made first. Type ${place.name} to confirm.`,
    placeHolder: place.name,
    validateInput: (typed) =>
      typed === place.name ? undefined : `Type ${place.name} to delete its data, or press Escape.`,
  });
  const backup = place.backupFile(new Date());
  await withQuietProgress(`Deleting the data of ${place.name}`, async () => {
    await data.backup(backup);
    await host.database.closeFor(({ dataDir }) => rm(dataDir, { recursive: true, force: true }));
  });
  host.log.info(`Deleted ${place.dataDir}; its backup is ${backup}`);
  const chosen = await vscode.window.showInformationMessage(
    `All data of ${place.name} was deleted. A backup is in ${backup}`,
    'Copy Path',
  );
  if (chosen === 'Copy Path') await vscode.env.clipboard.writeText(backup);
});
