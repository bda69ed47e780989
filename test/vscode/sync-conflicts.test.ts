// Conflicts resolved by hand: field by field, and in the merge editor. What a person put together is what is here and there.
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

describe('a conflict resolved by hand', () => {
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

  it('gives the merge editor base, mine and theirs, and a result that begins with what does not conflict', async () => {
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

  it('ends when the result of the merge editor is saved, and not before', async () => {
    const change = await inConflict('p2');
    const result = await openMergeEditor(change);
    const merged = { id: 'p2', title: 'Both', author: 'set here', year: 1819 };
    await replaceAll(result, merged);
    assert.equal((await whenChange(api, change.id, () => true)).status, 'conflicted');

    const closed = when(() => mergeResult() === undefined || undefined, vscode.window.tabGroups.onDidChangeTabs);
    assert.ok(await result.save());
    const resolved = await whenChange(api, change.id, ({ status }) => status === 'synced');
    assert.equal(resolved.conflict?.resolution?.outcome, 'merged');
    await isOnBothSides('p2', merged);
    await closed;
  });

  it('loses what was taken out of the result of the merge editor', async () => {
    const change = await inConflict('p3');
    const result = await openMergeEditor(change);
    await replaceAll(result, { id: 'p3', title: 'Theirs' });
    assert.ok(await result.save());
    await whenChange(api, change.id, ({ status }) => status !== 'conflicted');
    await isOnBothSides('p3', { id: 'p3', title: 'Theirs' });
  });

  it('field by field takes a field out that was not there before, instead of writing null', async () => {
    const change = await inConflict('p4', { mood: 'mine' }, { mood: 'theirs' });
    using person = new Person();
    let offered: readonly string[] = [];
    person
      .answers(/Which side is to hold\?/, '$(list-selection) Merge Field by Field…')
      .answers(/Value of mood/, (_, labels) => {
        offered = labels;
        return '(not there)';
      })
      .answers(/Value of title/, 'Before')
      .answers(/Resolve the conflict in Poem p4\?/, 'Resolve');
    await vscode.commands.executeCommand('localData.conflict.resolve', { changeId: change.id });
    assert.deepEqual(offered, ['mine', 'theirs', '(not there)']);
    const asked = person.notices.find(({ message }) => /Resolve the conflict/.test(message));
    assert.match(asked?.detail ?? '', /mood: \(not there\) {2}\(as it was before\)/);
    await isOnBothSides('p4', { id: 'p4', title: 'Before', author: 'set here', year: 1819 });
  });

  it('says afterwards what was given up, where the change is shown', async () => {
    const change = await inConflict('p5');
    await vscode.commands.executeCommand('localData.conflict.takeTheirs', { changeId: change.id });
    await vscode.commands.executeCommand('localData.change.show', { changeId: change.id });
    const label = () => vscode.window.tabGroups.activeTabGroup.activeTab?.label;
    const isShown = () => label()?.includes('Conflict resolved by hand: theirs was taken.') === true || undefined;
    await when(isShown, vscode.window.tabGroups.onDidChangeTabs);
    using person = new Person();
    let steps: readonly string[] = [];
    person.answers(/.*/, (_, labels) => void (steps = labels));
    await vscode.commands.executeCommand('localData.change.showReceipt', { changeId: change.id });
    assert.ok(steps.includes('$(git-compare) Conflict resolved by hand: theirs was taken.'), steps.join('\n'));
  });

  /** Both sides set the title; only mine an author, only theirs a year. */
  async function inConflict(entityId: string, mine: JsonObject = {}, theirs: JsonObject = {}): Promise<Change> {
    await api.upsertEntity(entityType, entityId, { title: 'Before' });
    await vscode.commands.executeCommand('localData.sync.now');
    await vscode.commands.executeCommand('localData.sync.goOffline');
    const change = await api.recordChange(entityType, entityId, 'update', {
      title: 'Mine',
      author: 'set here',
      ...mine,
    });
    await writeThere({ entityType, entityId, data: { title: 'Theirs', year: 1819, ...theirs } });
    await vscode.commands.executeCommand('localData.sync.goOnline');
    return whenChange(api, change.id, ({ status }) => status === 'conflicted');
  }

  async function isOnBothSides(id: string, entity: JsonObject): Promise<void> {
    await vscode.commands.executeCommand('localData.sync.now');
    assert.deepEqual(await api.getEntity(entityType, id), entity);
    assert.deepEqual(await entityThere(entityType, id), entity);
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

async function replaceAll(document: vscode.TextDocument, value: object): Promise<void> {
  const edit = new vscode.WorkspaceEdit();
  const all = new vscode.Range(new vscode.Position(0, 0), document.positionAt(document.getText().length));
  edit.replace(document.uri, all, JSON.stringify(value));
  assert.ok(await vscode.workspace.applyEdit(edit));
}

/** The merge editor's result; VS Code's stable API has no type for its tab. */
function mergeResult(): vscode.Uri | undefined {
  const input: unknown = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
  if (typeof input !== 'object' || input === null || !('result' in input)) return undefined;
  return input.result instanceof vscode.Uri ? input.result : undefined;
}
