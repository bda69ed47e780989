// A server that lost its history, as one whose data directory was wiped between two starts: what it had and lacks now is kept
// here and not sent, until a person decides.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { LocalDataApi } from '../../src/api.ts';
import { openSampleData } from './open-database.ts';
import { Person } from './person.ts';
import { whenStatus } from './status-document.ts';
import { entityThere, resetServer, token, url } from './test-server.ts';

const entityType = 'Relic';
const IN_DOUBT = /^The server lacks \d[\d,]* entities that it had\. What is to become of them\?$/;

describe('Decide on Missing Entities…', () => {
  let api: LocalDataApi;

  before(async () => {
    api = await openSampleData();
    await api.registerEntityType({ entityType });
    await sync('connect', { url, token });
    for (const id of ['r1', 'r2']) await api.upsertEntity(entityType, id, { text: 'kept here' });
    await sync('now');
  });

  after(async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    using person = new Person();
    person.answers(/Disconnect from/, 'Disconnect');
    await sync('disconnect');
  });

  it('says that nothing is missing where nothing is', async () => {
    using person = new Person();
    await sync('decideMissing');
    assert.match((await person.nextNotice()).message, /lacks nothing that it had before/);
  });

  it('is there to decide once the server is known to have lost its history, and nothing was sent before', async () => {
    await loseHistory();
    await whenStatus((text) => /^- Missing on the server: \d+ .*until you decide$/m.test(text));
    assert.equal(await entityThere(entityType, 'r1'), undefined);
    assert.equal((await api.getEntity(entityType, 'r1'))?.['text'], 'kept here');
  });

  it('lists them, and does nothing where it is not confirmed', async () => {
    using person = new Person();
    let listed: readonly string[] = [];
    person
      .answers(IN_DOUBT, (_, labels) => {
        listed = labels;
        return '$(trash) Remove Here';
      })
      .answers(/^Remove .* entities here\?$/, undefined);
    await sync('decideMissing');
    assert.deepEqual(listed.slice(0, 2), ['$(cloud-upload) Send to Server', '$(trash) Remove Here']);
    assert.ok(listed.includes('Relic r1') && listed.includes('Relic r2'), listed.join(', '));
    assert.equal((await api.getEntity(entityType, 'r1'))?.['text'], 'kept here');
  });

  it('Send to Server sends them as they are', async () => {
    using person = new Person();
    person.answers(IN_DOUBT, '$(cloud-upload) Send to Server').answers(/^Send .* to the server\?$/, 'Send');
    await sync('decideMissing');
    assert.match(person.statusMessages.at(-1) ?? '', /entities decided on/);
    await sync('now');
    assert.equal((await entityThere(entityType, 'r1'))?.['text'], 'kept here');
    await whenStatus((text) => text.includes('- Missing on the server: 0'));
  });

  it('Remove Here removes them, says why in the history, and names what stays because something refers to it', async () => {
    await loseHistory(async () => {
      await api.upsertEntity('Task', 'task-001', { title: 'Changed since, and therefore sent' });
    });
    using person = new Person();
    person.answers(IN_DOUBT, '$(trash) Remove Here').answers(/^Remove .* entities here\?$/, 'Remove');
    await sync('decideMissing');
    const asked = person.notices.find(({ message }) => message.startsWith('Remove'));
    assert.match(asked?.detail ?? '', /What other entities refer to stays/);
    assert.equal(await api.getEntity(entityType, 'r1'), undefined);
    const { changes } = await api.listChanges({ entityType, entityId: 'r1', order: 'desc' });
    assert.equal(changes[0]?.operation, 'delete');
    assert.match(changes[0].note ?? '', /the new history of the server did not have it/);
    const report = vscode.window.activeTextEditor?.document;
    assert.equal(report?.uri.path, '/Not Removed.md');
    assert.match(report.getText(), /^- Project website: A Task here refers to it\.$/m);
  });

  const sync = (command: string, ...args: unknown[]) =>
    vscode.commands.executeCommand(`localData.sync.${command}`, ...args);

  /** The decision is taken with the token that is kept, without asking for another. */
  async function loseHistory(beforeDeciding = async () => {}): Promise<void> {
    await resetServer();
    await whenStatus((text) => text.includes('**Needs your decision.**'));
    await beforeDeciding();
    using person = new Person();
    person.answers(/The server has another history/, 'Start Anew');
    await sync('signIn');
    await sync('now');
  }
});
