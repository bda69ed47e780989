// From the call that updates one row to the subscriber who sees it, at four sizes of the table: by the engine's store,
// and by PGlite's own live query on the same table.
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { live } from '@electric-sql/pglite/live';
import type { LocalData } from '../../src/engine/local-data.ts';
import { openBuilt } from './built-engine.ts';
import { median } from './measure.ts';
import type { Report } from './report.ts';
import { TASKS_SQL } from './sample-tasks.ts';

const SIZES = [1_000, 10_000, 100_000, 300_000] as const;
const UPDATES = 200;
const WARM_UP = 50;

export async function measureSeen(report: Report, folder: string): Promise<void> {
  // All sizes are open at once and take turns, so that what else the machine does falls on all of them.
  const engines = new Map<number, LocalData>();
  const times = new Map<number, number[]>();
  try {
    for (const size of SIZES) engines.set(size, await openWithRows(join(folder, `seen-${size}`, 'data'), size));
    for (let update = -WARM_UP; update < UPDATES; update++) {
      for (const [size, data] of engines) {
        const ms = await updateUntilSeen(data, update, size);
        if (update >= 0) times.set(size, [...(times.get(size) ?? []), ms]);
      }
    }
  } finally {
    for (const data of engines.values()) await data.close();
  }
  for (const [size, values] of times) {
    report.add(`seen.${size / 1_000}k_ms`, median(values));
    report.addSamples(`seen.${size / 1_000}k`, 'ms', values);
  }
  for (const size of SIZES) await measureLiveQuery(report, join(folder, `live-${size}`), size);
  relate(report);
}

function relate(report: Report): void {
  const metric = (name: string): number => report.metric(name) ?? Number.NaN;
  report.add('seen.300k_over_1k', metric('seen.300k_ms') / metric('seen.1k_ms'));
  report.add('seen.live_query_100k_over_ours', metric('seen.live_query_100k_ms') / metric('seen.100k_ms'));
}

function rowsSql(size: number): string {
  return `INSERT INTO tasks (id, title) SELECT 'task-' || i, 'Task ' || i FROM generate_series(0, ${size - 1}) i`;
}

async function openWithRows(dataDir: string, size: number): Promise<LocalData> {
  const data = await openBuilt({ dataDir });
  await data.exec(TASKS_SQL);
  await data.exec(rowsSql(size));
  await data.exec('ANALYZE tasks');
  await data.registerEntityType({ entityType: 'Task', table: 'tasks', key: 'id' });
  return data;
}

/** A recorded change: written, woken, applied, published, seen in the store. */
async function updateUntilSeen(data: LocalData, update: number, size: number): Promise<number> {
  const id = `task-${Math.abs(update * 7) % size}`;
  const title = `Seen ${update}`;
  const start = performance.now();
  const seen = new Promise<number>((resolve) => {
    const unsubscribe = data.stores.entities.subscribe((state) => {
      if (state.get('Task', id)?.['title'] !== title) return;
      unsubscribe();
      resolve(performance.now() - start);
    });
  });
  await data.recordChange('Task', id, 'update', { title });
  return seen;
}

async function measureLiveQuery(report: Report, dataDir: string, size: number): Promise<void> {
  const pglite = await PGlite.create({
    dataDir,
    extensions: { live },
    startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=32MB'],
  });
  try {
    await pglite.exec(`${TASKS_SQL}; ${rowsSql(size)}; ANALYZE tasks`);
    let seenTitle: (titleOfFirst: unknown) => void = () => {};
    const subscription = await pglite.live.query<{ id: string; title: string }>(
      `SELECT * FROM tasks ORDER BY id`,
      [],
      (result) => seenTitle(result.rows[0]?.title),
    );
    const values: number[] = [];
    for (let update = 0; update < (size >= 100_000 ? 4 : 20); update++) {
      const title = `Seen ${update}`;
      const start = performance.now();
      const seen = new Promise<number>((resolve) => {
        seenTitle = (title_) => (title_ === title ? resolve(performance.now() - start) : undefined);
      });
      await pglite.query(`UPDATE tasks SET title = $1 WHERE id = 'task-0'`, [title]);
      values.push(await seen);
    }
    await subscription.unsubscribe();
    report.add(`seen.live_query_${size / 1_000}k_ms`, median(values));
    report.addSamples(`seen.live_query_${size / 1_000}k`, 'ms', values);
  } finally {
    await pglite.close();
  }
}
