// The merge editor as a way to resolve a conflict: what it is given, and that its result is what is sent.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Change, LocalDataApi } from '../../src/api.ts';
import type { JsonObject } from '../../src/protocol/changes.ts';
import { openDatabase, whenChange } from './open-database.ts';
import { Person } from './person.ts';
import { entityThere, token, url, writeThere } from './test-server.ts';
import { when } from './when.ts';

const WORKSPACE = vscode.ConfigurationTarget.Workspace;
const entityType = 'Poem';

describe('a conflict in the merge editor', () => {
  let api: LocalDataApi;

  before(async () => {
    api = await openDatabase();
    await api.registerEntityType({ entityType });
    const rules = { [entityType]: { conflicts: 'manual' } };
    await vscode.workspace.getConfiguration().update('localData.sync.rules', rules, WORKSPACE);
    await vscode.commands.executeCommand('localData.sync.connect', { url, token });
  });

  after(async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await vscode.workspace.getConfiguration().update('localData.sync.rules', undefined, WORKSPACE);
    using person = new Person();
    person.answers(/Disconnect from/, 'Disconnect');
    await vscode.commands.executeCommand('localData.sync.disconnect');
  });

  it('is given base, mine and theirs, and begins with what does not conflict', async () => {
    const change = await inConflict('p1');
    const result = await openMergeEditor(change);
    assert.deepEqual(JSON.parse(result.getText()), {
      id: 'p1',
      title: 'Theirs',
      author: 'set here',
      year: 1819,
    });
    const sides = vscode.workspace.textDocuments.filter(({ uri }) => uri.authority.endsWith(`.${change.id}`));
    const titles = Object.fromEntries(
      sides.map((side) => [
        side.uri.authority.split('.')[0] ?? '',
        (JSON.parse(side.getText()) as JsonObject)['title'],
      ]),
    );
    assert.deepEqual(titles, { base: 'Before', mine: 'Mine', theirs: 'Theirs' });
    await vscode.commands.executeCommand('workbench.action.revertAndCloseActiveEditor');
  });

  it('is resolved by saving its result, and only by that', async () => {
    const change = await inConflict('p2');
    const result = await openMergeEditor(change);
    const merged = { id: 'p2', title: 'Both', author: 'set here', year: 1819 };
    const edit = new vscode.WorkspaceEdit();
    const all = new vscode.Range(new vscode.Position(0, 0), result.positionAt(result.getText().length));
    edit.replace(result.uri, all, JSON.stringify(merged));
    assert.ok(await vscode.workspace.applyEdit(edit));
    assert.equal((await whenChange(api, change.id, () => true)).status, 'conflicted');

    const closed = when(() => mergeResult() === undefined || undefined, vscode.window.tabGroups.onDidChangeTabs);
    assert.ok(await result.save());
    const resolved = await whenChange(api, change.id, ({ status }) => status === 'synced');
    assert.deepEqual(resolved.conflict?.resolution?.outcome, 'merged');
    assert.deepEqual(await api.getEntity(entityType, 'p2'), merged);
    assert.deepEqual(await entityThere(entityType, 'p2'), merged);
    await closed;
  });

  /** Both sides set the title; only mine an author, only theirs a year. */
  async function inConflict(entityId: string): Promise<Change> {
    await api.upsertEntity(entityType, entityId, { title: 'Before' });
    await vscode.commands.executeCommand('localData.sync.now');
    await vscode.commands.executeCommand('localData.sync.goOffline');
    const change = await api.recordChange(entityType, entityId, 'update', { title: 'Mine', author: 'set here' });
    await writeThere({ entityType, entityId, data: { title: 'Theirs', year: 1819 } });
    await vscode.commands.executeCommand('localData.sync.goOnline');
    return whenChange(api, change.id, ({ status }) => status === 'conflicted');
  }

  /** Gives the document of the result. */
  async function openMergeEditor(change: Change): Promise<vscode.TextDocument> {
    assert.ok((await vscode.commands.getCommands(false)).includes('_open.mergeEditor'), 'VS Code has its merge editor');
    using person = new Person();
    person.answers(/Which side is to hold\?/, '$(merge) Open in Merge Editor');
    await vscode.commands.executeCommand('localData.conflict.resolve', { changeId: change.id });
    const result = await when(mergeResult, vscode.window.tabGroups.onDidChangeTabs);
    assert.equal(result.authority, change.id);
    return vscode.workspace.openTextDocument(result);
  }
});

/** The merge editor's result; VS Code's stable API has no type for its tab. */
function mergeResult(): vscode.Uri | undefined {
  const input: unknown = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
  if (typeof input !== 'object' || input === null || !('result' in input)) return undefined;
  return input.result instanceof vscode.Uri ? input.result : undefined;
}
