// In real VS Code, driven by a browser: how long the Entities panel keeps its thread while 10,000 changes go through and
// it shows their entity type.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FrameLocator, JSHandle } from 'playwright-core';
import { builtVsix } from '../../scripts/built-vsix.ts';
import { vscodeFolder } from '../../scripts/vscode-cache.ts';
import { VscodeSession } from '../ui/support/vscode-session.ts';
import type { Workbench } from '../ui/workbench.ts';
import type { Report } from './report.ts';

const CHANGES = 10_000;

interface Noted {
  longestGap: number;
  /** Of the panel's page by the browser's word; VS Code's window shares the thread, and some tasks it cannot tell apart. */
  own: number[];
  tasks: number[];
  goesOn: boolean;
}

export async function measurePanel(report: Report): Promise<void> {
  await builtVsix();
  await vscodeFolder();
  await using session = await VscodeSession.start();
  const workbench = await session.open();
  const panel = await showNoNotes(workbench);
  writeFileSync(join(session.workspace, 'notes.jsonl'), manyNotes());
  await workbench.runCommand('Import…');
  await workbench.page.locator('.quick-input-widget:visible').filter({ hasText: 'Import into Local Data' }).waitFor();
  await workbench.pick('notes.jsonl');
  await workbench.page.locator('.quick-input-widget:visible').filter({ hasText: 'Import notes.jsonl' }).waitFor();
  const noted = await noteFrames(panel);
  await workbench.pick('Note');
  await panel.locator(`[role="grid"][aria-rowcount="${CHANGES + 1}"]`).waitFor({ timeout: 120_000 });
  await panel.getByRole('row').filter({ hasText: 'n-00000' }).waitFor();
  const { longestGap, own, tasks } = await noted.evaluate((all) => ({ ...all, goesOn: (all.goesOn = false) }));
  report.add('panel10k.longest_own_task_ms', Math.max(0, ...own));
  report.add('panel10k.longest_task_ms', Math.max(0, ...tasks));
  report.add('panel10k.longest_frame_gap_ms', longestGap);
  report.addSamples('panel10k.own_task_ms', 'ms', own);
  report.addSamples('panel10k.task_ms', 'ms', tasks);
}

async function showNoNotes(workbench: Workbench): Promise<FrameLocator> {
  await workbench.openChangesView();
  await workbench.runCommand('Create Database');
  await workbench.page.getByText('No changes yet').waitFor({ timeout: 120_000 });
  await workbench.runCommand('Open Entities');
  await workbench.tab('Entities').waitFor();
  const panel = await workbench.panel();
  await panel.getByRole('button', { name: 'Register Entity Type…' }).click();
  await workbench.pick('JSON documents');
  await workbench.fillInput('Name of the new entity type', 'Note');
  await panel.getByText('There is no Note yet.').waitFor();
  return panel;
}

function manyNotes(): string {
  return Array.from({ length: CHANGES }, (_, n) => {
    return JSON.stringify({ id: `n-${String(n).padStart(5, '0')}`, text: `Note ${n}`, rank: n % 7 });
  }).join('\n');
}

/** Tasks above 50 ms as the browser reports them, and the longest time between two frames, which other processes make too. */
function noteFrames(panel: FrameLocator): Promise<JSHandle<Noted>> {
  return panel.locator('body').evaluateHandle(() => {
    const noted: Noted = { longestGap: 0, own: [], tasks: [], goesOn: true };
    const observer = new PerformanceObserver((list) => {
      for (const { name, duration } of list.getEntries()) {
        noted.tasks.push(duration);
        if (name === 'self') noted.own.push(duration);
      }
    });
    observer.observe({ type: 'longtask' });
    let last = performance.now();
    const frame = (now: number): void => {
      noted.longestGap = Math.max(noted.longestGap, now - last);
      last = now;
      if (noted.goesOn) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    return noted;
  });
}
