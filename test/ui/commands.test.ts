// Commands as a person meets them: dialogs, the tree with several rows selected, the status bar while work goes on, and
// what is left on the disk. The database is prepared by the engine itself, so that there is something to see at once.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { claimLocation, locateWorkspace } from '../../src/worker/data-location.ts';
import { openLocalData } from '../support/engine.ts';
import { VscodeSession } from './support/vscode-session.ts';
import type { Workbench } from './workbench.ts';

const SLOW_CHANGES = 20;
const IMPORTED_ROWS = 300_000;

describe('commands, as they are seen', () => {
  let session: VscodeSession;
  let workbench: Workbench;
  let root: string;

  before(async () => {
    session = await VscodeSession.start({
      settings: { 'localData.processing.pausedAtStart': true, 'localData.changes.pageSize': 10 },
    });
    root = join(session.home, 'user/User/globalStorage/vibestack.local-data/databases');
    await prepare(root, session.workspace);
    workbench = await session.open();
    await workbench.openChangesView();
    await workbench.row('Failed').waitFor({ timeout: 60_000 });
  });

  after(() => session[Symbol.asyncDispose]());

  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await session.screenshot(`failed: ${this.currentTest.title}`);
  });

  const status = () => workbench.statusBarItem();
  const noNotification = async () => assert.equal(await session.page.locator('.notification-toast').count(), 0);

  it('the status bar says what waits, that processing is paused, and warns of what failed', async () => {
    await status().locator('.codicon-debug-pause').waitFor();
    assert.equal((await status().innerText()).replaceAll(/\s+/g, ' ').trim(), `4 ${SLOW_CHANGES}`);
    assert.match((await status().getAttribute('class')) ?? '', /warning-kind/);
    await workbench.badge().filter({ hasText: '4' }).waitFor();
    await session.screenshot('paused');
  });

  it('Resume Processing turns the wheel until all is done; what fails meanwhile notifies nobody', async () => {
    await workbench.runCommand('Resume Processing');
    await status().locator('.codicon-sync.codicon-modifier-spin').waitFor();
    await status().locator('.codicon-database').waitFor();
    // The last of the slow ones fails.
    await workbench.badge().filter({ hasText: '5' }).waitFor();
    await noNotification();
  });

  it('a click on the status bar shows the view', async () => {
    await workbench.runAnyCommand('View: Show Explorer');
    await workbench.row('Failed').waitFor({ state: 'hidden' });
    await status().click();
    await workbench.row('Failed').waitFor();
  });

  it('a group shows a page of as many as the setting says, and Load more the next', async () => {
    await workbench.row('Finished').click();
    await workbench.row(/Load more.*10 of/s).click();
    await workbench.row(/Load more/).waitFor({ state: 'detached' });
    await workbench.row('Insert Slow s0').waitFor();
    await workbench.row('Finished').click();
  });

  it('Retry on several selected rows retries those, and no other', async () => {
    await workbench.row('Insert Ghost g1').click();
    await workbench.row('Insert Ghost g2').click({ modifiers: ['ControlOrMeta'] });
    await workbench.chooseFromMenu(workbench.row('Insert Ghost g2'), 'Retry');
    await workbench.row('Insert Ghost g1').waitFor({ state: 'detached' });
    await workbench.row('Insert Ghost g2').waitFor({ state: 'detached' });
    await workbench.row('Insert Ghost g3').waitFor();
    await workbench.badge().filter({ hasText: '3' }).waitFor();
  });

  it('Upsert Entity… takes an id that is typed, and Delete Entity… asks before it deletes', async () => {
    await workbench.runCommand('Upsert Entity…');
    await workbench.pick('Ghost');
    await workbench.fillInput('Upsert Entity: Ghost', 'casper');
    await workbench.fillInput('Payload of Ghost casper', '{ "mood": "friendly" }');
    await session.page.locator('.statusbar-item').filter({ hasText: 'Ghost casper inserted' }).waitFor();
    await workbench.runCommand('Delete Entity…');
    await workbench.pick('Ghost');
    await workbench.pick('casper');
    await workbench.dialog().getByText('Delete Ghost casper?').waitFor();
    await session.screenshot('delete-entity');
    await workbench.answer('Delete');
    await session.page.locator('.statusbar-item').filter({ hasText: 'Ghost casper deleted' }).waitFor();
  });

  it('Import… of a large file shows how far it is, and Cancel ends it with a report', async () => {
    const rows = Array.from({ length: IMPORTED_ROWS }, (_, n) => `{"id":"i${n}","text":"row ${n}"}`);
    writeFileSync(join(session.workspace, 'many.jsonl'), rows.join('\n'));
    await workbench.runCommand('Import…');
    await workbench.page.locator('.quick-input-widget:visible').filter({ hasText: 'Import into Local Data' }).waitFor();
    await workbench.input().fill(`${session.workspace}/many.jsonl`);
    await workbench.pick('many.jsonl');
    await workbench.pick('New document type');
    await workbench.fillInput('Name of the new entity type', 'Many');
    await workbench.fillInput('Field that identifies a row', 'id');
    const progress = workbench.notification(/Importing many\.jsonl.*rows/);
    await progress.waitFor({ timeout: 30_000 });
    await session.screenshot('import-progress');
    await progress.getByRole('button', { name: 'Cancel' }).click();
    await workbench.tab('Import of many.jsonl.md').waitFor({ timeout: 30_000 });
    await workbench.editorText().filter({ hasText: 'The import was cancelled' }).waitFor();
    await session.screenshot('import-report');
    await workbench.runCommand('Undo Import…');
    await workbench.pick('many.jsonl');
    await session.page
      .locator('.statusbar-item')
      .filter({ hasText: /imported changes undone/ })
      .waitFor({ timeout: 60_000 });
  });

  it('Delete All Local Data… deletes only when the name is typed, and leaves a backup that opens', async () => {
    await workbench.runCommand('Delete All Local Data…');
    await workbench.page
      .locator('.quick-input-widget:visible')
      .filter({ hasText: 'Type workspace to confirm' })
      .waitFor();
    await workbench.input().fill('workspaces');
    await session.page.keyboard.press('Enter');
    await session.page.locator('.quick-input-widget').getByText('Type workspace to delete its data').waitFor();
    await session.screenshot('delete-all-data');
    await workbench.input().fill('workspace');
    await session.page.keyboard.press('Enter');
    await workbench.notification(/All data of workspace was deleted\. A backup is in/).waitFor({ timeout: 60_000 });
    await session.page.getByRole('button', { name: 'Create Database' }).waitFor();
    await workbench.runAnyCommand('Notifications: Clear All Notifications');
    const [backup] = readdirSync(root).filter((name) => name.endsWith('.tar.gz'));
    assert.ok(backup);
    const restored = join(session.home, 'restored');
    mkdirSync(restored);
    execFileSync('tar', ['-xzf', join(root, backup), '-C', restored], { stdio: 'pipe' });
    const data = await openLocalData({ dataDir: restored, startProcessor: false });
    try {
      const { changes } = await data.listChanges({ entityType: 'Slow' });
      assert.equal(changes.length, SLOW_CHANGES + 1);
    } finally {
      await data.close();
    }
  });

  it('Adopt a Database… takes over that of a folder that is gone', async () => {
    const gone = await locateWorkspace(root, session.home);
    await claimLocation({ ...gone, name: 'moved-away', workspacePath: join(session.home, 'moved-away') });
    const left = await openLocalData({ dataDir: gone.dataDir });
    await left.createChangesTable();
    await left.registerEntityType({ entityType: 'Heirloom' });
    await left.upsertEntity('Heirloom', 'clock', { from: 'grandmother' });
    await left.close();
    // The view that was shown is shown again.
    workbench = await session.reload();
    await session.page.getByRole('button', { name: 'Adopt a Database…' }).click();
    await workbench.pick('moved-away');
    await workbench.row('Finished').click();
    await workbench.row('Insert Heirloom clock').waitFor();
  });

  it('Use Personal Database opens one where no folder is open', async () => {
    workbench = await session.openInstead(null);
    await workbench.openChangesView();
    await session.page.getByRole('button', { name: 'Use Personal Database' }).click();
    await session.page.getByRole('button', { name: 'Create Sample Data' }).waitFor({ timeout: 30_000 });
    assert.ok(readdirSync(root).includes('personal'));
  });
});

/** Three failed changes whose type has been registered since, one that breaks a check, and slow ones that wait. */
async function prepare(root: string, workspace: string): Promise<void> {
  const location = await locateWorkspace(root, workspace);
  await claimLocation(location);
  const data = await openLocalData({ dataDir: location.dataDir });
  try {
    await data.exec(`CREATE TABLE slow (id text PRIMARY KEY, n int CHECK (n < ${SLOW_CHANGES - 1}));
      CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END $$;
      CREATE TRIGGER take_time BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION take_time();`);
    await data.registerEntityType({ entityType: 'Slow', table: 'slow' });
    for (const id of ['g1', 'g2', 'g3']) await data.recordChange('Ghost', id, 'insert', { mood: 'sad' });
    await data.recordChange('Slow', 'broken', 'insert', { n: 1_000 });
    await data.whenIdle();
    await data.registerEntityType({ entityType: 'Ghost' });
    await data.stopChangeProcessor();
    await data.recordChanges(
      Array.from({ length: SLOW_CHANGES }, (_, n) => {
        return { entityType: 'Slow', entityId: `s${n}`, operation: 'insert', data: { n } } as const;
      }),
    );
  } finally {
    await data.close();
  }
}
