// Takes an import back as a whole. Refused, with the reasons, where later changes stand on it.
import { basename } from 'node:path';
import * as vscode from 'vscode';
import { pick } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { CannotActError } from '../notices.ts';
import { withQuietProgress } from '../progress.ts';

export const undoImport = defineCommand('localData.undoImport', async (host) => {
  const data = host.database.require();
  const imports = (await data.listImports()).filter(({ undone }) => !undone);
  if (imports.length === 0) {
    throw new CannotActError('Local Data: nothing was imported that could be undone.', [
      { title: 'Import…', command: 'localData.import' },
    ]);
  }
  const items = imports.map((one) => ({
    label: basename(one.file),
    description: `${one.rowsRecorded.toLocaleString()} rows into ${one.entityType}`,
    detail: new Date(one.startedAt).toLocaleString(),
    one,
  }));
  const { one } = await pick(items, 'Undo Import', 'Which import is to be undone?');
  const { undone } = await withQuietProgress('Undoing the import', () => data.undoImport(one.label));
  vscode.window.setStatusBarMessage(`$(check) ${undone.toLocaleString()} imported changes undone`, 5_000);
});
