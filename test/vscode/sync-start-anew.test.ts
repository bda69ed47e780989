// Another space, or another server that has a space of the same name: refused, or a new beginning with a backup of all there was.
import assert from 'node:assert/strict';
import { rm, stat } from 'node:fs/promises';
import * as vscode from 'vscode';
import type { LocalDataApi } from '../../src/api.ts';
import { openDatabase } from './open-database.ts';
import { Person } from './person.ts';
import { whenStatus } from './status-document.ts';
import { entityThere, otherToken, otherUrl, token, url } from './test-server.ts';

const OTHER_SPACE = /This database belongs to another space/;
const OTHER_HISTORY = /The server has another history/;

describe('Export and Start Anew', () => {
  let api: LocalDataApi;

  before(async () => {
    api = await openDatabase();
    await api.registerEntityType({ entityType: 'Keepsake' });
    await api.upsertEntity('Keepsake', 'k1', { text: 'only in this space' });
    await connect(token);
  });

  after(async () => {
    using person = new Person();
    person.answers(/Disconnect from/, 'Disconnect');
    await vscode.commands.executeCommand('localData.sync.disconnect');
  });

  const connect = (given: string) => vscode.commands.executeCommand('localData.sync.connect', { url, token: given });

  it('is offered for a token of another space, and nothing happens where it is not chosen', async () => {
    using person = new Person();
    person.answers(OTHER_SPACE, undefined);
    await connect(otherToken);
    const { detail, buttons } = await person.nextNotice();
    assert.match(detail ?? '', /space "?team"?[^]*Export and Start Anew writes a backup with everything that is here/);
    assert.deepEqual(buttons, ['Export and Start Anew']);
    assert.equal((await api.getEntity('Keepsake', 'k1'))?.['text'], 'only in this space');
  });

  it('writes a backup of all there was, and goes on with what the other space has', async () => {
    using person = new Person();
    person.answers(OTHER_SPACE, 'Export and Start Anew');
    await connect(otherToken);
    const file = backupTold(person);
    try {
      assert.ok((await stat(file)).size > 100_000, 'the backup holds a data directory');
      assert.deepEqual(await api.listEntityTypes(), []);
      await whenStatus((text) => /^- Space: elsewhere$/m.test(text));
    } finally {
      await rm(file, { force: true });
    }
  });
});

describe('another server with a space of the same name', () => {
  const entityType = 'Heirloom';
  let api: LocalDataApi;

  before(async () => {
    api = await openDatabase();
    using person = new Person();
    person.answers(OTHER_SPACE, 'Export and Start Anew');
    await connect(url);
    await rm(backupTold(person), { force: true });
    await api.registerEntityType({ entityType });
    await api.upsertEntity(entityType, 'h1', { text: 'only for the first server' });
    await sync('now');
    assert.notEqual(await entityThere(entityType, 'h1'), undefined);
  });

  after(async () => {
    using person = new Person();
    person.answers(/Disconnect from/, 'Disconnect');
    await sync('disconnect');
  });

  const sync = (command: string, ...args: unknown[]) =>
    vscode.commands.executeCommand(`localData.sync.${command}`, ...args);
  const connect = (to: string) => sync('connect', { url: to, token });

  it('is refused with both choices, and nothing happens where none is taken', async () => {
    using person = new Person();
    person.answers(OTHER_HISTORY, undefined);
    await connect(otherUrl);
    const { detail = '', buttons } = await person.nextNotice();
    assert.deepEqual(buttons, ['Start Anew', 'Export and Start Anew']);
    assert.ok(
      detail.startsWith(`This database belongs to ${url}. The server at ${otherUrl} has another history`),
      detail,
    );
    assert.match(detail, /Start Anew brings both together[^]*what the server never had is sent to it/);
    assert.match(detail, /Export and Start Anew keeps them apart: nothing from here is sent/);
    assert.equal((await api.getEntity(entityType, 'h1'))?.['text'], 'only for the first server');
    assert.equal(await entityThere(entityType, 'h1', otherUrl), undefined);
  });

  it('Export and Start Anew keeps what is here in a backup, and sends none of it there', async () => {
    using person = new Person();
    person.answers(OTHER_HISTORY, 'Export and Start Anew');
    await connect(otherUrl);
    const file = backupTold(person);
    try {
      assert.ok((await stat(file)).size > 100_000, 'the backup holds a data directory');
      assert.deepEqual(await api.listEntityTypes(), []);
      await whenStatus((text) => text.includes(`- Address: ${otherUrl}\n`) && text.includes('**In sync.**'));
      assert.equal(await entityThere(entityType, 'h1', otherUrl), undefined);
    } finally {
      await rm(file, { force: true });
    }
  });

  it('Start Anew brings both together: what was never sent goes to the one, and what that has comes here', async () => {
    await api.registerEntityType({ entityType });
    await sync('goOffline');
    await api.upsertEntity(entityType, 'h2', { text: 'never sent' });
    using person = new Person();
    person.answers(OTHER_HISTORY, 'Start Anew');
    await connect(url);
    await sync('now');
    await whenStatus((text) => text.includes(`- Address: ${url}\n`) && text.includes('**In sync.**'));
    assert.equal((await entityThere(entityType, 'h2'))?.['text'], 'never sent');
    assert.equal((await api.getEntity(entityType, 'h1'))?.['text'], 'only for the first server');
  });
});

/** The file that the person was told of last. */
function backupTold({ notices }: Person): string {
  const told = notices.at(-1)?.message ?? '';
  return /What this database had is in (.*\.tar\.gz)$/.exec(told)?.[1] ?? '';
}
