// A conflict in VS Code's own merge editor: mine and theirs on the sides, the base beneath, the result as a document whose
// save resolves the conflict. Where VS Code has no merge editor the result opens beside the diff.
import * as vscode from 'vscode';
import type { Change } from '../../protocol/changes.ts';
import { SCHEMES } from '../contributions.ts';
import { changeUri } from '../documents/view-documents.ts';
import { nameInPath } from '../documents/name-in-path.ts';

const MERGE_EDITOR = '_open.mergeEditor';

const MERGED = ' (merged).json';

export function isMergeUri({ path }: vscode.Uri): boolean {
  return path.endsWith(MERGED);
}

function mergeUri({ id, entityType, entityId }: Change): vscode.Uri {
  return vscode.Uri.from({
    scheme: SCHEMES.edit,
    authority: id,
    path: `/${nameInPath(entityType, entityId)}${MERGED}`,
  });
}

export async function openMergeEditor(change: Change): Promise<void> {
  const output = mergeUri(change);
  const commands = await vscode.commands.getCommands(false);
  if (!commands.includes(MERGE_EDITOR)) {
    await vscode.window.showTextDocument(output, { viewColumn: vscode.ViewColumn.Beside, preview: false });
    return;
  }
  await vscode.commands.executeCommand(MERGE_EDITOR, {
    base: changeUri(change, 'base'),
    input1: { uri: changeUri(change, 'mine'), title: 'Mine', description: 'what is here', detail: '' },
    input2: { uri: changeUri(change, 'theirs'), title: 'Theirs', description: 'what the server has', detail: '' },
    output,
  });
}
