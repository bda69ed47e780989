// Shows a change, read-only: an update as the entity before and after it in the diff editor, others as they are.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { chosenChange } from '../chosen-changes.ts';
import { resolutionLines } from '../sync/resolution-lines.ts';
import { changeUri } from '../documents/view-documents.ts';

export const showChange = defineCommand('localData.change.show', async (host, target) => {
  const change = await chosenChange(host, target);
  const name = `${change.entityType} ${change.entityId}`;
  if (change.operation !== 'update') {
    await vscode.window.showTextDocument(changeUri(change, 'change'), { preview: true, preserveFocus: true });
    return;
  }
  const [conflict] = resolutionLines(change);
  const title = `${name} (without ↔ with change ${change.seq})${conflict === undefined ? '' : ` · ${conflict}`}`;
  const options = { preview: true, preserveFocus: true };
  const [before, after] = [changeUri(change, 'before'), changeUri(change, 'after')];
  await vscode.commands.executeCommand('vscode.diff', before, after, title, options);
});
