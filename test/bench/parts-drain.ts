// Applying a backlog: ours, beside a processor that takes the same changes one row at a time, each statement its own
// commit; and what the main thread notices while a worker drains into its stores.
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import type { ChangeInput } from '../../src/protocol/changes.ts';
import type { LocalData } from '../../src/engine/local-data.ts';
import { openBuilt } from './built-engine.ts';
import { startBuiltWorker } from './built-worker.ts';
import { longestStall, median, timed } from './measure.ts';
import type { Report } from './report.ts';
import { BARE_CHANGES_SQL, TASKS_SQL, existingTasksSql, mixedChanges } from './sample-tasks.ts';

/** The first rounds still warm the compiler up; the median of seven is one of a warm engine, as it is in use. */
const ROUNDS = 7;
const RECORD_AT_ONCE = 1_000;

export async function measureDrains(report: Report, folder: string): Promise<void> {
  const small: number[] = [];
  const naive: number[] = [];
  const stalls: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    small.push(await drain(join(folder, `drain-${round}`, 'data'), 10_000));
    naive.push(await drainRowByRow(join(folder, `drain-naive-${round}`), 10_000));
    stalls.push(await stallOfDrain(join(folder, `drain-stall-${round}`, 'data'), 10_000));
  }
  report.add('drain10k.ms', median(small));
  report.add('drain10k.row_by_row_ms', median(naive));
  report.add('drain10k.over_row_by_row', median(small) / median(naive));
  report.add('drain10k.stall_ms', median(stalls));
  report.addSamples('drain10k', 'ms', small);
  report.addSamples('drain10k.row_by_row', 'ms', naive);
  report.addSamples('drain10k.stall', 'ms', stalls);
  const large = await drain(join(folder, 'drain-large', 'data'), 100_000);
  const largeNaive = await drainRowByRow(join(folder, 'drain-large-naive'), 100_000);
  report.add('drain100k.ms', large);
  report.add('drain100k.row_by_row_ms', largeNaive);
}

async function drain(dataDir: string, count: number): Promise<number> {
  const data = await openBuilt({ dataDir, startProcessor: false });
  try {
    await fill(data, count);
    return await timed(() => drainNow(data));
  } finally {
    await data.close();
  }
}

async function stallOfDrain(dataDir: string, count: number): Promise<number> {
  const engine = await startBuiltWorker({ dataDir, startProcessor: false });
  try {
    await fill(engine.data, count);
    return await longestStall(() => drainNow(engine.data));
  } finally {
    await engine.close();
  }
}

async function drainNow(data: LocalData): Promise<void> {
  data.startChangeProcessor();
  await data.whenIdle();
  const { pending, failed } = data.stores.changes.getState().counts;
  if (pending + failed > 0) throw new Error(`After the drain ${pending} changes are pending and ${failed} failed.`);
}

async function fill(data: LocalData, count: number): Promise<void> {
  await data.exec(TASKS_SQL);
  await data.exec(existingTasksSql(count));
  await data.registerEntityType({ entityType: 'Task', table: 'tasks', key: 'id' });
  const changes = mixedChanges(count);
  for (let start = 0; start < count; start += RECORD_AT_ONCE) {
    await data.recordChanges(changes.slice(start, start + RECORD_AT_ONCE));
  }
}

async function drainRowByRow(dataDir: string, count: number): Promise<number> {
  const bare = await PGlite.create({
    dataDir,
    startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=32MB'],
  });
  try {
    await bare.exec(`${TASKS_SQL}; ${BARE_CHANGES_SQL}; ${existingTasksSql(count)}`);
    await recordBare(bare, mixedChanges(count));
    return await timed(() => applyOneByOne(bare));
  } finally {
    await bare.close();
  }
}

async function recordBare(bare: PGlite, changes: readonly ChangeInput[]): Promise<void> {
  const rows = changes.map((change, index) => ({
    id: String(index).padStart(8, '0'),
    entity_type: change.entityType,
    entity_id: change.entityId,
    operation: change.operation,
    data: change.data,
    timestamp: index,
  }));
  await bare.query(
    `INSERT INTO bare_changes (id, entity_type, entity_id, operation, data, timestamp)
     SELECT id, entity_type, entity_id, operation, data, timestamp FROM jsonb_populate_recordset(NULL::bare_changes, $1)`,
    [rows],
  );
}

interface BareChange {
  readonly id: string;
  readonly entity_id: string;
  readonly operation: ChangeInput['operation'];
  readonly data: Record<string, unknown> | null;
}

async function applyOneByOne(bare: PGlite): Promise<void> {
  const { rows } = await bare.query<BareChange>(
    `SELECT id, entity_id, operation, data FROM bare_changes WHERE processed_local = false ORDER BY id`,
  );
  for (const change of rows) {
    await applyOne(bare, change);
    await bare.query(`UPDATE bare_changes SET processed_local = true WHERE id = $1`, [change.id]);
  }
}

async function applyOne(bare: PGlite, { entity_id: id, operation, data }: BareChange): Promise<void> {
  const fields = Object.entries(data ?? {});
  switch (operation) {
    case 'insert': {
      const places = fields.map((_, index) => `$${index + 1}`).join(', ');
      const columns = fields.map(([name]) => name).join(', ');
      await bare.query(
        `INSERT INTO tasks (${columns}) VALUES (${places})`,
        fields.map(([, value]) => value),
      );
      break;
    }
    case 'update': {
      const assignments = fields.map(([name], index) => `${name} = $${index + 2}`).join(', ');
      await bare.query(`UPDATE tasks SET ${assignments} WHERE id = $1`, [id, ...fields.map(([, value]) => value)]);
      break;
    }
    case 'delete':
      await bare.query(`DELETE FROM tasks WHERE id = $1`, [id]);
      break;
  }
}
