import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../../scripts/project.ts';
import { COMMANDS } from '../../src/host/contributions.ts';
import { type Theme, VscodeSession } from './support/vscode-session.ts';
import type { Workbench } from './workbench.ts';

const FOREIGN_KEY_FAILURE = 'Insert Task task-041';
const CHECK_FAILURE = /Update Task task-007.*breaks/s;
const BLOCKED = /Update Task task-007.*waits for/s;

describe('the Changes view', () => {
  let session: VscodeSession;
  let workbench: Workbench;

  before(async () => {
    session = await VscodeSession.start();
    const folder = join(session.home, 'demo');
    cpSync(join(projectRoot, 'demo'), folder, { recursive: true });
    workbench = await session.open(folder);
    await workbench.row(CHECK_FAILURE).waitFor({ timeout: 60_000 });
  });

  after(() => session[Symbol.asyncDispose]());

  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await session.screenshot(`failed: ${this.currentTest.title}`);
  });

  it('groups what failed, what is blocked and what is finished, and counts what needs a person', async () => {
    const rows = (await workbench.rows()).map((row) => row.replaceAll(/\s+/g, ' '));
    assert.match(rows[0] ?? '', /^Failed ?2$/);
    assert.ok(rows.some((row) => /^Blocked ?1$/.test(row)));
    assert.ok(rows.some((row) => /^Finished ?51$/.test(row)));
    await workbench.badge().filter({ hasText: '2' }).waitFor();
    assert.match(await workbench.statusBarItem().innerText(), /2/);
  });

  it('looks right in every theme', async () => {
    for (const theme of ['light', 'high-contrast', 'high-contrast-light', 'dark'] satisfies Theme[]) {
      await session.setTheme(theme);
      await session.screenshot(`changes-${theme}`);
    }
  });

  it('offers every command of the palette', async () => {
    const titles = (await workbench.paletteTitles()).map((title) => title.replace(/^Local Data: /, ''));
    const missing = Object.values(COMMANDS).filter(({ palette, title }) => palette && !titles.includes(title));
    assert.deepEqual(missing, []);
  });

  it('offers on a failed change what repairs it, and on a finished one what looks at it or undoes it', async () => {
    const failed = await workbench.contextMenu(workbench.row(CHECK_FAILURE));
    for (const title of [
      'Retry',
      'Edit & Retry',
      'Discard…',
      'Show Change',
      'Open Entity',
      'Copy Error',
      'Copy as JSON',
    ]) {
      assert.ok(failed.includes(title), `${title} in ${failed.join(', ')}`);
    }
    assert.ok(!failed.includes('Restore'));
    await session.screenshot('context-menu');
    await session.page.keyboard.press('Escape');
    await workbench.row('Finished').click();
    const finished = await workbench.contextMenu(workbench.row('Insert Task task-040'));
    assert.deepEqual(
      finished.filter((title) => ['Retry', 'Edit & Retry', 'Discard…', 'Restore', 'Copy Error'].includes(title)),
      [],
    );
    assert.ok(finished.includes('Undo Change'), finished.join(', '));
    assert.ok(!failed.includes('Undo Change'));
    await session.page.keyboard.press('Escape');
    await workbench.row('Finished').click();
  });

  it('shows an update as the entity before and after it', async () => {
    await workbench.row(CHECK_FAILURE).click();
    await workbench.tab(/Task task-007 \(without ↔ with change/).waitFor();
    await session.page
      .locator('.monaco-diff-editor .view-lines')
      .filter({ hasText: '"priority": 9' })
      .first()
      .waitFor();
    await session.screenshot('show-change');
  });

  it('discards a change after saying what that means, and restores it', async () => {
    await workbench.chooseFromMenu(workbench.row(FOREIGN_KEY_FAILURE), 'Discard…');
    await workbench.dialog().getByText('Discard the insert of Task task-041?').waitFor();
    await session.screenshot('discard');
    await workbench.answer('Discard');
    await workbench.row('Finished').click();
    const discarded = workbench.row(/Insert Task task-041.*discarded/s);
    await discarded.waitFor();
    await workbench.badge().filter({ hasText: '1' }).waitFor();
    await workbench.chooseFromMenu(discarded, 'Restore');
    await workbench.row(/Insert Task task-041.*no Project/s).waitFor();
    await workbench.row('Finished').click();
  });

  it('repairs a failed change by Edit & Retry, and what it blocked goes on by itself', async () => {
    await workbench.chooseFromMenu(workbench.row(CHECK_FAILURE), 'Edit & Retry');
    await session.page.locator('.view-lines').filter({ hasText: '"$schema"' }).waitFor();
    await session.screenshot('edit-and-retry');
    await replaceLastDigit(workbench, '4');
    await session.page.keyboard.press('ControlOrMeta+s');
    await workbench.row(CHECK_FAILURE).waitFor({ state: 'detached' });
    await workbench.row(BLOCKED).waitFor({ state: 'detached' });
    await workbench.tab('Task task-007.json').waitFor({ state: 'detached' });
    await workbench.badge().filter({ hasText: '1' }).waitFor();
  });

  it('can be used by keyboard alone', async () => {
    const { keyboard } = session.page;
    await workbench.runCommand('Focus on Changes View');
    await session.page.locator('.pane-body .monaco-list:focus').waitFor();
    await keyboard.press('Home');
    await keyboard.press('ArrowDown');
    await keyboard.press('Enter');
    await workbench.tab('Task task-041').waitFor();
    await keyboard.press('F2');
    await workbench.tab('Task task-041.json').nth(1).waitFor();
    await session.page.locator('.view-lines').filter({ hasText: 'web-site' }).waitFor();
    await keyboard.press('ControlOrMeta+f');
    await keyboard.type('web-site');
    await keyboard.press('Escape');
    await keyboard.type('website');
    await keyboard.press('ControlOrMeta+s');
    await workbench.row(/Insert Task task-041.*no Project/s).waitFor({ state: 'detached' });
  });
});

/** The last value of the payload ends its next to last line. */
async function replaceLastDigit({ page }: Workbench, digit: string): Promise<void> {
  await page.locator('.editor-instance .view-lines').last().click();
  for (const key of ['ControlOrMeta+End', 'ArrowUp', 'ArrowUp', 'End', 'Backspace']) await page.keyboard.press(key);
  await page.keyboard.type(digit);
}
