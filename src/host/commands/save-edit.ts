// Saves the payload that is being edited, which retries its change; also when nothing was typed.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';

export const saveEdit = defineCommand('localData.change.saveEdit', async () => {
  await vscode.commands.executeCommand('workbench.action.files.save');
});
