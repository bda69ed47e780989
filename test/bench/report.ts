// What a run has measured, the figures that were asked for, and the table and file that show both.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg, platform, release, totalmem } from 'node:os';
import { REPOSITORY } from './built-engine.ts';
import type { Samples } from './measure.ts';

export class Report {
  readonly metrics: Record<string, number> = {};
  readonly samples: Record<string, Samples> = {};

  add(name: string, value: number): void {
    const rounded = Math.round(value * 10_000) / 10_000;
    this.metrics[name] = rounded;
    console.error(`  ${name} ${rounded}`);
  }

  addSamples(name: string, unit: Samples['unit'], values: readonly number[]): void {
    this.samples[name] = { unit, values: values.map((value) => Math.round(value * 1_000) / 1_000) };
  }

  /** Takes over the figures of an earlier run, kept with `--json`; those of this run stay. */
  include(earlier: Pick<Report, 'metrics' | 'samples'>): void {
    for (const [name, value] of Object.entries(earlier.metrics)) this.metrics[name] ??= value;
    for (const [name, samples] of Object.entries(earlier.samples)) this.samples[name] ??= samples;
  }

  /** A metric of this report; fails when the part that measures it did not run. */
  metric(name: string): number | undefined {
    return this.metrics[name];
  }
}

interface Target {
  readonly what: string;
  readonly asked: string;
  readonly measured: (metrics: Readonly<Record<string, number>>) => number | undefined;
  readonly unit: string;
  readonly limit: (metrics: Readonly<Record<string, number>>) => number | undefined;
  readonly atLeast?: true;
}

const of =
  (name: string) =>
  (metrics: Readonly<Record<string, number>>): number | undefined =>
    metrics[name];

/** A limit made of another figure of the same run. */
const from =
  (name: string, limit: (value: number) => number) =>
  (metrics: Readonly<Record<string, number>>): number | undefined => {
    const value = metrics[name];
    return value === undefined ? undefined : limit(value);
  };

const constant = (value: number) => (): number => value;

const TARGETS: readonly Target[] = [
  {
    what: 'first open from template',
    asked: '≤ reopen + 600 ms',
    measured: of('open.template_ms'),
    unit: 'ms',
    limit: from('open.reopen_ms', (reopen) => reopen + 600),
  },
  {
    what: 'longest stall of the main thread, open',
    asked: '≤ 50 ms',
    measured: of('open.stall_ms'),
    unit: 'ms',
    limit: constant(50),
  },
  {
    what: 'longest stall of the main thread, drain of 10,000',
    asked: '≤ 50 ms',
    measured: of('drain10k.stall_ms'),
    unit: 'ms',
    limit: constant(50),
  },
  {
    what: 'recordChange ÷ bare INSERT',
    asked: '≤ 1.0',
    measured: of('record.over_bare_insert'),
    unit: '',
    limit: constant(1),
  },
  {
    what: 'upsertEntity through the worker, p50',
    asked: '≤ 1.5 × bare INSERT + 1 ms',
    measured: of('upsert.worker_p50_ms'),
    unit: 'ms',
    limit: from('insert.bare_ms', (bare) => 1.5 * bare + 1),
  },
  {
    what: 'drain of 10,000 ÷ row by row',
    asked: '≤ 0.12',
    measured: of('drain10k.over_row_by_row'),
    unit: '',
    limit: constant(0.12),
  },
  {
    what: 'update seen at 300k ÷ at 1k',
    asked: '≤ 1.3',
    measured: of('seen.300k_over_1k'),
    unit: '',
    limit: constant(1.3),
  },
  {
    what: 'live.query at 100k ÷ ours',
    asked: '≥ 250',
    measured: of('seen.live_query_100k_over_ours'),
    unit: '',
    limit: constant(250),
    atLeast: true,
  },
  { what: 'RSS at open', asked: '≤ 260 MB', measured: of('open.rss_mb'), unit: 'MB', limit: constant(260) },
  {
    what: 'activation, own time',
    asked: '≤ 50 ms',
    measured: of('activation.own_ms'),
    unit: 'ms',
    limit: constant(50),
  },
  {
    what: 'import of 100,000 real rows',
    asked: '≤ 15 s',
    measured: of('import100k.s'),
    unit: 's',
    limit: constant(15),
  },
  {
    what: 'tree with 100,000 pending changes',
    asked: '≤ 300 ms',
    measured: of('tree100k.open_ms'),
    unit: 'ms',
    limit: constant(300),
  },
  {
    what: 'push of 10,000 waiting changes',
    asked: '≥ 5,000 a second',
    measured: of('sync.push_per_s'),
    unit: '/s',
    limit: constant(5_000),
    atLeast: true,
  },
  {
    what: 'first snapshot of 100,000 entities',
    asked: '≤ 12 s',
    measured: of('sync.snapshot100k_s'),
    unit: 's',
    limit: constant(12),
  },
  {
    what: 'longest stall of the main thread meanwhile',
    asked: '≤ 50 ms',
    measured: of('sync.snapshot100k_stall_ms'),
    unit: 'ms',
    limit: constant(50),
  },
  {
    what: 'change on A seen on B, p50',
    asked: '≤ 40 ms',
    measured: of('sync.seen_p50_ms'),
    unit: 'ms',
    limit: constant(40),
  },
  {
    what: 'change on A seen on B, p99',
    asked: '≤ 150 ms',
    measured: of('sync.seen_p99_ms'),
    unit: 'ms',
    limit: constant(150),
  },
  {
    what: 'delivery under load, p99',
    asked: '≤ 500 ms',
    measured: of('sync.load_p99_ms'),
    unit: 'ms',
    limit: constant(500),
  },
  {
    what: 'growth of the server’s memory under load',
    asked: 'flat: ≤ 10 %',
    measured: of('sync.load_memory_growth_mb'),
    unit: 'MB',
    limit: from('sync.load_memory_mb', (megabytes) => 0.1 * megabytes),
  },
  { what: 'errors under load', asked: '0', measured: of('sync.load_errors'), unit: '', limit: constant(0) },
  {
    what: 'queue drains after an outage of 60 s',
    asked: 'within one backoff step (10 s)',
    measured: of('sync.recovery_s'),
    unit: 's',
    limit: constant(10),
  },
];

/** The asked figures beside the measured ones, then everything else that was measured. */
export function renderTable(report: Report): string {
  const lines = [row('what', 'asked', 'measured', 'limit', ''), row('---', '---', '---:', '---:', '---')];
  for (const target of TARGETS) {
    const measured = target.measured(report.metrics);
    const limit = target.limit(report.metrics);
    lines.push(
      row(
        target.what,
        target.asked,
        show(measured, target.unit),
        show(limit, target.unit),
        verdict(target, measured, limit),
      ),
    );
  }
  lines.push('', row('metric', 'value'), row('---', '---:'));
  for (const [name, value] of Object.entries(report.metrics).toSorted(([a], [b]) => a.localeCompare(b))) {
    lines.push(row(`\`${name}\``, show(value, '')));
  }
  return lines.join('\n');
}

function verdict(target: Target, measured: number | undefined, limit: number | undefined): string {
  if (measured === undefined || limit === undefined) return 'not measured';
  return (target.atLeast === true ? measured >= limit : measured <= limit) ? 'reached' : 'MISSED';
}

function row(...cells: string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function show(value: number | undefined, unit: string): string {
  if (value === undefined) return '–';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 3;
  return `${value.toLocaleString('en', { maximumFractionDigits: digits })}${unit === '' ? '' : ` ${unit}`}`;
}

export function describeMachine(): Record<string, string | number> {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryMb: Math.round(totalmem() / 1024 / 1024),
    system: `${platform()} ${release()}`,
    node: process.versions.node,
    load: Math.round(loadavg()[0] ?? 0),
  };
}

export function currentCommit(): string {
  try {
    const git = (...args: string[]): string => execFileSync('git', args, { cwd: REPOSITORY, encoding: 'utf8' }).trim();
    return `${git('rev-parse', 'HEAD')}${git('status', '--porcelain') === '' ? '' : ' (with changes)'}`;
  } catch {
    return 'unknown';
  }
}

export function writeJson(file: string, report: Report): void {
  const content = {
    metrics: report.metrics,
    samples: report.samples,
    commit: currentCommit(),
    machine: describeMachine(),
    measuredAt: new Date().toISOString(),
  };
  writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);
}
