// What the walk does in VS Code, step by step: resolve a conflict with a colleague, work offline, create, import, break, find
// why, retry, edit, discard, restore, and go online again. Each step
// ends when the screen shows its outcome, and what the screen said in the end is kept for the comparison with the data.
import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import type { Workbench } from '../ui/workbench.ts';
import type { WalkReport } from './report.ts';

export interface ScreenFacts {
  /** The groups of the Changes view with their counts. */
  readonly groups: Readonly<Record<string, number>>;
  /** Failed and blocked changes, as `insert Task task-041`. */
  readonly waiting: readonly string[];
  /** The entity types of the panel with their counts. */
  readonly types: Readonly<Record<string, number>>;
  /** A value that the panel showed of an entity. */
  readonly entity: {
    readonly entityType: string;
    readonly entityId: string;
    readonly field: string;
    readonly value: string;
  };
}

/** The colleague writes the priorities of all tasks but this one's. */
const BROKEN = /Update Task task-003/;
/** Both have written its title before they first met. */
const CONTESTED = /Insert Task task-003/;
const FOREIGN_KEY_FAILURE = /Insert Task task-041/;

export async function walkSteps(workbench: Workbench, report: WalkReport): Promise<ScreenFacts> {
  const { page } = workbench;
  await report.step('The first frame: the Changes view beside the Entities panel', () => firstFrame(workbench));
  await report.step('A colleague wrote the same task: the conflict and the server', () => seeConflict(workbench));
  await report.step('Look at both sides, and keep mine', () => keepMine(workbench));
  await report.step('Work offline', () => workOffline(workbench));
  // From here on nobody else writes, and what is written here waits for the server.
  const finished = await finishedNow(workbench);
  await report.step('Create a user', () => createUser(workbench));
  await report.step('Import places.csv into a new entity type', () => importPlaces(workbench));
  await report.step('See what was imported', () => seePlaces(workbench));
  await report.step('Break one: a priority that no task may have', () => breakTask(workbench, 9));
  await report.step('Find why: the tooltip', () => hoverBroken(workbench));
  await report.step('Find why: the entity before and after', () => showBroken(workbench));
  await report.step('Retry: it fails again, for nothing has changed', () => retryBroken(workbench));
  await report.step('Edit: the payload as JSON', () => openEdit(workbench));
  await report.step('Save: it goes through', () => saveEdit(workbench, 10));
  await report.step('Discard: what that would undo', () => askDiscard(workbench));
  await report.step('Discard it', () => discard(workbench, finished + 1));
  await report.step('Restore it', () => restore(workbench, finished));
  await report.step('Go online: what waited is sent', () => goOnline(workbench));
  await report.step('The receipt of what was sent', () => seeReceipt(workbench));
  await report.step('Verify against the server, and work offline again', () => verify(workbench));
  await report.step('The panel shows the repaired task', () => seeRepaired(workbench));
  const facts = await readScreen(workbench);
  assert.deepEqual(await page.locator('.notification-toast').allInnerTexts(), [], 'nothing was left in the way');
  return facts;
}

/** The counts a window shows after a new start are those it showed before. */
export function expectSameGroups(facts: ScreenFacts, rows: readonly string[]): void {
  assert.deepEqual(groupsOf(rows), facts.groups);
}

async function firstFrame(workbench: Workbench): Promise<Page> {
  await workbench.row('Failed').waitFor();
  await workbench.row('Finished').waitFor();
  await workbench.tab('Entities').waitFor();
  await (await workbench.panel()).getByRole('row', { name: /task-001/ }).waitFor();
  assert.equal(await workbench.page.locator('.notification-toast').count(), 0);
  return workbench.page;
}

async function seeConflict(workbench: Workbench): Promise<Page> {
  await workbench.row(/^\s*Conflicts\s*1\s*$/).waitFor({ timeout: 60_000 });
  await workbench.row(CONTESTED).waitFor();
  await server(workbench, 'In sync');
  return workbench.page;
}

async function keepMine(workbench: Workbench): Promise<Page> {
  await workbench.chooseFromMenu(workbench.row(CONTESTED), 'Resolve Conflict…');
  await workbench.page.locator('.monaco-diff-editor').waitFor();
  await workbench.pick('Keep Mine');
  await workbench.row('Conflicts').waitFor({ state: 'hidden' });
  await server(workbench, 'In sync');
  await workbench.runCommand('Open Entities');
  await workbench.panel();
  return workbench.page;
}

export async function workOffline(workbench: Workbench): Promise<Page> {
  await workbench.runCommand('Work Offline');
  await server(workbench, 'Working offline');
  return workbench.page;
}

async function goOnline(workbench: Workbench): Promise<Page> {
  await workbench.runCommand('Go Online');
  await server(workbench, 'In sync');
  return workbench.page;
}

async function seeReceipt(workbench: Workbench): Promise<Page> {
  // What has arrived moves from one group to the other, and a list that moves is not clicked.
  await workbench.row('Waiting for the server').waitFor({ state: 'detached' });
  await workbench.row('Finished').click();
  const sent = workbench.row(/Insert Place.*synced/s).first();
  await sent.waitFor();
  await workbench.chooseFromMenu(sent, 'Show Receipt');
  const steps = workbench.page.locator('.quick-input-list .monaco-list-row');
  await steps.filter({ hasText: /Accepted by the server.*version/s }).waitFor();
  return workbench.page;
}

async function verify(workbench: Workbench): Promise<Page> {
  await workbench.page.keyboard.press('Escape');
  await workbench.row('Finished').click();
  await workbench.runCommand('Verify Against Server');
  await workbench.notification(/are the same as the server’s/).waitFor();
  await workbench.runAnyCommand('Notifications: Clear All Notifications');
  return workOffline(workbench);
}

/** The status bar item that says how the server is. */
export async function server(workbench: Workbench, title: string): Promise<void> {
  await workbench
    .serverItem()
    .and(workbench.page.locator(`[aria-label*="${title}"]`))
    .waitFor({ timeout: 60_000 });
}

async function finishedNow(workbench: Workbench): Promise<number> {
  return groupsOf(await workbench.rows())['Finished'] ?? 0;
}

async function createUser(workbench: Workbench): Promise<Page> {
  await workbench.runCommand('Record Change…');
  await workbench.pick('User');
  await workbench.pick('insert');
  await workbench.fillInput('Id of the new User', 'apprentice');
  await workbench.fillInput('Payload of User', '{ "name": "Apprentice", "email": "apprentice@example.com" }');
  await expectCount(workbench, 'User', 7);
  await showType(workbench, 'User', /apprentice/);
  return workbench.page;
}

async function importPlaces(workbench: Workbench): Promise<Page> {
  await workbench.runCommand('Import…');
  await workbench.page.locator('.quick-input-widget:visible').filter({ hasText: 'Import into Local Data' }).waitFor();
  await workbench.pick('places.csv');
  await workbench.pick('New document type');
  await workbench.fillInput('Name of the new entity type', 'Place');
  await workbench.fillInput('Field that identifies a row', 'id');
  await expectCount(workbench, 'Place', 8);
  return workbench.page;
}

async function seePlaces(workbench: Workbench): Promise<Page> {
  await showType(workbench, 'Place', /tokyo/);
  return workbench.page;
}

async function breakTask(workbench: Workbench, waiting: number): Promise<Page> {
  await workbench.runCommand('Record Change…');
  await workbench.pick('Task');
  await workbench.pick('update');
  await workbench.fillInput('Record Change', 'task-003');
  await workbench.fillInput('Payload of Task', '{ "priority": 8 }');
  await workbench.row(BROKEN).waitFor();
  await atRest(workbench, { Failed: 3, 'Waiting for the server': waiting });
  return workbench.page;
}

/** A row that is drawn anew under a resting pointer shows no tooltip: then a person moves away and back. */
async function hoverBroken(workbench: Workbench): Promise<Page> {
  const tooltip = workbench.page.locator('.monaco-hover:visible').filter({ hasText: 'priority' });
  for (let attempts = 1; ; attempts++) {
    await workbench.page.mouse.move(800, 600);
    await workbench.row(BROKEN).hover();
    const shown = tooltip.waitFor({ timeout: 5_000 });
    const isShown = await shown.then(
      () => true,
      (error: unknown) => {
        if (attempts === 5) throw error;
        return false;
      },
    );
    if (isShown) return workbench.page;
  }
}

async function showBroken(workbench: Workbench): Promise<Page> {
  await workbench.row(BROKEN).click();
  await workbench.page
    .locator('.monaco-diff-editor .view-lines')
    .filter({ hasText: '"priority": 8' })
    .first()
    .waitFor();
  return workbench.page;
}

async function retryBroken(workbench: Workbench): Promise<Page> {
  await workbench.chooseFromMenu(workbench.row(BROKEN), 'Retry');
  await workbench.page
    .locator('.statusbar-item')
    .filter({ hasText: /task-003 failed/ })
    .waitFor();
  return workbench.page;
}

async function openEdit(workbench: Workbench): Promise<Page> {
  await workbench.chooseFromMenu(workbench.row(BROKEN), 'Edit & Retry');
  await workbench.tab('Task task-003.json').waitFor();
  await workbench.page.locator('.view-line').filter({ hasText: '"priority": 8' }).last().waitFor();
  return workbench.page;
}

async function saveEdit(workbench: Workbench, waiting: number): Promise<Page> {
  const { keyboard } = workbench.page;
  await workbench.page
    .locator('.editor-instance:visible .view-line')
    .filter({ hasText: '"priority": 8' })
    .last()
    .click();
  await keyboard.press('End');
  await keyboard.press('Backspace');
  await keyboard.type('4');
  await keyboard.press('ControlOrMeta+s');
  await workbench.row(/Update Task task-003.*waits: offline/s).waitFor();
  await atRest(workbench, { Failed: 2, 'Waiting for the server': waiting });
  // The diff that was left open follows what has become of its change.
  await workbench.page
    .locator('.monaco-diff-editor .view-lines')
    .filter({ hasText: '"priority": 4' })
    .first()
    .waitFor();
  return workbench.page;
}

async function askDiscard(workbench: Workbench): Promise<Page> {
  await workbench.chooseFromMenu(workbench.row(FOREIGN_KEY_FAILURE), 'Discard…');
  await workbench.dialog().getByText('Discard the insert of Task task-041?').waitFor();
  return workbench.page;
}

async function discard(workbench: Workbench, finished: number): Promise<Page> {
  await workbench.answer('Discard');
  await workbench.row('Finished').click();
  await workbench.row(/Insert Task task-041.*discarded/s).waitFor();
  await atRest(workbench, { Failed: 1, Finished: finished });
  return workbench.page;
}

async function restore(workbench: Workbench, finished: number): Promise<Page> {
  await workbench.chooseFromMenu(workbench.row(/Insert Task task-041.*discarded/s), 'Restore');
  await workbench.row(/Insert Task task-041.*no Project/s).waitFor();
  await atRest(workbench, { Failed: 2, Finished: finished });
  await workbench.row('Finished').click();
  return workbench.page;
}

export async function seeRepaired(workbench: Workbench): Promise<Page> {
  await workbench.runCommand('Open Entities');
  const panel = await workbench.panel();
  await panel.getByRole('tab').filter({ hasText: /^Task/ }).click();
  await panel.getByRole('row', { name: /task-003/ }).click();
  await panel.getByRole('region', { name: 'Task task-003' }).getByLabel('priority').waitFor();
  return workbench.page;
}

export async function readScreen(workbench: Workbench): Promise<ScreenFacts> {
  const rows = (await workbench.rows()).map(oneLine);
  const panel = await workbench.panel();
  const priority = panel.getByRole('region', { name: 'Task task-003' }).getByLabel('priority');
  const buttons = await panel.getByRole('tab').allInnerTexts();
  const changes = rows
    .map((row) => /^(Insert|Update|Delete) (\S+) (task-\d{3})/.exec(row))
    .filter((match) => match !== null);
  return {
    groups: groupsOf(rows),
    waiting: changes.map(([, operation = '', type, id]) => `${operation.toLowerCase()} ${type} ${id}`),
    types: countsOf(buttons),
    entity: {
      entityType: 'Task',
      entityId: 'task-003',
      field: 'priority',
      value: await priority.inputValue(),
    },
  };
}

/** A list that still moves is not clicked: a person waits until it shows what came of the last step. */
async function atRest(workbench: Workbench, groups: Readonly<Record<string, number>>): Promise<void> {
  for (const [group, count] of Object.entries(groups))
    await workbench.row(new RegExp(`^\\s*${group}\\s*${count}\\s*$`)).waitFor();
  await workbench.row(/^\s*(Pending|Retrying)\s*\d+\s*$/).waitFor({ state: 'detached' });
}

async function showType(workbench: Workbench, entityType: string, row: RegExp): Promise<void> {
  const panel = await workbench.panel();
  const tab = panel.getByRole('tab').filter({ hasText: new RegExp(`^${entityType}`) });
  await tab.click();
  await panel.getByRole('row', { name: row }).waitFor();
}

async function expectCount(workbench: Workbench, entityType: string, count: number): Promise<void> {
  const panel = await workbench.panel();
  const shown = new RegExp(`^${entityType}\\s*${count}$`);
  await panel.getByRole('tab').filter({ hasText: shown }).waitFor();
}

function groupsOf(rows: readonly string[]): Record<string, number> {
  return countsOf(
    rows.filter((row) =>
      /^(Failed|Blocked|Retrying|Pending|Waiting for the server|Finished)\s*[\d,]+$/.test(oneLine(row)),
    ),
  );
}

function countsOf(texts: readonly string[]): Record<string, number> {
  const pairs = texts.map((text) => /^(\D+?)\s*([\d,]+)$/.exec(oneLine(text)));
  return Object.fromEntries(pairs.map((match) => [match?.[1] ?? '', Number(match?.[2]?.replaceAll(',', ''))]));
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}
