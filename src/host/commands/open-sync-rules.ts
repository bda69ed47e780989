// Opens the rules of synchronisation where they are written, with what is asked for selected: the workspace's file, or the
// setting. Without a wish, the file where there is one.
import type { ParseError } from 'jsonc-parser';
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { RULES_SETTING } from '../contributions.ts';
import { rulesFile } from '../sync/server-connection.ts';

export const openSyncRules = defineCommand('localData.sync.openRules', async (_host, wanted) => {
  const file = rulesFile();
  if (file !== undefined && wanted?.source !== 'setting' && (await isThere(file))) {
    await openAt(file, wanted?.at ?? []);
  } else {
    await vscode.commands.executeCommand('workbench.action.openSettings', RULES_SETTING);
  }
});

async function isThere(file: vscode.Uri): Promise<boolean> {
  return vscode.workspace.fs.stat(file).then(
    () => true,
    () => false,
  );
}

async function openAt(file: vscode.Uri, at: readonly (string | number)[]): Promise<void> {
  const onDisk = new TextDecoder().decode(await vscode.workspace.fs.readFile(file));
  const document = await vscode.workspace.openTextDocument(file);
  const editor = await vscode.window.showTextDocument(document, { preview: false });
  // A file that was written elsewhere may be known here before the editor has read it again.
  const isStale = !document.isDirty && document.getText() !== onDisk;
  if (isStale) await vscode.commands.executeCommand('workbench.action.files.revert');
  const place = await placeOf(document, at);
  if (place === undefined) return;
  editor.selection = new vscode.Selection(place.start, place.end);
  editor.revealRange(place, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
}

/** The part itself, or where the text stops being JSON. */
async function placeOf(
  document: vscode.TextDocument,
  at: readonly (string | number)[],
): Promise<vscode.Range | undefined> {
  const { findNodeAtLocation, parseTree } = await import('jsonc-parser');
  const errors: ParseError[] = [];
  const tree = parseTree(document.getText(), errors, { allowTrailingComma: true });
  const [error] = errors;
  const node = at.length === 0 || tree === undefined ? undefined : findNodeAtLocation(tree, [...at]);
  const place = error ?? node;
  if (place === undefined) return undefined;
  return new vscode.Range(document.positionAt(place.offset), document.positionAt(place.offset + place.length));
}
