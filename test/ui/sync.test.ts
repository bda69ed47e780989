// A server as a person meets it: connecting, working offline and coming back, a conflict resolved by hand, another token
// asked for; in real VS Code with a real server, and a second client that writes beside it.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator } from 'playwright-core';
import type { JsonObject } from '../../src/protocol/changes.ts';
import type { RunningServer } from '../../src/server/start-server.ts';
import { ProtocolClient, SECRET, signToken, startForTest } from '../support/server.ts';
import { WayToServer } from '../support/way-to-server.ts';
import { endEngineThread } from './support/end-engine-thread.ts';
import { VscodeSession } from './support/vscode-session.ts';
import type { Workbench } from './workbench.ts';

const SPACE = 'team';

describe('a server, as it is seen', () => {
  let session: VscodeSession;
  let workbench: Workbench;
  let server: RunningServer;
  /** By which VS Code reaches it. */
  let way: WayToServer;
  let other: ProtocolClient;

  before(async () => {
    server = await startForTest({ memory: true });
    way = await WayToServer.to(server.url);
    other = await ProtocolClient.enter(server.url, SPACE, 'another client');
    session = await VscodeSession.start();
    mkdirSync(join(session.workspace, '.localdata'), { recursive: true });
    const rules = { sync: { Task: { conflicts: 'manual' } } };
    writeFileSync(join(session.workspace, '.localdata/localdata.json'), JSON.stringify(rules));
    workbench = await session.open();
    await workbench.openChangesView();
    await workbench.runCommand('Create Database');
    await workbench.statusBarItem().locator('.codicon-database').waitFor({ timeout: 60_000 });
    await workbench.runCommand('Create Sample Data');
    await workbench.row('Finished').waitFor({ timeout: 60_000 });
  });

  after(async () => {
    await session[Symbol.asyncDispose]();
    await way[Symbol.asyncDispose]();
    await server.close();
  });

  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await session.screenshot(`failed: ${this.currentTest.title}`);
  });

  const token = (expiresIn = '1h') => signToken({ space: SPACE, secret: SECRET, expiresIn });
  const is = (title: string) =>
    workbench
      .serverItem()
      .and(session.page.locator(`[aria-label*="${title}"]`))
      .waitFor();
  const isInSync = () => is('In sync');

  it('Connect to Server… asks for the address and the token, and refuses what is none while it is typed', async () => {
    await workbench.runCommand('Connect to Server…');
    await workbench.fillInput('Address of the server', 'sync.example.org');
    await session.page.locator('.quick-input-message').filter({ hasText: 'no address' }).waitFor();
    await session.screenshot('sync-address-refused');
    await workbench.input().fill(way.url);
    await workbench.fillInput('Address of the server', way.url);
    await workbench.fillInput(/Token for/, await token());
    await isInSync();
    assert.equal((await other.snapshot()).entities.length > 0, true);
  });

  it('shows the server in the view and in the status bar, quietly while all is well', async () => {
    await workbench.expand('Server');
    await workbench.row(way.url).waitFor();
    assert.doesNotMatch((await workbench.serverItem().getAttribute('class')) ?? '', /warning-kind/);
    await session.screenshot('sync-connected');
    await workbench.serverItem().click();
    await session.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: 'Work Offline' }).waitFor();
    await session.screenshot('sync-actions');
    await workbench.leaveInput();
  });

  it('Show Sync Status says everything in a document that follows while it is open', async () => {
    await workbench.serverItem().click();
    await workbench.pick('Show Sync Status');
    await workbench.tab('Sync Status.md').waitFor();
    await shown('**In sync.**');
    await shown(`- Space: ${SPACE}`);
    await session.screenshot('sync-status');
    await workbench.runCommand('Work Offline');
    await shown('**Working offline.**');
    await workbench.runCommand('Go Online');
    await shown('**In sync.**');
    await closeEditors();
  });

  it('Work Offline lets changes wait and says so; Go Online sends them', async () => {
    await workbench.runCommand('Work Offline');
    await is('Working offline');
    await upsert('task-001', { title: 'Written offline' });
    await is('1 waiting');
    await workbench.row(/Waiting for the server\s*1$/).waitFor();
    await workbench.row(/Update Task task-001\s*waits: offline/).waitFor();
    for (const theme of ['light', 'high-contrast', 'dark'] as const) {
      await session.setTheme(theme);
      await session.screenshot(`sync-waiting-${theme}`);
    }
    await session.screenshot('sync-offline');
    await workbench.row('Go Online').click();
    await isInSync();
    await workbench.row('Waiting for the server').waitFor({ state: 'detached' });
    const { changes } = await other.pullAll();
    assert.equal(changes.at(-1)?.data?.['title'], 'Written offline');
  });

  it('shows nothing as waiting that the server accepts at once', async () => {
    const { version } = await other.info();
    await workbench.row(new RegExp(`Version\\s*${version}$`)).waitFor();
    await session.page.evaluate(() => {
      const seen: string[] = [];
      const note = () => {
        const rows = document.querySelectorAll<HTMLElement>('.pane-body .monaco-list-row');
        for (const row of rows) if (row.innerText.includes('Waiting for the server')) seen.push(row.innerText);
      };
      new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true });
      Object.assign(globalThis, { seenWaiting: seen });
    });
    await upsert('task-001', { title: 'Written while in contact' });
    await workbench.row(new RegExp(`Version\\s*${version + 1}$`)).waitFor();
    await isInSync();
    assert.equal(await titleThere('task-001'), 'Written while in contact');
    assert.deepEqual(await session.page.evaluate(() => Reflect.get(globalThis, 'seenWaiting')), []);
  });

  it('shows a conflict with both sides in the diff and the choice beside it', async () => {
    await conflictOn('task-002', 'Title of mine', 'Title of theirs');
    await workbench.row('Conflicts').waitFor();
    const row = workbench.row(/Update Task task-002/).filter({ hasText: 'title' });
    await workbench.chooseFromMenu(row, 'Resolve Conflict…');
    await session.page.locator('.monaco-diff-editor').waitFor();
    await session.page
      .locator('.quick-input-list .monaco-list-row')
      .filter({ hasText: 'Merge Field by Field…' })
      .waitFor();
    await workbench.pointNowhere();
    await session.screenshot('sync-conflict');
    await workbench.pick('Merge Field by Field…');
    await workbench.pick('Title of theirs');
    await session.screenshot('sync-conflict-merged');
    await workbench.answer('Resolve');
    await workbench.row('Conflicts').waitFor({ state: 'hidden' });
    await isInSync();
    assert.equal(await titleThere('task-002'), 'Title of theirs');
  });

  it('Keep Mine sends mine over theirs', async () => {
    await conflictOn('task-003', 'Mine is kept', 'Theirs is given up');
    const row = workbench.row(/Update Task task-003/).filter({ hasText: 'title' });
    await workbench.chooseFromMenu(row, 'Keep Mine');
    await workbench.row('Conflicts').waitFor({ state: 'hidden' });
    await isInSync();
    assert.equal(await titleThere('task-003'), 'Mine is kept');
  });

  it('warns while Network Conditions disturb requests, and finds the way back by itself', async () => {
    await workbench.runCommand('Network Conditions…');
    await workbench.pick('Nothing Goes Through');
    await workbench.networkItem().waitFor();
    await is('Offline');
    await session.screenshot('sync-network-conditions');
    await workbench.networkItem().click();
    await workbench.pick('Good Network');
    await workbench.networkItem().waitFor({ state: 'hidden' });
    await isInSync();
  });

  it('Verify Against Server says that all is the same', async () => {
    await workbench.runCommand('Verify Against Server');
    await workbench.notification(/are the same as the server’s/).waitFor();
    await session.screenshot('sync-verified');
    await workbench.dismiss(/are the same as the server’s/);
  });

  it('Cancel ends a comparison that takes long, its request to the server included', async () => {
    const held = way.holdNext(/\/digest$/);
    await workbench.runCommand('Verify Against Server');
    await held.arrived;
    const progress = workbench.notification(/Comparing with/);
    await progress.getByRole('button', { name: 'Cancel' }).click();
    await held.abandoned;
    await progress.waitFor({ state: 'detached' });
    await workbench.runCommand('Verify Against Server');
    await workbench.notification(/are the same as the server’s/).waitFor();
    await workbench.dismiss(/are the same as the server’s/);
  });

  it('Verify Against Server shows what differs as a document, and Repair… takes the server’s side', async () => {
    const ids = ['task-008', 'task-009'];
    for (const id of ids) way.silentAbout.add(id);
    const { version } = await other.info();
    const data = { title: 'Rewritten by another', details: { area: 'garden', links: ['https://example.org/a'] } };
    await other.push({ entityId: 'task-008', operation: 'update', data, baseVersion: version });
    await other.push({ entityId: 'task-009', operation: 'delete', baseVersion: version });
    await workbench.runCommand('Sync Now');
    await workbench.row(new RegExp(`Version\\s*${version + 2}`)).waitFor();
    await workbench.runCommand('Verify Against Server');
    await shown('## Task task-008');
    await workbench.notification(/2 of \d+ entities differ/).waitFor();
    await session.screenshot('sync-verify-differences');
    await session.setTheme('light');
    await session.screenshot('sync-verify-differences-light');
    await session.setTheme('dark');
    await workbench
      .notification(/entities differ/)
      .getByRole('button', { name: 'Repair…' })
      .click();
    await workbench.dialog().filter({ hasText: 'Take the server’s side for 2 entities?' }).waitFor();
    await session.screenshot('sync-verify-repair');
    await workbench.answer('Repair');
    await workbench.notification(/2 entities are as the server has them/).waitFor();
    await closeEditors();
  });

  describe('of a change that is through', () => {
    before(async () => {
      await session.setTheme('dark');
      await workbench.runCommand('Register Entity Type…');
      await workbench.pick('JSON documents');
      await workbench.fillInput('Name of the new entity type', 'Note');
      await workbench.expand('Finished');
    });

    it('the receipt says where a remote one came from', async () => {
      await other.push({ entityType: 'Note', entityId: 'from-there', data: { text: 'Written elsewhere' } });
      await receiptOf(workbench.row(/Insert Note from-there/).filter({ hasText: 'received' }));
      await step('Written elsewhere', 'by client another client');
      await session.screenshot('sync-receipt-remote');
      await workbench.leaveInput();
    });

    it('the receipt says that one which cancelled out was never sent', async () => {
      await workbench.runCommand('Work Offline');
      await is('Working offline');
      await upsert('short-lived', { text: 'Not for long' }, 'Note');
      await workbench.row(/Insert Note short-lived/).waitFor();
      await workbench.runCommand('Delete Entity…');
      await workbench.pick('Note');
      await session.page.getByPlaceholder(/Id of the Note/).fill('short-lived');
      await session.page.keyboard.press('Enter');
      await workbench.answer('Delete');
      await workbench.row(/Delete Note short-lived/).waitFor();
      await workbench.runCommand('Go Online');
      await isInSync();
      await receiptOf(workbench.row(/Insert Note short-lived/).filter({ hasText: 'not sent' }));
      await step('Accepted by the server', 'never sent');
      await session.page.getByPlaceholder(/Cancelled out: it was never sent/).waitFor();
      await session.screenshot('sync-receipt-cancelled');
      await workbench.leaveInput();
    });

    it('the receipt says that a discarded one was taken back', async () => {
      await workbench.chooseFromMenu(workbench.row(/Insert Task task-041/), 'Discard…');
      await workbench.answer('Discard');
      await receiptOf(workbench.row(/Insert Task task-041/).filter({ hasText: 'discarded' }));
      await step('Discarded', 'Restore brings it back');
      await session.screenshot('sync-receipt-discarded');
      await workbench.leaveInput();
    });

    it('receipt, hover and the Entities panel say what was given up in a conflict', async () => {
      await conflictOn('task-006', 'The title that was given up', 'The title that holds');
      const conflicted = workbench.row(/Update Task task-006/).filter({ hasText: 'title' });
      await workbench.chooseFromMenu(conflicted, 'Take Theirs');
      await conflicted.waitFor({ state: 'detached' });
      await isInSync();
      const row = workbench.row(/Update Task task-006/).filter({ hasText: 'given up' });
      for (const theme of ['dark', 'light'] as const) {
        await session.setTheme(theme);
        await receiptOf(row);
        await step('theirs was taken', 'Given up of mine: title “The title that was given up”');
        await session.screenshot(`sync-receipt-given-up-${theme}`);
        await workbench.leaveInput();
      }
      await session.setTheme('dark');
      await row.hover();
      await session.page.locator('.workbench-hover').filter({ hasText: 'Given up of mine' }).waitFor();
      await session.screenshot('sync-hover-given-up');
      await workbench.chooseFromMenu(row, 'Open Entity');
      const panel = await workbench.panel();
      await panel.getByText('Given up of mine: title “The title that was given up”').scrollIntoViewIfNeeded();
      await session.screenshot('sync-panel-given-up');
      await closeEditors();
    });

    it('Merge Field by Field takes a field out that was not there before', async () => {
      await upsert('n1', { text: 'Both know it' }, 'Note');
      await workbench
        .row(/Insert Note n1/)
        .filter({ hasText: 'synced' })
        .waitFor();
      await makeManual('Note');
      await conflictOn('n1', { color: 'red' }, { color: 'blue' }, 'Note');
      const conflicted = workbench.row(/Update Note n1/).filter({ hasText: 'color' });
      await workbench.chooseFromMenu(conflicted, 'Resolve Conflict…');
      await workbench.pick('Merge Field by Field…');
      await session.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: '(not there)' }).waitFor();
      await session.screenshot('sync-conflict-not-there');
      await workbench.pick('(not there)');
      await workbench.answer('Resolve');
      await conflicted.waitFor({ state: 'detached' });
      await isInSync();
      const { entities } = await other.snapshot();
      const there = entities.find(({ entityId }) => entityId === 'n1')?.entity;
      assert.deepEqual(there, { id: 'n1', text: 'Both know it' });
      await closeEditors();
    });

    async function receiptOf(row: Locator): Promise<void> {
      await row.waitFor();
      await workbench.chooseFromMenu(row, 'Show Receipt');
      await session.page.locator('.quick-input-title').filter({ hasText: 'Receipt of the' }).waitFor();
    }

    async function step(label: string, detail: string): Promise<void> {
      const rows = session.page.locator('.quick-input-list .monaco-list-row');
      await rows.filter({ hasText: label }).filter({ hasText: detail }).first().waitFor();
    }
  });

  it('takes contact up again with the kept token when the engine’s thread was lost', async () => {
    await endEngineThread(session.home);
    await other.push({ entityId: 'after-restart', data: { title: 'Written after the restart', status: 'todo' } });
    const { version } = await other.info();
    await workbench.row(new RegExp(`Version\\s*${version}`)).waitFor();
    await isInSync();
  });

  it('offers to retry what the server sent and cannot be applied here, and neither to edit nor to discard it', async () => {
    const titles = await workbench.contextMenu(workbench.row(/Insert Task after-restart/));
    assert.ok(titles.includes('Retry'), titles.join(', '));
    assert.deepEqual(
      titles.filter((title) => ['Edit & Retry', 'Discard…', 'Undo Change'].includes(title)),
      [],
    );
    await session.page.keyboard.press('Escape');
    await workbench.chooseFromMenu(workbench.row(/Insert Task after-restart/), 'Retry');
    await session.page.locator('.statusbar-item').filter({ hasText: 'Task after-restart failed' }).waitFor();
  });

  for (const theme of ['light', 'high-contrast'] as const) {
    it(`can be read in ${theme}`, async () => {
      await session.setTheme(theme);
      await conflictOn(theme === 'light' ? 'task-004' : 'task-005', 'Mine', 'Theirs');
      await workbench.row('Conflicts').waitFor();
      await session.screenshot(`sync-conflicts-${theme}`);
      await workbench.runCommand('Show Sync Status');
      await shown('# Sync Status');
      await session.screenshot(`sync-status-${theme}`);
      await closeEditors();
    });
  }

  it('asks for another token when the server does not accept the one it has', async () => {
    await workbench.runCommand('Network Conditions…');
    await workbench.pick('Sign-In Expired');
    await is('Sign-in needed');
    assert.match((await workbench.serverItem().getAttribute('class')) ?? '', /warning-kind/);
    await upsert('task-010', { title: 'Written without a token' });
    await workbench.row(/Update Task task-010\s*waits: sign-in needed/).waitFor();
    await session.screenshot('sync-sign-in-needed');
    await workbench.runCommand('Network Conditions…');
    await workbench.pick('Good Network');
    await workbench.row('Sign In…').click();
    await workbench.fillInput(/New token for space/, await token());
    await isInSync();
    await session.page.locator('.quick-input-widget:visible').waitFor({ state: 'detached' });
  });

  describe('when it has lost its history', () => {
    before(async () => {
      const { port } = new URL(server.url);
      await server.close();
      server = await startForTest({ memory: true, port: Number(port) });
    });

    it('asks for a decision before anything is sent, and then what is to become of what it lacks', async () => {
      await workbench.row('Decide…').waitFor({ timeout: 60_000 });
      await is('Needs your decision');
      await session.screenshot('sync-needs-decision');
      await workbench.row('Decide…').click();
      await workbench.dialog().filter({ hasText: 'The server has another history' }).waitFor();
      await session.screenshot('sync-another-history');
      await workbench.answer('Start Anew');
      await workbench.row('Decide on Missing Entities…').waitFor({ timeout: 60_000 });
      await workbench.row(/Missing there\s*\d+ that the server had before/).waitFor();
      for (const theme of ['light', 'high-contrast', 'dark'] as const) {
        await session.setTheme(theme);
        await session.screenshot(`sync-missing-${theme}`);
      }
      await workbench.row('Decide on Missing Entities…').click();
      await session.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: 'Remove Here' }).waitFor();
      await session.screenshot('sync-decide-missing');
      await workbench.pick('Send to Server');
      await workbench
        .dialog()
        .filter({ hasText: /Send \d+ entities to the server\?/ })
        .waitFor();
      await session.screenshot('sync-send-missing');
      await workbench.answer('Send');
      await workbench.row('Decide on Missing Entities…').waitFor({ state: 'detached' });
      await workbench.expand('Server');
      await workbench.row('Last answer').waitFor();
      assert.notEqual(await titleThere('task-001'), undefined);
    });
  });

  /** A line of the document that is open; VS Code writes spaces as ones that do not break. */
  async function shown(line: string): Promise<void> {
    const text = new RegExp(line.replaceAll(/[*.]/g, '\\$&').replaceAll(' ', '\\s'));
    await workbench.editorText().locator('.view-line').filter({ hasText: text }).first().waitFor();
  }

  async function closeEditors(): Promise<void> {
    await workbench.runAnyCommand('View: Close All Editors');
    await session.page.locator('.tabs-container .tab').first().waitFor({ state: 'detached' });
  }

  async function upsert(id: string, data: object, entityType = 'Task'): Promise<void> {
    await workbench.runCommand('Upsert Entity…');
    await workbench.pick(entityType);
    await session.page.getByPlaceholder(new RegExp(`Id of the ${entityType}`)).fill(id);
    await session.page.keyboard.press('Enter');
    await workbench.fillInput(/Payload/, JSON.stringify(data));
    // Another input would take the place of this one before it was read.
    await session.page.locator('.quick-input-widget:visible').waitFor({ state: 'detached' });
  }

  /** Written on both sides while this one is offline; a text is a title. */
  async function conflictOn(id: string, mine: string | JsonObject, theirs: string | JsonObject, entityType = 'Task') {
    const dataOf = (side: string | JsonObject) => (typeof side === 'string' ? { title: side } : side);
    await workbench.runCommand('Work Offline');
    await is('Working offline');
    await upsert(id, dataOf(mine), entityType);
    await is('waiting');
    const { version } = await other.info();
    await other.push({ entityType, entityId: id, operation: 'update', data: dataOf(theirs), baseVersion: version });
    await workbench.runCommand('Go Online');
  }

  /** Conflicts of this type wait for a person, beside those of tasks; in force when the document of the state says so. */
  async function makeManual(entityType: string): Promise<void> {
    const rules = { sync: { Task: { conflicts: 'manual' }, [entityType]: { conflicts: 'manual' } } };
    writeFileSync(join(session.workspace, '.localdata/localdata.json'), JSON.stringify(rules));
    await workbench.runCommand('Show Sync Status');
    await session.page.keyboard.press('ControlOrMeta+End');
    await shown(`- ${entityType}: synchronised, conflicts: manual`);
  }

  async function titleThere(id: string): Promise<unknown> {
    const { entities } = await other.snapshot();
    return entities.find(({ entityId }) => entityId === id)?.entity['title'];
  }
});
