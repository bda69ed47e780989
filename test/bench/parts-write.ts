// Writing one change or entity, in process and through the worker, beside the bare INSERT of the same row. The rounds
// alternate, so that what else the machine does falls on all of them.
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import type { LocalData } from '../../src/engine/local-data.ts';
import { openBuilt } from './built-engine.ts';
import { startBuiltWorker } from './built-worker.ts';
import { median, quantile, timedEach } from './measure.ts';
import type { Report } from './report.ts';
import { BARE_CHANGES_SQL, TASKS_SQL, task } from './sample-tasks.ts';

const ROUNDS = 10;
const CALLS = 200;

type Contender = (id: string) => Promise<unknown>;

export async function measureWrites(report: Report, folder: string): Promise<void> {
  const bare = await openBare(join(folder, 'writes-bare'));
  const engine = await openBuilt({ dataDir: join(folder, 'writes', 'data'), startProcessor: false });
  const worker = await startBuiltWorker({ dataDir: join(folder, 'writes-worker', 'data') });
  try {
    await prepareTasks(engine);
    await prepareTasks(worker.data);
    const contenders: Record<string, Contender> = {
      'insert.bare': (id) => insertByQuery(bare, id),
      'insert.prepared': (id) => insertPrepared(bare, id),
      'record.in_process': (id) => engine.recordChange('Task', id, 'insert', task(id)),
      'upsert.in_process': (id) => engine.upsertEntity('Upserted', id, task(id)),
      'record.worker': (id) => worker.data.recordChange('Task', id, 'insert', task(id)),
      'upsert.worker': (id) => worker.data.upsertEntity('Upserted', id, task(id)),
    };
    const times = await race(contenders);
    for (const [name, values] of Object.entries(times)) addTimes(report, name, values);
    await measureWhileProcessing(report, engine);
  } finally {
    await worker.close();
    await engine.close();
    await bare.close();
  }
  relate(report);
}

async function race(contenders: Readonly<Record<string, Contender>>): Promise<Record<string, number[]>> {
  const times: Record<string, number[]> = {};
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, call] of Object.entries(contenders)) {
      const values = await timedEach(CALLS, (index) => call(`${name}-${round}-${index}`));
      // The first round only warms up.
      if (round >= 0) (times[name] ??= []).push(...values);
    }
  }
  return times;
}

/** The same with the processor applying at the same time, as in daily use. */
async function measureWhileProcessing(report: Report, engine: LocalData): Promise<void> {
  engine.startChangeProcessor();
  await engine.whenIdle();
  const values = await timedEach(CALLS * 5, (index) =>
    engine.recordChange('Task', `live-${index}`, 'insert', task(`live-${index}`)),
  );
  addTimes(report, 'record.while_processing', values);
}

function addTimes(report: Report, name: string, values: readonly number[]): void {
  report.add(`${name}_p50_ms`, median(values));
  report.add(`${name}_p99_ms`, quantile(values, 0.99));
  report.add(`${name}_per_s`, 1_000 / (values.reduce((sum, value) => sum + value, 0) / values.length));
  report.addSamples(name, 'ms', values);
}

function relate(report: Report): void {
  const bare = report.metric('insert.bare_p50_ms') ?? Number.NaN;
  report.add('insert.bare_ms', bare);
  report.add('insert.prepared_ms', report.metric('insert.prepared_p50_ms') ?? Number.NaN);
  report.add('record.over_bare_insert', (report.metric('record.in_process_p50_ms') ?? Number.NaN) / bare);
}

async function openBare(dataDir: string): Promise<PGlite> {
  const bare = await PGlite.create({
    dataDir,
    startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=32MB'],
  });
  await bare.exec(BARE_CHANGES_SQL);
  await bare.exec(
    `PREPARE insert_change (text, text, text, text, jsonb, bigint) AS
     INSERT INTO bare_changes (id, entity_type, entity_id, operation, data, timestamp) VALUES ($1, $2, $3, $4, $5, $6)`,
  );
  return bare;
}

function insertByQuery(bare: PGlite, id: string): Promise<unknown> {
  return bare.query(
    `INSERT INTO bare_changes (id, entity_type, entity_id, operation, data, timestamp) VALUES ($1, $2, $3, $4, $5, $6)`,
    [crypto.randomUUID(), 'Task', id, 'insert', task(id), Date.now()],
  );
}

function insertPrepared(bare: PGlite, id: string): Promise<unknown> {
  const data = JSON.stringify(task(id)).replaceAll("'", "''");
  return bare.exec(
    `EXECUTE insert_change('${crypto.randomUUID()}', 'Task', '${id}', 'insert', '${data}', ${Date.now()})`,
  );
}

async function prepareTasks(data: LocalData): Promise<void> {
  await data.exec(TASKS_SQL);
  await data.exec(TASKS_SQL.replace('tasks', 'upserted'));
  await data.registerEntityType({ entityType: 'Task', table: 'tasks', key: 'id' });
  await data.registerEntityType({ entityType: 'Upserted', table: 'upserted', key: 'id' });
}
