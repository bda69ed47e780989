// Says where the data of this window is, or would be; with the path to copy and the folder to reveal.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { whyNotReady } from '../database.ts';

export const showDataLocation = defineCommand('localData.showDataLocation', async (host) => {
  const { state } = host.database;
  const place = 'place' in state ? state.place : null;
  if (place === null) throw whyNotReady(state);
  const exists = await place.exists();
  const message = exists
    ? `The data of ${place.name} is in ${place.directory}`
    : `The data of ${place.name} would be kept in ${place.directory}`;
  const chosen = await vscode.window.showInformationMessage(message, 'Copy Path', ...(exists ? ['Reveal'] : []));
  if (chosen === 'Copy Path') await vscode.env.clipboard.writeText(place.directory);
  if (chosen === 'Reveal') await vscode.commands.executeCommand('revealFileInOS', vscode.Uri.file(place.directory));
});
