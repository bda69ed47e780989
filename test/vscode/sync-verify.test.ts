// Verify Against Server where something went wrong on the way: what differs is reported, and Repair takes the server's side.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Change, LocalDataApi } from '../../src/api.ts';
import { WayToServer } from '../support/way-to-server.ts';
import { openDatabase, whenChange } from './open-database.ts';
import { Person } from './person.ts';
import { info, token, writeThere } from './test-server.ts';

const WORKSPACE = vscode.ConfigurationTarget.Workspace;

describe('Verify Against Server', () => {
  const entityType = 'Letter';
  let api: LocalDataApi;
  let way: WayToServer;

  before(async () => {
    api = await openDatabase();
    await api.registerEntityType({ entityType });
    // Before the connection, which gives the engine its rules.
    const rules = { [entityType]: { conflicts: 'manual' } };
    await vscode.workspace.getConfiguration().update('localData.sync.rules', rules, WORKSPACE);
    way = await WayToServer.to(process.env['LOCAL_DATA_TEST_SERVER'] ?? '');
    await vscode.commands.executeCommand('localData.sync.connect', { url: way.url, token });
    for (const id of ['kept', 'changed', 'deleted']) await api.upsertEntity(entityType, id, { text: 'as it was' });
    await vscode.commands.executeCommand('localData.sync.now');
  });

  after(async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await vscode.workspace.getConfiguration().update('localData.sync.rules', undefined, WORKSPACE);
    using person = new Person();
    person.answers(/Disconnect from/, 'Disconnect');
    await vscode.commands.executeCommand('localData.sync.disconnect');
    await way[Symbol.asyncDispose]();
  });

  /** A change that waits for a person, since the server has another value that was not heard of here. */
  async function inConflict(id: string, text: string): Promise<Change> {
    const change = await api.recordChange(entityType, id, 'update', { text });
    return whenChange(api, change.id, ({ status }) => status === 'conflicted');
  }

  const verify = () => vscode.commands.executeCommand('localData.sync.verify');
  const textOf = async (id: string) => (await api.getEntity(entityType, id))?.['text'];

  it('says that all is the same where it is', async () => {
    using person = new Person();
    await verify();
    assert.match((await person.nextNotice()).message, /All \d+ entities are the same as the server’s, at version \d+/);
  });

  it('reports what differs and how, and changes nothing while nobody asks for it', async () => {
    for (const id of ['changed', 'deleted', 'new']) way.silentAbout.add(id);
    await writeThere({ entityType, entityId: 'changed', data: { text: 'as it is there' } });
    await writeThere({ entityType, entityId: 'deleted', operation: 'delete' });
    await writeThere({ entityType, entityId: 'new', operation: 'insert', data: { text: 'only there' } });
    await writeThere({ entityType, entityId: 'kept', data: { text: 'heard of' } });
    await vscode.commands.executeCommand('localData.sync.now');
    assert.equal(await textOf('kept'), 'heard of');

    using person = new Person();
    person.answers(/3 of \d+ entities differ/, undefined);
    await verify();
    const report = vscode.window.activeTextEditor?.document.getText() ?? '';
    assert.match(report, new RegExp(`${way.url}, .*, version ${(await info()).version}\\.`));
    assert.match(report, /## Letter changed\n\nBoth have it, with other values:\n\n- text\n {2}- here: "as it was"/);
    assert.match(report, / {2}- server: "as it is there"/);
    assert.match(report, /## Letter deleted\n\nThis database has it, the server does not\./);
    assert.match(report, /## Letter new\n\nThe server has it, this database does not\.\n\n- .*only there/);
    assert.doesNotMatch(report, /kept/);
    assert.equal(await textOf('changed'), 'as it was');
  });

  it('Repair… asks first, takes the server’s side, and leaves what waits here on top of it', async () => {
    const conflicted = await inConflict('changed', 'mine');
    using person = new Person();
    person.answers(/entities differ/, 'Repair…').answers(/Take the server’s side for 3 entities\?/, 'Repair');
    await verify();
    const told = person.notices.map(({ message }) => message);
    assert.match(told.at(-1) ?? '', /3 entities are as the server has them/);
    assert.equal(await textOf('changed'), 'mine');
    assert.equal(await api.getEntity(entityType, 'deleted'), undefined);
    assert.equal(await textOf('new'), 'only there');

    await vscode.commands.executeCommand('localData.conflict.takeTheirs', { changeId: conflicted.id });
    assert.equal(await textOf('changed'), 'as it is there');
    person.notices.splice(0);
    await verify();
    assert.match((await person.nextNotice()).message, /entities are the same as the server’s/);
  });

  it('leaves everything as it is when the repair is not confirmed', async () => {
    way.silentAbout.add('kept');
    await writeThere({ entityType, entityId: 'kept', data: { text: 'not heard of' } });
    await vscode.commands.executeCommand('localData.sync.now');
    using person = new Person();
    person.answers(/1 of \d+ entities differ/, 'Repair…').answers(/Take the server’s side for 1 entity\?/, undefined);
    await verify();
    assert.equal(await textOf('kept'), 'heard of');
  });
});
