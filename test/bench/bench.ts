// Measures what the project promises, on the built engine, and prints it beside what was asked. Options: `--json FILE`,
// `--markdown FILE`, `--only PART[,PART]` (open, writes, drain, seen, import, sync, load, vscode, panel), `--with FILE` to add the figures of
// an earlier run. Fails when a part cannot be measured, not when a figure is missed: that the table says.
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { performancePage } from './performance-page.ts';
import { Report, describeMachine, renderTable, writeJson } from './report.ts';

type Part = (report: Report, folder: string) => Promise<void>;

/** Loaded one by one, so that a part carries no weight of another. */
const PARTS: Readonly<Record<string, () => Promise<Part>>> = {
  open: async () => (await import('./parts-open.ts')).measureOpening,
  writes: async () => (await import('./parts-write.ts')).measureWrites,
  drain: async () => (await import('./parts-drain.ts')).measureDrains,
  seen: async () => (await import('./parts-seen.ts')).measureSeen,
  import: async () => (await import('./parts-import.ts')).measureImport,
  vscode: async () => (await import('./parts-vscode.ts')).measureVscode,
  sync: async () => (await import('./parts-sync.ts')).measureSync,
  load: async () => (await import('./parts-sync-server.ts')).measureSyncServer,
  panel: async () => (await import('./parts-panel.ts')).measurePanel,
};

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    markdown: { type: 'string' },
    only: { type: 'string' },
    with: { type: 'string', multiple: true },
  },
});
const wanted = values.only?.split(',').filter((name) => name !== '') ?? Object.keys(PARTS);
const report = new Report();
const folder = await mkdtemp(join(tmpdir(), 'local-data-bench-'));
try {
  for (const name of wanted) await runPart(name);
} finally {
  await rm(folder, { recursive: true, force: true });
}
for (const file of values.with ?? []) report.include(JSON.parse(readFileSync(file, 'utf8')));
console.log(`\n${renderTable(report)}\n\n${JSON.stringify(describeMachine())}`);
if (values.json !== undefined) writeJson(values.json, report);
if (values.markdown !== undefined) writeFileSync(values.markdown, performancePage(report, values.with !== undefined));

async function runPart(name: string): Promise<void> {
  const load = PARTS[name];
  if (load === undefined) throw new Error(`There is no part "${name}". Parts: ${Object.keys(PARTS).join(', ')}.`);
  console.error(`measuring ${name} …`);
  const part = await load();
  const start = performance.now();
  await part(report, folder);
  console.error(`  ${((performance.now() - start) / 1_000).toFixed(1)} s`);
}
