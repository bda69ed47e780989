// A token for another space than the one this database belongs to: refused, or a new beginning with a backup of all there was.
import assert from 'node:assert/strict';
import { rm, stat } from 'node:fs/promises';
import * as vscode from 'vscode';
import type { LocalDataApi } from '../../src/api.ts';
import { openDatabase } from './open-database.ts';
import { Person } from './person.ts';
import { whenStatus } from './status-document.ts';
import { otherToken, token, url } from './test-server.ts';

const OTHER_SPACE = /This database belongs to another space/;

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
    const told = person.notices.map(({ message }) => message);
    const [, file = ''] = /What this database had is in (.*\.tar\.gz)$/.exec(told.at(-1) ?? '') ?? [];
    try {
      assert.ok((await stat(file)).size > 100_000, 'the backup holds a data directory');
      assert.deepEqual(await api.listEntityTypes(), []);
      await whenStatus((text) => /^- Space: elsewhere$/m.test(text));
    } finally {
      await rm(file, { force: true });
    }
  });
});
