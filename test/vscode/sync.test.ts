// The commands about the server, with a person at the dialogs and a real server: what is refused and what it says, rules from
// the workspace's file, receipts, a comparison that finds a difference and repairs it, and the way out.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { LocalDataApi } from '../../src/api.ts';
import type { Receipt } from '../../src/protocol/sync-state.ts';
import { spaceInfoSchema } from '../../src/protocol/sync.ts';
import { openSampleData, whenChange } from './open-database.ts';
import { Person } from './person.ts';

/** Of the server that the suite's runner has started. */
const url = process.env['LOCAL_DATA_TEST_SERVER'] ?? '';
const token = process.env['LOCAL_DATA_TEST_TOKEN'] ?? '';
const forged = process.env['LOCAL_DATA_TEST_FORGED_TOKEN'] ?? '';
const space = `${url}/v1/spaces/team`;
const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };

describe('the server in VS Code', () => {
  let api: LocalDataApi;

  before(async () => {
    api = await openSampleData();
  });

  after(async () => {
    using person = new Person();
    person.answers(/Disconnect from/, 'Disconnect');
    await vscode.commands.executeCommand('localData.sync.disconnect');
  });

  const run = (command: string, ...args: unknown[]) =>
    vscode.commands.executeCommand(`localData.sync.${command}`, ...args);

  it('commands that need a server offer to connect to one', async () => {
    for (const command of [
      'disconnect',
      'now',
      'goOffline',
      'goOnline',
      'showStatus',
      'actions',
      'verify',
      'networkConditions',
    ]) {
      using person = new Person();
      await run(command);
      const { message, buttons } = await person.nextNotice();
      assert.match(message, /not connected to a server/, command);
      assert.deepEqual(buttons, ['Connect to Server…']);
    }
  });

  it('a server that does not answer is named, and nothing is kept of the attempt', async () => {
    using person = new Person();
    await run('connect', { url: 'http://127.0.0.1:9', token });
    const { message, buttons } = await person.nextNotice();
    assert.match(message, /127\.0\.0\.1:9 could not be reached/);
    assert.deepEqual(buttons, ['Connect Again…']);
    assert.doesNotMatch(message, new RegExp(token));
  });

  it('a token that the server refuses is told without repeating it', async () => {
    using person = new Person();
    await run('connect', { url, token: forged });
    const { message, buttons } = await person.nextNotice();
    assert.match(message, /does not accept the token/);
    assert.deepEqual(buttons, ['Try Another Token']);
    assert.doesNotMatch(message, new RegExp(forged));
  });

  it('asks before a token goes in the clear to another machine', async () => {
    using person = new Person();
    person.answers(/without encryption/, undefined);
    await run('connect', { url: 'http://sync.example.org', token });
    assert.match((await person.nextNotice()).detail ?? '', /can read the token/);
  });

  it('connects, sends what is here, and gives each change a receipt', async () => {
    await run('connect', { url, token });
    const change = await api.recordChange('Task', 'task-010', 'update', { title: 'Sent to the server' });
    await run('now');
    const accepted = await whenChange(api, change.id, ({ acceptedAt }) => acceptedAt !== null);
    assert.equal(accepted.status, 'synced');
    using person = new Person();
    person.answers(/.*/, undefined);
    const receipt = await vscode.commands.executeCommand<Receipt>('localData.change.showReceipt', {
      changeId: change.id,
    });
    assert.ok(
      receipt.savedAt <= (receipt.appliedAt ?? 0) && receipt.acceptedAt !== null && receipt.seenInFeedAt !== null,
    );
    assert.equal((await info()).version, receipt.acceptedVersion);
  });

  it('follows the rules in .localdata/localdata.json, and names what does not fit', async () => {
    const folder = vscode.workspace.workspaceFolders?.[0];
    assert.ok(folder, 'a folder is open');
    const file = vscode.Uri.joinPath(folder.uri, '.localdata', 'localdata.json');
    const rules = { sync: { Task: { conflicts: 'manual' }, Project: { conflicts: 'wrong' } } };
    await vscode.workspace.fs.writeFile(file, new TextEncoder().encode(JSON.stringify(rules)));
    try {
      await run('goOffline');
      const change = await api.recordChange('Task', 'task-011', 'update', { title: 'Mine' });
      const { version } = await info();
      await writeThere('task-011', { title: 'Theirs' }, version);
      await run('connect', { url, token });
      const conflicted = await whenChange(api, change.id, ({ status }) => status === 'conflicted');
      assert.deepEqual(Object.keys(conflicted.conflict?.fields ?? {}), ['title']);
      using person = new Person();
      let listed: readonly string[] = [];
      person.answers(/.*/, (_, choices) => void (listed = choices));
      await run('actions');
      assert.ok(listed.includes('$(warning)'), 'the rule that does not fit is listed');
      await vscode.commands.executeCommand('localData.conflict.takeTheirs', { changeId: change.id });
      await whenChange(api, change.id, ({ status }) => status !== 'conflicted');
      assert.equal((await api.getEntity('Task', 'task-011'))?.['title'], 'Theirs');
      await vscode.commands.executeCommand('localData.conflict.keepMine', { changeId: change.id });
      assert.match((await person.nextNotice()).message, /resolved meanwhile/);
    } finally {
      await vscode.workspace.fs.delete(file);
    }
  });

  it('Verify Against Server says that all is the same', async () => {
    using person = new Person();
    await run('verify');
    assert.match((await person.nextNotice()).message, /entities are the same as the server’s/);
  });
});

async function info() {
  return spaceInfoSchema.parse(await (await fetch(space, { headers })).json());
}

/** As another client does. */
async function writeThere(entityId: string, data: object, baseVersion: number): Promise<void> {
  const { epoch } = await info();
  const base = { id: crypto.randomUUID(), entityType: 'Task', transactionId: null, timestamp: Date.now() };
  const changes = [{ ...base, entityId, operation: 'update', data, baseVersion }];
  const body = JSON.stringify({ clientId: 'another client', epoch, cursor: null, changes });
  const { status } = await fetch(`${space}/changes`, { method: 'POST', headers, body });
  assert.equal(status, 200);
}
