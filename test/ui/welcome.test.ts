// What the Changes view says when it has no changes to show, in every state a window can be in; in dark and in light.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, renameSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { locateWorkspace } from '../../src/worker/data-location.ts';
import { openLocalData } from '../support/engine.ts';
import { VscodeSession } from './support/vscode-session.ts';
import type { Workbench } from './workbench.ts';

describe('the Changes view without changes to show', () => {
  let session: VscodeSession;
  let workbench: Workbench;
  let root: string;
  /** Made once and copied. */
  let good: string;
  let theme: 'dark' | 'light' = 'dark';

  before(async () => {
    session = await VscodeSession.start();
    root = join(session.home, 'user/User/globalStorage/vibestack.local-data/databases');
    good = join(session.home, 'good');
    await (await openLocalData({ dataDir: good })).close();
    workbench = await session.open(null);
  });

  after(() => session[Symbol.asyncDispose]());

  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await session.screenshot(`failed: ${this.currentTest.title}`);
  });

  const button = (name: string) => session.page.getByRole('button', { name, exact: true });
  const says = (text: string | RegExp) => session.page.locator('.welcome-view').getByText(text).first().waitFor();

  const saysOfDatabase = (text: RegExp) =>
    session.page.locator('.tree-explorer-viewlet-tree-view .message').getByText(text).waitFor({ timeout: 30_000 });

  /** In the theme that is on, and in the other, which is then left on. */
  async function inBothThemes(name: string): Promise<void> {
    await session.screenshot(`welcome-${name}-${theme}`);
    theme = theme === 'dark' ? 'light' : 'dark';
    await session.setTheme(theme);
    await session.screenshot(`welcome-${name}-${theme}`);
  }

  /** A folder whose database is there already. */
  async function folderWithDatabase(name: string): Promise<{ readonly folder: string; readonly dataDir: string }> {
    const folder = join(session.home, name);
    mkdirSync(folder);
    const { dataDir } = await locateWorkspace(root, folder);
    cpSync(good, dataDir, { recursive: true });
    return { folder, dataDir };
  }

  it('offers a folder or the personal database where no folder is open', async () => {
    await workbench.openChangesView();
    await says('Local Data keeps one database for each folder or workspace.');
    await button('Open Folder').waitFor();
    await button('Use Personal Database').waitFor();
    assert.equal(await workbench.statusBarItem().count(), 0);
    await inBothThemes('no-folder');
  });

  it('offers to create a database where there is none, and says what that makes and where', async () => {
    workbench = await session.openInstead(session.workspace);
    await workbench.openChangesView();
    await says('This workspace has no local database yet.');
    await says(/Postgres data directory of about 30 MB/);
    await inBothThemes('no-database');
    await session.page.locator('.welcome-view').getByText('where it would be kept').click();
    await workbench.notification(new RegExp(`would be kept in ${root}`)).waitFor();
    await workbench.runAnyCommand('Notifications: Clear All Notifications');
  });

  it('offers first steps in an empty database', async () => {
    await button('Create Database').click();
    await button('Create Sample Data').waitFor({ timeout: 30_000 });
    await says('No changes yet.');
    await inBothThemes('empty');
  });

  it('names the process that has the database, and opens it by Try Again once that one is gone', async () => {
    const { folder, dataDir } = await folderWithDatabase('busy');
    const owner = await ownerOf(dataDir);
    workbench = await session.openInstead(folder);
    await workbench.openChangesView();
    await saysOfDatabase(new RegExp(`in use by process ${owner.pid} since .*Close it there, then try again`));
    await workbench.row('Try Again').waitFor();
    assert.equal(await session.page.locator('.notification-toast').count(), 0, 'nobody asked, so nobody is told');
    await inBothThemes('in-use');
    await workbench.row('Try Again').click();
    await workbench.notification(new RegExp(`in use by process ${owner.pid} since`)).waitFor({ timeout: 60_000 });
    await workbench.runAnyCommand('Notifications: Clear All Notifications');
    const gone = once(owner, 'exit');
    owner.kill('SIGKILL');
    await gone;
    await workbench.row('Try Again').click();
    await button('Create Sample Data').waitFor({ timeout: 30_000 });
  });

  it('says why a damaged database could not be opened and what helps, and opens it once it is mended', async () => {
    const { folder, dataDir } = await folderWithDatabase('damaged');
    truncateSync(join(dataDir, 'global/pg_control'), 10);
    workbench = await session.openInstead(folder);
    await workbench.openChangesView();
    await saysOfDatabase(/could not be opened.*damaged or incomplete\. Restore a backup there/);
    const cutOff = await session.page
      .locator('.tree-explorer-viewlet-tree-view .message')
      .evaluate(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth);
    assert.equal(cutOff, false, 'a long path is not cut off');
    for (const help of ['Try Again', 'Show Log', 'Copy Diagnostics', 'Show Data Location']) {
      await workbench.row(help).waitFor();
    }
    assert.equal(await session.page.locator('.notification-toast').count(), 0, 'nobody asked, so nobody is told');
    await inBothThemes('failed');
    await workbench.row('Show Log').click();
    await session.page.locator('.part.panel').getByText('Output', { exact: true }).first().waitFor();
    renameSync(dataDir, `${dataDir}-damaged`);
    cpSync(good, dataDir, { recursive: true });
    await workbench.row('Try Again').click();
    await button('Create Sample Data').waitFor({ timeout: 30_000 });
  });
});

describe('Restricted Mode', () => {
  it('opens no database, says so, and offers to manage trust', async () => {
    await using session = await VscodeSession.start({
      workspaceTrust: true,
      settings: { 'security.workspace.trust.startupPrompt': 'never' },
    });
    const workbench = await session.open();
    await workbench.openChangesView();
    await session.page.getByText('This workspace is in Restricted Mode.').waitFor();
    await session.page.getByRole('button', { name: 'Manage Workspace Trust' }).waitFor();
    await session.screenshot('welcome-restricted-dark');
    await session.setTheme('light');
    await session.screenshot('welcome-restricted-light');
    await workbench.runCommand('Create Database');
    await workbench.notification(/no database is opened in Restricted Mode/).waitFor();
    assert.equal(await session.page.getByRole('button', { name: 'Create Sample Data' }).count(), 0);
  });
});

/** A process of its own that holds the directory until it is killed. */
async function ownerOf(dataDir: string): Promise<ChildProcess> {
  const program = fileURLToPath(new URL('../worker/lock-owner-program.ts', import.meta.url));
  const child = spawn(process.execPath, [program, dataDir], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'started');
  child.stdin.write('\n');
  assert.equal((await lines.next()).value, 'owner');
  return child;
}
