import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Change, LocalDataApi } from '../../src/api.ts';
import { openDatabase, whenChange } from './open-database.ts';

describe('Edit & Retry', () => {
  let api: LocalDataApi;
  let failed: Change;

  beforeEach(async () => {
    api = await openDatabase();
    // Inserting what is there fails at once, whatever the payload says.
    await api.registerEntityType({ entityType: 'Memo' });
    const id = `m${Date.now()}`;
    const recorded = await api.recordChange('Memo', id, 'insert', { text: 'first' });
    await whenChange(api, recorded.id, ({ status }) => status === 'applied');
    const again = await api.recordChange('Memo', id, 'insert', { text: 'second' });
    failed = await whenChange(api, again.id, ({ status }) => status === 'failed');
  });

  afterEach(async () => {
    await vscode.commands.executeCommand('workbench.action.revertAndCloseActiveEditor');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  it('opens the payload as JSON that names a schema made from the entity type', async () => {
    const document = await openEdit(failed);
    const payload = JSON.parse(document.getText()) as { $schema: string; text: string };
    assert.equal(document.languageId, 'json');
    assert.equal(payload.text, 'second');
    const schema = await vscode.workspace.openTextDocument(vscode.Uri.parse(payload.$schema));
    assert.equal((JSON.parse(schema.getText()) as { type: string }).type, 'object');
  });

  it('retries the change with the new payload when it is saved', async () => {
    const document = await openEdit(failed);
    await replaceAll(document, '{ "text": "third" }');
    await document.save();
    const retried = await whenChange(
      api,
      failed.id,
      ({ data, status }) => data?.text === 'third' && status === 'failed',
    );
    assert.equal(retried.seq, failed.seq, 'it keeps its place');
    assert.ok(!('$schema' in (retried.data ?? {})));
  });

  it('saves nothing and leaves the change alone when the JSON does not parse', async () => {
    const document = await openEdit(failed);
    await replaceAll(document, '{ "text": ');
    await Promise.resolve(document.save()).catch(() => false);
    assert.equal(document.isDirty, true);
    const { changes } = await api.listChanges({ entityType: 'Memo', entityId: failed.entityId });
    assert.deepEqual(changes.find(({ id }) => id === failed.id)?.data, failed.data);
  });

  it('changes nothing when the document is closed without saving', async () => {
    const document = await openEdit(failed);
    await replaceAll(document, '{ "text": "lost" }');
    await vscode.commands.executeCommand('workbench.action.revertAndCloseActiveEditor');
    const { changes } = await api.listChanges({ entityType: 'Memo', entityId: failed.entityId });
    assert.deepEqual(changes.find(({ id }) => id === failed.id)?.data, failed.data);
  });
});

async function openEdit({ id }: Change): Promise<vscode.TextDocument> {
  await vscode.commands.executeCommand('localData.change.edit', { changeId: id });
  const editor = vscode.window.activeTextEditor;
  assert.ok(editor !== undefined && editor.document.uri.scheme === 'local-data-change');
  return editor.document;
}

async function replaceAll(document: vscode.TextDocument, text: string): Promise<void> {
  const edit = new vscode.WorkspaceEdit();
  edit.replace(document.uri, new vscode.Range(0, 0, document.lineCount, 0), text);
  assert.ok(await vscode.workspace.applyEdit(edit));
}
