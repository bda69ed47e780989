// Opens the payload of a change as an editable document; saving it retries the change.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import { withOthers } from '../changes-view/transactions.ts';
import { chosenChange } from '../chosen-changes.ts';
import { editUri } from '../documents/edit-documents.ts';
import { CannotActError } from '../notices.ts';

const SHOWN_MS = 10_000;

export const editChange = defineCommand('localData.change.edit', async (host, target) => {
  const change = await chosenChange(host, target);
  if (change.origin === 'remote') {
    throw new CannotActError(
      'Local Data: this change came from the server and is not edited here. Retry it, or change the entity.',
      [{ title: 'Retry', command: 'localData.change.retry', args: [{ changeId: change.id }] }],
    );
  }
  if (change.operation === 'delete') {
    throw new CannotActError('Local Data: a delete has no payload to edit. Retry or discard it.', []);
  }
  const others = await withOthers(host.database.require(), change);
  await vscode.window.showTextDocument(editUri(change), { preview: false });
  if (others !== '') vscode.window.setStatusBarMessage(`$(info) Saving retries it${others}.`, SHOWN_MS);
});
