// The commands about the server, with a person at the dialogs and a real server: what is refused and what it says, rules from
// the workspace's file, receipts, a comparison that finds a difference and repairs it, and the way out.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Change, LocalDataApi } from '../../src/api.ts';
import type { Receipt } from '../../src/protocol/sync-state.ts';
import { openSampleData, whenChange } from './open-database.ts';
import { Person } from './person.ts';
import { whenStatus } from './status-document.ts';
import { forged, info, token, url, writeThere } from './test-server.ts';

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
      await writeThere({ entityId: 'task-011', data: { title: 'Theirs' } });
      await run('connect', { url, token });
      const conflicted = await whenChange(api, change.id, ({ status }) => status === 'conflicted');
      assert.deepEqual(Object.keys(conflicted.conflict?.fields ?? {}), ['title']);
      using person = new Person();
      let listed: readonly string[] = [];
      person.answers(/.*/, (_, choices) => void (listed = choices));
      await run('actions');
      assert.ok(listed.includes('$(warning) Rule'), 'the rule that does not fit is listed');
      await vscode.commands.executeCommand('localData.conflict.takeTheirs', { changeId: change.id });
      await whenChange(api, change.id, ({ status }) => status !== 'conflicted');
      // The conflict came with the answer to the push; what is theirs is here when the feed has brought it.
      await run('now');
      assert.equal((await api.getEntity('Task', 'task-011'))?.['title'], 'Theirs');
      await vscode.commands.executeCommand('localData.conflict.keepMine', { changeId: change.id });
      assert.match((await person.nextNotice()).message, /resolved meanwhile/);
    } finally {
      await vscode.workspace.fs.delete(file);
    }
  });

  it('Network Conditions… Custom… disturbs requests as it was told, until the network is good again', async () => {
    using person = new Person();
    person
      .answers(/What should happen to requests/, 'Custom…')
      .answers(/Milliseconds that each request takes longer/, '20')
      .answers(/Percent of requests that do not reach/, '0')
      .answers(/Percent of answers that are lost/, '0')
      .answers(/Percent of requests that are answered with an error/, '100')
      .answers(/HTTP status of those errors/, '503');
    await run('networkConditions');
    const described = '20 ms more for each request, 100 % answered with 503';
    assert.equal(person.statusMessages.at(-1), `$(beaker) ${described}`);
    const change = await api.recordChange('Task', 'task-012', 'update', { title: 'Against 503' });
    await whenStatus((text) => text.includes(`- Network conditions: ${described}`) && /^- Next try: /m.test(text));
    assert.equal((await changeNow(change.id)).acceptedAt, null);
    person.answers(new RegExp(`Now: ${described}`), 'Good Network');
    await run('networkConditions');
    const accepted = await whenChange(api, change.id, ({ acceptedAt }) => acceptedAt !== null);
    assert.equal(accepted.status, 'synced');
    await whenStatus((text) => text.includes('- Network conditions: nothing is disturbed'));
  });

  async function changeNow(id: string): Promise<Change> {
    return whenChange(api, id, () => true);
  }
});
