// In real VS Code, driven by a browser: what activation costs, and how long the Changes view takes to show a backlog of
// 100,000 pending changes, from the click on its icon until its rows are there.
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { builtVsix } from '../../scripts/built-vsix.ts';
import { vscodeFolder } from '../../scripts/vscode-cache.ts';
import { VscodeSession } from '../ui/support/vscode-session.ts';
import type { Workbench } from '../ui/workbench.ts';
import { openBuilt } from './built-engine.ts';
import { median, pause, timed } from './measure.ts';
import type { Report } from './report.ts';
import { task } from './sample-tasks.ts';

const PENDING = 100_000;
const RECORD_AT_ONCE = 1_000;
const ROUNDS = 3;
/** VS Code takes a click on an icon of the activity bar within 300 ms of the last for a slip and ignores it. */
const DOUBLE_CLICK_MS = 500;

export async function measureVscode(report: Report): Promise<void> {
  await builtVsix();
  await vscodeFolder();
  await using session = await VscodeSession.start({ settings: { 'localData.processing.pausedAtStart': true } });
  await createDatabase(await session.open());
  await session.closeBrowser();
  await session.server.kill();
  await fill(session.home);
  const activations: number[] = [];
  const opens: number[] = [];
  const again: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await session.restart();
    const workbench = await session.open();
    await workbench.statusBarItem().filter({ hasText: /\d/ }).waitFor({ timeout: 120_000 });
    await pause(2_000);
    opens.push(await timeOfOpening(workbench));
    for (let visit = 0; visit < 3; visit++) again.push(await timeOfOpening(workbench));
    activations.push(await activationMs(workbench));
    console.error(`  activation ${activations.at(-1)} ms, tree ${opens.at(-1)} ms`);
  }
  report.add('activation.own_ms', median(activations));
  report.addSamples('activation.own_ms', 'ms', activations);
  report.add('tree100k.open_ms', median(opens));
  report.addSamples('tree100k.open_ms', 'ms', opens);
  report.add('tree100k.open_again_ms', median(again));
  report.addSamples('tree100k.open_again_ms', 'ms', again);
}

async function createDatabase(workbench: Workbench): Promise<void> {
  await workbench.openChangesView();
  await workbench.runCommand('Create Database');
  await workbench.page.getByText('No changes yet').waitFor({ timeout: 120_000 });
}

/** With VS Code closed, through the engine alone. */
async function fill(home: string): Promise<void> {
  const [version] = globSync(join(home, '**/vibestack.local-data/databases/*/**/PG_VERSION')).toSorted(
    (a, b) => a.length - b.length,
  );
  if (version === undefined) throw new Error(`VS Code made no database in ${home}.`);
  const data = await openBuilt({ dataDir: join(version, '..'), startProcessor: false });
  try {
    await data.registerEntityType({ entityType: 'Note' });
    for (let start = 0; start < PENDING; start += RECORD_AT_ONCE) {
      const changes = Array.from({ length: RECORD_AT_ONCE }, (_, index) => {
        const entityId = `note-${start + index}`;
        return { entityType: 'Note', entityId, operation: 'insert', data: task(entityId) } as const;
      });
      await data.recordChanges(changes);
    }
  } finally {
    await data.close();
  }
}

/** From another view to ours: the click, then the rows of the group of pending changes. */
async function timeOfOpening(workbench: Workbench): Promise<number> {
  const { page } = workbench;
  const row = workbench.row(/note-\d/).first();
  const icon = page.locator('.activitybar .action-item').filter({ has: page.locator('[aria-label^="Local Data"]') });
  await showExplorer(workbench);
  await row.waitFor({ state: 'hidden' });
  await pause(DOUBLE_CLICK_MS);
  return timed(async () => {
    await icon.click();
    await row.waitFor();
  });
}

async function showExplorer({ page }: Workbench): Promise<void> {
  await page.keyboard.press('F1');
  const input = page.locator('.quick-input-widget input');
  await input.waitFor();
  await input.fill('>View: Show Explorer');
  await page.locator('.quick-input-list .monaco-list-row').filter({ hasText: 'Show Explorer' }).first().waitFor();
  await page.keyboard.press('Enter');
  await page.locator('.explorer-folders-view, .explorer-viewlet').first().waitFor();
}

async function activationMs(workbench: Workbench): Promise<number> {
  await workbench.runCommand('Copy Diagnostics');
  await workbench.page.getByText('Diagnostics copied').waitFor();
  const text = await workbench.page.evaluate(() => navigator.clipboard.readText());
  const { activationMs: measured }: { activationMs: number } = JSON.parse(text);
  return measured;
}
