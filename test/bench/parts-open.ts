// Opening: from the template, by initdb, again; time, memory, and what the main thread notices when a worker opens.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { median } from './measure.ts';
import type { Report } from './report.ts';

const run = promisify(execFile);
const ROUNDS = 5;

interface Opened {
  readonly ms: number;
  readonly rssMb: number;
  readonly openedFrom: string;
}

export async function measureOpening(report: Report, folder: string): Promise<void> {
  const fresh: Opened[] = [];
  const again: Opened[] = [];
  const stalls: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const dataDir = join(folder, `open-${round}`, 'data');
    fresh.push(await open(dataDir, 'template'));
    again.push(await open(dataDir, 'existing'));
    stalls.push(await stallOf(join(folder, `stall-${round}`, 'data')));
  }
  const initdb = [await open(join(folder, 'initdb', 'data'), 'initdb')];
  for (const [name, opened] of Object.entries({ template: fresh, reopen: again, initdb })) {
    const times = opened.map(({ ms }) => ms);
    const memory = opened.map(({ rssMb }) => rssMb);
    report.add(`open.${name}_ms`, median(times));
    report.add(`open.${name}_rss_mb`, median(memory));
    report.addSamples(`open.${name}_ms`, 'ms', times);
    report.addSamples(`open.${name}_rss_mb`, 'MB', memory);
  }
  report.add('open.rss_mb', Math.max(median(fresh.map(({ rssMb }) => rssMb)), median(again.map(({ rssMb }) => rssMb))));
  report.add('open.stall_ms', median(stalls));
  report.addSamples('open.stall_ms', 'ms', stalls);
}

async function open(dataDir: string, expected: string): Promise<Opened> {
  const { stdout } = await run(process.execPath, [program('open-program.ts'), dataDir, expected]);
  const opened: Opened = JSON.parse(stdout);
  if (opened.openedFrom !== expected)
    throw new Error(`Opened from ${opened.openedFrom} where ${expected} was to be measured.`);
  return opened;
}

async function stallOf(dataDir: string): Promise<number> {
  const { stdout } = await run(process.execPath, [program('open-worker-program.ts'), dataDir]);
  const { stallMs }: { stallMs: number } = JSON.parse(stdout);
  return stallMs;
}

function program(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
