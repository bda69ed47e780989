// Undo Change: what has taken effect is taken back by another change, here and on the server; and it is offered where a
// change that has left for the server can no longer be edited or discarded.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Change, LocalDataApi } from '../../src/api.ts';
import { WayToServer } from '../support/way-to-server.ts';
import { openDatabase, whenChange } from './open-database.ts';
import { Person } from './person.ts';
import { entityThere, token, url, writeThere } from './test-server.ts';

const entityType = 'Draft';

describe('Undo Change', () => {
  let api: LocalDataApi;
  let way: WayToServer;

  before(async () => {
    api = await openDatabase();
    await api.registerEntityType({ entityType });
    way = await WayToServer.to(url);
    await sync('connect', { url: way.url, token });
  });

  after(async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    using person = new Person();
    person.answers(/Disconnect from/, 'Disconnect');
    await sync('disconnect');
    await way[Symbol.asyncDispose]();
  });

  it('takes an update back, here and on the server, and leaves both in the history', async () => {
    await api.upsertEntity(entityType, 'd1', { text: 'first' });
    const change = await through(await api.recordChange(entityType, 'd1', 'update', { text: 'second' }));
    using person = new Person();
    await undo(change);
    const [undoing] = await changesOf('d1');
    assert.equal(undoing?.note, `undoes change ${change.seq}`);
    assert.match(person.statusMessages.at(-1) ?? '', new RegExp(`Draft d1: change ${undoing?.seq} undoes change`));
    await isOnBothSides('d1', { id: 'd1', text: 'first' });
    assert.equal((await changesOf('d1')).length, 3);
  });

  it('takes back what another client did', async () => {
    await api.upsertEntity(entityType, 'd2', { text: 'mine' });
    await sync('now');
    await writeThere({ entityType, entityId: 'd2', operation: 'delete' });
    await sync('now');
    assert.equal(await api.getEntity(entityType, 'd2'), undefined);
    const [remote] = await changesOf('d2');
    assert.equal(remote?.origin, 'remote');
    await undo(remote);
    await isOnBothSides('d2', { id: 'd2', text: 'mine' });
  });

  it('undoes several that are selected, the newest first', async () => {
    const insert = await through(await api.recordChange(entityType, 'd3', 'insert', { text: 'a' }));
    const update = await through(await api.recordChange(entityType, 'd3', 'update', { text: 'b' }));
    const selected = [{ changeId: insert.id }, { changeId: update.id }];
    await vscode.commands.executeCommand('localData.change.undo', selected[0], selected);
    await isOnBothSides('d3', undefined);
    assert.equal((await changesOf('d3')).length, 4);
  });

  it('asks which change where none is chosen', async () => {
    const change = await through(await api.recordChange(entityType, 'd4', 'insert', { text: 'a' }));
    using person = new Person();
    person.answers(/Which change is to be undone\?/, (_, [newest]) => newest);
    await vscode.commands.executeCommand('localData.change.undo');
    assert.equal((await changesOf('d4'))[0]?.note, `undoes change ${change.seq}`);
    await isOnBothSides('d4', undefined);
  });

  it('says why where there is nothing to undo', async () => {
    await sync('goOffline');
    await api.upsertEntity(entityType, 'd5', { text: 'a' });
    await api.deleteEntity(entityType, 'd5');
    await sync('goOnline');
    const [, insert] = await changesOf('d5');
    assert.ok(insert);
    await through(insert);
    using person = new Person();
    await undo(insert);
    assert.match((await person.nextNotice()).message, /cannot be undone\. Draft "d5" is gone already/);
  });

  it('is offered where a change that was edited meanwhile is on the server already', async () => {
    const failed = await whenChange(
      api,
      (await api.recordChange('Later', 'l1', 'insert', { text: 'before' })).id,
      ({ status }) => status === 'failed',
    );
    await vscode.commands.executeCommand('localData.change.edit', { changeId: failed.id });
    const document = vscode.window.activeTextEditor?.document;
    assert.ok(document);
    await api.registerEntityType({ entityType: 'Later' });
    await vscode.commands.executeCommand('localData.change.retry', { changeId: failed.id });
    const sent = await through(failed);
    using person = new Person();
    person.answers(/is on the server as version \d+ and cannot be edited/, 'Undo Instead');
    const edit = new vscode.WorkspaceEdit();
    edit.insert(document.uri, document.positionAt(document.getText().length), '\n');
    await vscode.workspace.applyEdit(edit);
    assert.equal(await document.save(), false);
    await person.noticeThat(/is on the server/);
    const [undoing] = await changesThat((changes) => changes[0]?.note === `undoes change ${sent.seq}`, 'l1', 'Later');
    assert.equal(undoing?.operation, 'delete');
    await vscode.commands.executeCommand('workbench.action.revertAndCloseActiveEditor');
  });

  it('is offered where nobody knows whether a change has reached the server', async () => {
    await api.upsertEntity(entityType, 'd6', { text: 'before' });
    await sync('now');
    const change = await inDoubt('d6', { text: 'perhaps there' });
    using person = new Person();
    person
      .answers(/Discard the update of Draft d6\?/, 'Discard')
      .answers(/has left for the server, and no answer has come/, 'Undo Instead');
    await vscode.commands.executeCommand('localData.change.discard', { changeId: change.id });
    const { buttons } = await person.noticeThat(/has left for the server/);
    assert.deepEqual(buttons, ['Undo Instead', 'Go Online']);
    await changesThat((changes) => changes[0]?.note === `undoes change ${change.seq}`, 'd6');
    await sync('goOnline');
    await through(change);
    await isOnBothSides('d6', { id: 'd6', text: 'before' });
  });

  const sync = (command: string, ...args: unknown[]) =>
    vscode.commands.executeCommand(`localData.sync.${command}`, ...args);
  const undo = (change: Change | undefined) => {
    assert.ok(change);
    return vscode.commands.executeCommand('localData.change.undo', { changeId: change.id });
  };
  const through = ({ id }: Change) => whenChange(api, id, ({ status }) => status === 'synced');

  /** The newest first. */
  async function changesOf(entityId: string, type = entityType): Promise<Change[]> {
    return (await api.listChanges({ entityType: type, entityId, order: 'desc' })).changes;
  }

  /** Those of an entity, once they are so. */
  async function changesThat(isSo: (changes: Change[]) => boolean, entityId: string, type = entityType) {
    let settle: (changes: Change[]) => void = () => {};
    const settled = new Promise<Change[]>((resolve) => {
      settle = resolve;
    });
    const look = async () => {
      const changes = await changesOf(entityId, type);
      if (isSo(changes)) settle(changes);
    };
    const watching = api.onDidChange(() => void look());
    await look();
    return settled.finally(() => watching.dispose());
  }

  async function isOnBothSides(id: string, entity: object | undefined): Promise<void> {
    await sync('now');
    assert.deepEqual(await api.getEntity(entityType, id), entity);
    assert.deepEqual(await entityThere(entityType, id), entity);
  }

  /** Sent, and the answer lost; then no contact, so that it stays unknown. */
  async function inDoubt(id: string, data: { readonly text: string }): Promise<Change> {
    const lost = way.losePushAnswers();
    const change = await api.recordChange(entityType, id, 'update', data);
    const comeBack = await lost;
    await sync('goOffline');
    comeBack();
    return change;
  }
});
