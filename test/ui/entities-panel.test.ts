// The Entities panel as a person meets it: in VS Code, over the demo's data, by mouse and by keyboard alone, and looked
// over by axe in four themes.
import assert from 'node:assert/strict';
import { cpSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FrameLocator, Locator } from 'playwright-core';
import { projectRoot } from '../../scripts/project.ts';
import { axeFindings } from './support/axe.ts';
import { type Theme, VscodeSession } from './support/vscode-session.ts';
import type { Workbench } from './workbench.ts';

describe('the Entities panel', () => {
  let session: VscodeSession;
  let workbench: Workbench;
  let panel: FrameLocator;

  before(async () => {
    session = await VscodeSession.start();
    const folder = join(session.home, 'demo');
    cpSync(join(projectRoot, 'demo'), folder, { recursive: true });
    workbench = await session.open(folder);
    await workbench.tab('Entities').waitFor({ timeout: 60_000 });
    panel = await workbench.panel();
    await row('task-001').waitFor();
  });

  after(() => session[Symbol.asyncDispose]());

  const row = (entityId: string): Locator => panel.getByRole('row').filter({ hasText: entityId });
  const details = (entityId: string): Locator => panel.getByRole('region', { name: `Task ${entityId}` });

  it('shows the entity types with their counts and the rows of one, marked where a change is in the way', async () => {
    await panel.getByRole('tab', { name: /Task.*40/ }).waitFor();
    await row('task-007')
      .getByRole('img', { name: /failed/i })
      .waitFor();
    assert.equal(await panel.getByRole('grid').getAttribute('aria-rowcount'), '41');
  });

  it('is free of what axe finds, in four themes', async () => {
    await row('task-007').click();
    await details('task-007').waitFor();
    for (const theme of ['light', 'high-contrast', 'high-contrast-light', 'dark'] as const) {
      await chooseTheme(theme);
      await panel.locator(`body[data-vscode-theme-kind="${KINDS[theme]}"]`).waitFor();
      await session.screenshot(`panel-${theme}`);
      assert.deepEqual(await axeFindings(panel), [], theme);
    }
  });

  it('fits a narrow window, where the details take the place of the table, and a wide one', async () => {
    await session.page.setViewportSize({ width: 860, height: 800 });
    await panel.getByRole('grid').waitFor({ state: 'hidden' });
    await session.screenshot('panel-narrow');
    assert.deepEqual(await axeFindings(panel), []);
    await panel.getByRole('button', { name: 'Close details' }).click();
    await panel.getByRole('searchbox').fill('task-00');
    await panel.locator('[role="grid"][aria-rowcount="10"]').waitFor();
    await row('task-007')
      .getByRole('img', { name: /failed/i })
      .waitFor();
    await session.screenshot('panel-narrow-table');
    assert.deepEqual(await axeFindings(panel), []);
    await panel.getByRole('button', { name: 'Clear Filter' }).click();
    await row('task-007').click();
    await session.page.setViewportSize({ width: 1960, height: 900 });
    await panel.getByRole('grid').waitFor();
    await session.screenshot('panel-wide');
    assert.deepEqual(await axeFindings(panel), []);
    await session.page.setViewportSize({ width: 1280, height: 800 });
  });

  it('is used by keyboard alone: search, move, open the details and leave them', async () => {
    await panel.getByRole('grid').focus();
    await session.page.keyboard.press('/');
    await session.page.keyboard.type('navigation');
    await panel.locator('[role="grid"][aria-rowcount="2"]').waitFor();
    await session.page.keyboard.press('Control+a');
    await session.page.keyboard.press('Delete');
    await panel.locator('[role="grid"][aria-rowcount="41"]').waitFor();
    await panel.getByRole('grid').focus();
    await session.page.keyboard.press('End');
    await panel.locator('[role="row"][aria-rowindex="41"][aria-selected="true"]').waitFor();
    await session.page.keyboard.press('Home');
    await panel.locator('[role="row"][aria-rowindex="2"][aria-selected="true"]').waitFor();
    await session.page.keyboard.press('ArrowDown');
    await panel.locator('[role="row"][aria-rowindex="3"][aria-selected="true"]').waitFor();
    await session.page.keyboard.press('Enter');
    await details('task-002').waitFor();
    await session.page.keyboard.press('Escape');
    await details('task-002').waitFor({ state: 'detached' });
  });

  it('keeps filter, sort and selection while it is hidden, and when the window is loaded again', async () => {
    // Each step is seen before the next: a row that is about to move is no row to click.
    await panel.getByRole('searchbox').fill('restore');
    await panel.getByRole('status').filter({ hasText: ' of ' }).waitFor();
    await panel.getByRole('columnheader', { name: 'title' }).click();
    await panel.locator('[role="row"][aria-rowindex="3"]').filter({ hasText: 'Restore without' }).waitFor();
    await row('Time the restore').click();
    await row('Time the restore').and(panel.locator('[aria-selected="true"]')).waitFor();
    await hideAndShow();
    await isAsLeft();
    await reload();
    await isAsLeft();
    await panel.getByRole('searchbox').fill('');
    await panel.locator('[role="grid"][aria-rowcount="41"]').waitFor();
  });

  it('keeps what was typed and where it was scrolled to while it is hidden, and when the window is loaded again at once', async () => {
    await row('task-003').click();
    const description = () => details('task-003').getByRole('textbox', { name: 'title' });
    await description().fill('Typed before the window was loaded again');
    await panel.getByRole('grid').hover();
    await session.page.mouse.wheel(0, 240);
    await isKept({ scrollTop: 240, draft: 'Typed before the window was loaded again' });
    for (const leave of [hideAndShow, reload]) {
      await leave();
      assert.equal(await description().inputValue(), 'Typed before the window was loaded again');
      assert.equal(await panel.getByRole('grid').evaluate((grid) => grid.scrollTop), 240);
      await row('task-012').waitFor();
    }
    await details('task-003').getByRole('button', { name: 'Revert' }).click();
    await panel.getByRole('grid').hover();
    await session.page.mouse.wheel(0, -500);
    await row('task-001').waitFor();
  });

  it('changes the width of a column by mouse and by keyboard, fits it to what it shows, and keeps it', async () => {
    const separator = () => panel.getByRole('separator', { name: 'Width of title' });
    const width = () => separator().getAttribute('aria-valuenow').then(Number);
    const shown = async () => {
      const heading = panel.getByRole('columnheader', { name: 'title' });
      const column = await heading.getAttribute('aria-colindex');
      const cell = row('task-002').locator(`[role="gridcell"][aria-colindex="${column}"]`);
      const boxes = await Promise.all([heading.boundingBox(), cell.boundingBox()]);
      return boxes.map((found) => Math.round(found?.width ?? 0));
    };
    const [before, box] = [await width(), await separator().boundingBox()];
    assert.ok(box);
    await session.page.mouse.move(box.x + 4, box.y + 10);
    await session.page.mouse.down();
    await session.page.mouse.move(box.x + 64, box.y + 10, { steps: 3 });
    await session.page.mouse.up();
    assert.equal(await width(), before + 60);
    assert.deepEqual(await shown(), [before + 60, before + 60]);
    await panel.getByRole('button', { name: 'title' }).focus();
    await session.page.keyboard.press('Tab');
    await session.page.keyboard.press('ArrowLeft');
    await session.page.keyboard.press('Shift+ArrowLeft');
    assert.equal(await width(), before + 12);
    await session.screenshot('panel-width-separator');
    assert.deepEqual(await axeFindings(panel), []);
    await separator().dblclick();
    const fitted = await width();
    const clipped = await panel.getByRole('columnheader', { name: 'title' }).evaluate((heading) => {
      const cells = [...document.querySelectorAll(`[role="gridcell"][aria-colindex="${heading.ariaColIndex}"]`)];
      return cells.filter((cell) => cell.scrollWidth > cell.clientWidth).length;
    });
    assert.deepEqual([clipped, await shown()], [0, [fitted, fitted]]);
    await hideAndShow();
    assert.equal(await width(), fitted);
  });

  it('reads as many entities at a time as the setting says, from when it is changed', async () => {
    const read = await panel.locator('body').evaluateHandle(() => {
      const { promise, resolve } = Promise.withResolvers<number>();
      window.addEventListener('message', ({ data }: MessageEvent<{ value?: { rows?: unknown[] } }>) => {
        // A read that was under way before brings as many as it was asked for, all 40.
        const count = data.value?.rows?.length;
        if (count !== undefined && count < 40) resolve(count);
      });
      return { promise };
    });
    mkdirSync(join(session.home, 'demo/.vscode'), { recursive: true });
    writeFileSync(join(session.home, 'demo/.vscode/settings.json'), '{ "localData.entities.pageSize": 20 }');
    assert.equal(await read.evaluate(({ promise }) => promise), 20);
    await panel.getByRole('grid').focus();
    await session.page.keyboard.press('End');
    await row('task-040').waitFor();
    await session.page.keyboard.press('Home');
    await row('task-001').waitFor();
  });

  it('edits fields: a draft outlives hiding, an error is told in place, and what is saved is seen in the row', async () => {
    await row('task-003').click();
    const priority = () => details('task-003').getByRole('textbox', { name: 'priority' });
    await priority().fill('9');
    await hideAndShow();
    await details('task-003').getByRole('button', { name: 'Save' }).click();
    await details('task-003').getByRole('alert').filter({ hasText: 'priority' }).waitFor();
    await session.screenshot('panel-refused');
    await priority().fill('5');
    await details('task-003').getByRole('button', { name: 'Save' }).click();
    await row('task-003').getByRole('gridcell', { name: '5', exact: true }).waitFor();
    await details('task-003').getByRole('button', { name: 'Save' }).waitFor({ state: 'detached' });
    assert.equal(await details('task-003').getByRole('alert').count(), 0);
  });

  it('undoes a change from the list of an entity’s changes, which stay in it', async () => {
    await row('task-002').click();
    const title = details('task-002').getByLabel('title', { exact: true });
    const before = await title.inputValue();
    await title.fill('To be undone');
    await details('task-002').getByRole('button', { name: 'Save' }).click();
    await row('task-002').getByText('To be undone').waitFor();
    const update = details('task-002').getByRole('listitem').filter({ hasText: 'update' }).first();
    await update.hover();
    await update.getByRole('button', { name: 'Undo Change' }).click();
    await row('task-002').getByText(before).waitFor();
    await session.screenshot('panel-undone');
    assert.equal(await title.inputValue(), before);
  });

  it('changes a row and takes its mark away when the failed change is repaired', async () => {
    await row('task-007').click();
    const failed = details('task-007').getByRole('listitem').filter({ hasText: 'failed' });
    await failed.getByRole('button', { name: 'Edit & Retry' }).click();
    await workbench.editorText().filter({ hasText: 'priority' }).waitFor();
    await workbench.editorText().click();
    for (const key of ['ControlOrMeta+End', 'ArrowUp', 'ArrowUp', 'End', 'Backspace', '4', 'ControlOrMeta+s']) {
      await session.page.keyboard.press(key);
    }
    await workbench.tab('Task task-007.json').waitFor({ state: 'detached' });
    await workbench.tab('Entities').click();
    panel = await workbench.panel();
    await row('task-007').getByRole('gridcell', { name: 'review', exact: true }).waitFor();
    await row('task-007')
      .getByRole('img', { name: /failed|blocked/i })
      .waitFor({ state: 'detached' });
    await session.screenshot('panel-repaired');
  });

  async function runAnyCommand(title: string): Promise<void> {
    await session.page.keyboard.press('F1');
    await session.page.locator('.quick-input-widget input').fill(`>${title}`);
    await session.page.locator('.quick-input-list .monaco-list-row').filter({ hasText: title }).first().click();
  }

  /** As a person does: from the list of themes. */
  async function chooseTheme(theme: Theme): Promise<void> {
    await runAnyCommand('Preferences: Color Theme');
    await workbench.input().fill(THEME_NAMES[theme]);
    await workbench.pick(THEME_NAMES[theme]);
  }

  async function hideAndShow(): Promise<void> {
    await runAnyCommand('File: New Untitled Text File');
    await workbench
      .tab(/^Untitled-/)
      .last()
      .waitFor();
    await workbench.tab('Entities').click();
    panel = await workbench.panel();
  }

  async function reload(): Promise<void> {
    workbench = await session.reload();
    await workbench.tab('Entities').waitFor({ timeout: 60_000 });
    panel = await workbench.panel();
  }

  /** Waits for what the panel's host has written beside the database, which happens within a tenth of a second. */
  async function isKept({ scrollTop, draft }: { readonly scrollTop: number; readonly draft: string }): Promise<void> {
    const databases = join(session.home, 'user/User/globalStorage/vibestack.local-data/databases');
    for (
      const signal = AbortSignal.timeout(10_000);
      ;
      await session.page.evaluate('new Promise(requestAnimationFrame)')
    ) {
      const [file] = globSync(join(databases, '*/entities-panel.json'));
      const text = file === undefined ? '' : readFileSync(file, 'utf8');
      if (text.includes(`"scrollTop":${scrollTop}`) && text.includes(draft)) return;
      signal.throwIfAborted();
    }
  }

  async function isAsLeft(): Promise<void> {
    await row('Time the restore').and(panel.locator('[aria-selected="true"]')).waitFor();
    assert.equal(await panel.getByRole('searchbox').inputValue(), 'restore');
    await panel.locator('[role="columnheader"][aria-sort="ascending"]').filter({ hasText: 'title' }).waitFor();
  }
});

const THEME_NAMES: Readonly<Record<Theme, string>> = {
  dark: 'Dark Modern',
  light: 'Light Modern',
  'high-contrast': 'Dark High Contrast',
  'high-contrast-light': 'Light High Contrast',
};

/** As VS Code names the kinds of themes to a webview. */
const KINDS: Readonly<Record<Theme, string>> = {
  dark: 'vscode-dark',
  light: 'vscode-light',
  'high-contrast': 'vscode-high-contrast',
  'high-contrast-light': 'vscode-high-contrast-light',
};
