// The Entities panel where there is nothing to show or something goes wrong: each state says what it is and offers the way
// on; and where very much happens at once, it shows all of it.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FrameLocator, Locator } from 'playwright-core';
import { axeFindings } from './support/axe.ts';
import { endEngineThread } from './support/end-engine-thread.ts';
import { VscodeSession } from './support/vscode-session.ts';
import type { Workbench } from './workbench.ts';

const MANY = 10_000;

describe('the Entities panel where there is nothing to show, or trouble', () => {
  let session: VscodeSession;
  let workbench: Workbench;
  let panel: FrameLocator;

  before(async () => {
    session = await VscodeSession.start();
    workbench = await session.open();
    await workbench.openChangesView();
  });

  after(() => session[Symbol.asyncDispose]());

  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await session.screenshot(`failed: ${this.currentTest.title}`);
  });

  const heading = (name: string): Locator => panel.getByRole('heading', { name });
  const row = (text: string): Locator => panel.getByRole('row').filter({ hasText: text });
  const details = (entityId: string): Locator => panel.getByRole('region', { name: `Task ${entityId}` });

  it('says that there are no entity types yet, and offers three ways to have some', async () => {
    await workbench.runCommand('Create Database');
    await session.page.getByText('No changes yet.').waitFor();
    await workbench.runCommand('Open Entities');
    await workbench.tab('Entities').waitFor();
    panel = await workbench.panel();
    await heading('No entity types yet').waitFor();
    await session.screenshot('panel-no-types');
    assert.deepEqual(await axeFindings(panel), []);
    await panel.getByRole('button', { name: 'Create Sample Data' }).waitFor();
    await panel.getByRole('button', { name: 'Import…' }).waitFor();
  });

  it('says that a type has no entities yet, and offers to make or import some', async () => {
    await panel.getByRole('button', { name: 'Register Entity Type…' }).click();
    await workbench.pick('JSON documents');
    await workbench.fillInput('Name of the new entity type', 'Note');
    await panel.getByText('There is no Note yet.').waitFor();
    await panel.getByRole('button', { name: 'Import…' }).last().waitFor();
    await session.screenshot('panel-no-entities');
    assert.deepEqual(await axeFindings(panel), []);
    await panel.getByRole('button', { name: 'New Note…' }).last().click();
    await workbench.input().waitFor();
    await session.page.keyboard.press('Escape');
  });

  it('says that nothing matches the filter, and clears it', async () => {
    await workbench.runCommand('Create Sample Data');
    await panel.getByRole('tab', { name: /Task/ }).click();
    await row('task-001').waitFor();
    await panel.getByRole('searchbox').fill('no such word');
    await panel.getByText('No Task contains “no such word”.').waitFor();
    await session.screenshot('panel-no-match');
    assert.deepEqual(await axeFindings(panel), []);
    await panel.getByRole('button', { name: 'Clear Filter' }).last().click();
    await row('task-001').waitFor();
    assert.equal(await panel.getByRole('searchbox').inputValue(), '');
  });

  it('keeps filter, selection and draft when the engine’s thread dies, and shows live rows of the next', async () => {
    await panel.getByRole('searchbox').fill('navigation');
    await panel.getByRole('status').filter({ hasText: ' of ' }).waitFor();
    await row('task-001').click();
    const title = details('task-001').getByRole('textbox', { name: 'title' });
    await title.fill('Draw the navigation again');
    await endEngineThread(session.home);
    await details('task-001').getByRole('button', { name: 'Save' }).click();
    await details('task-001').getByRole('button', { name: 'Save' }).waitFor({ state: 'detached' });
    await row('Draw the navigation again').and(panel.locator('[aria-selected="true"]')).waitFor();
    assert.equal(await panel.getByRole('searchbox').inputValue(), 'navigation');
    await panel.getByRole('searchbox').fill('');
    await row('task-002').waitFor();
  });

  it('says that it cannot be shown when it fails, keeps what was typed, and begins anew', async () => {
    const title = details('task-001').getByRole('textbox', { name: 'title' });
    await title.fill('typed before it failed');
    await panel.locator('body').evaluate(() => {
      const types = [{ info: {} }, { info: {} }];
      const snapshot = { counts: {}, newest: [], entityTypes: types, processor: 'idle' };
      window.postMessage(
        { kind: 'state', state: { kind: 'open', snapshot, pageSize: 10, place: '', kept: null } },
        '*',
      );
    });
    await heading('The panel could not be shown').waitFor();
    await session.screenshot('panel-crashed');
    assert.deepEqual(await axeFindings(panel), []);
    await panel.getByRole('button', { name: 'Show Log' }).waitFor();
    await panel.getByRole('button', { name: 'Reload' }).click();
    await row('task-001').waitFor();
    assert.equal(await title.inputValue(), 'typed before it failed');
  });

  it(`follows ${MANY.toLocaleString('en')} changes to the last`, async () => {
    const lines = Array.from({ length: MANY }, (_, n) => {
      return JSON.stringify({ id: `n-${String(n).padStart(5, '0')}`, text: `Note ${n}`, rank: n % 7 });
    });
    writeFileSync(join(session.workspace, 'notes.jsonl'), lines.join('\n'));
    await panel.getByRole('tab', { name: /Note/ }).click();
    await workbench.runCommand('Import…');
    await workbench.page.locator('.quick-input-widget:visible').filter({ hasText: 'Import into Local Data' }).waitFor();
    await workbench.pick('notes.jsonl');
    await workbench.page.locator('.quick-input-widget:visible').filter({ hasText: 'Import notes.jsonl' }).waitFor();
    await workbench.pick('Note');
    await panel.getByRole('tab', { name: `Note ${MANY.toLocaleString('en')}` }).waitFor({ timeout: 60_000 });
    await panel.locator(`[role="grid"][aria-rowcount="${MANY + 1}"]`).waitFor();
    await row('n-00000').click();
    await session.page.keyboard.press('End');
    await session.page.keyboard.press('Enter');
    await row('n-09999').and(panel.locator('[aria-selected="true"]')).waitFor();
    // The fields of documents are known from their rows: those seen stay, also far from where they were seen.
    await row('n-09999').filter({ hasText: 'Note 9999' }).waitFor();
    await panel.getByRole('columnheader', { name: 'rank' }).waitFor();
  });

  it('says that there is no database any more, and shows nothing of it over a new one', async () => {
    await panel.getByRole('tab', { name: /Task/ }).click();
    await panel.getByRole('searchbox').fill('navigation');
    await panel.getByRole('status').filter({ hasText: ' of ' }).waitFor();
    await workbench.runCommand('Delete All Local Data…');
    await workbench.fillInput('Type workspace to confirm', 'workspace');
    await heading('No database yet').waitFor();
    await session.screenshot('panel-no-database');
    assert.deepEqual(await axeFindings(panel), []);
    await panel.getByRole('button', { name: 'Create Database' }).click();
    await heading('No entity types yet').waitFor();
    await panel.getByRole('button', { name: 'Create Sample Data' }).click();
    await panel.getByRole('tab', { name: /Task/ }).click();
    await row('task-002').waitFor();
    assert.equal(await panel.getByRole('searchbox').inputValue(), '');
  });
});
