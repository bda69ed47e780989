// What was acknowledged is there after a kill at any instant; a change and its effect are both there or neither.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LocalData } from '../../src/engine/local-data.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';
import { openInWorker } from '../../src/worker/open-in-worker.ts';
import type { SupervisedEngine } from '../../src/worker/supervised-engine.ts';
import { openLocalData } from '../support/engine.ts';
import { workerFile } from './worker-file.ts';

const ROUNDS = 10;
const MOST_WRITES = 300;
/** Beyond the last line read, so that the kill falls anywhere within a write. */
const LONGEST_AFTER_MS = 10;
const RUNAWAY = 'SELECT count(*) FROM generate_series(1, 100000000000)';

interface Acknowledged {
  readonly upserted: Map<string, number>;
  readonly recorded: Map<string, number>;
  highest: number;
}

describe('A killed engine', function () {
  this.timeout(240_000);
  let directory: string;
  let dataDir: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'local-data-kill-'));
    dataDir = join(directory, 'data');
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  it(`loses nothing it acknowledged and does nothing by halves, killed at any point (${ROUNDS} random instants)`, async () => {
    const random = seeded(20_260_102);
    const acknowledged: Acknowledged = { upserted: new Map(), recorded: new Map(), highest: -1 };
    for (let round = 0; round < ROUNDS; round++) {
      await writeUntilKilled(dataDir, random, acknowledged);
      const data = await openLocalData({ dataDir });
      try {
        await data.whenIdle();
        await checkAcknowledged(data, acknowledged);
        await checkHalves(data);
      } finally {
        await data.close();
      }
    }
    assert.ok(acknowledged.recorded.size > ROUNDS, 'the writer had time to write');
  });

  it('in a thread is replaced by one that has everything acknowledged, while its callers wait', async () => {
    const engine = await openInWorker({ engine: { dataDir }, workerFile: workerFile(), limits: { pingMs: 500 } });
    const { data } = engine;
    try {
      await data.createChangesTable();
      await data.exec('CREATE TABLE items (id text PRIMARY KEY, n int NOT NULL)');
      await data.registerEntityType({ entityType: 'Item', table: 'items' });
      for (let round = 0; round < 2; round++) await survivesRunaway(data, round);
      assert.equal(data.stores.changes.getState().counts.applied, 42);
      await checkHalves(data);
    } finally {
      await engine.close();
    }
    const reopened = await openLocalData({ dataDir, lockWaitMs: 0 });
    assert.equal(await reopened.countEntities('Item'), 42);
    await reopened.close();
  });

  it('by the change it applies is opened with processing paused after three deaths, and the change can be discarded', async () => {
    const limits = { pingMs: 300, closeMs: 300 };
    const engine = await openInWorker({ engine: { dataDir }, workerFile: workerFile(), limits });
    const { data } = engine;
    try {
      await data.exec(`CREATE TABLE items (id text PRIMARY KEY, n int NOT NULL);
        CREATE FUNCTION never_ends() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN LOOP NULL; END LOOP; END $$;
        CREATE TRIGGER never_ends BEFORE INSERT ON items FOR EACH ROW WHEN (NEW.n < 0) EXECUTE FUNCTION never_ends();`);
      await data.registerEntityType({ entityType: 'Item', table: 'items' });
      const [deadly, harmless] = await data.recordChanges([
        { entityType: 'Item', entityId: 'deadly', operation: 'insert', data: { n: -1 } },
        { entityType: 'Item', entityId: 'harmless', operation: 'insert', data: { n: 1 } },
      ]);
      assert.ok(deadly !== undefined && harmless !== undefined);
      await pausedWhileAsked(engine);
      assert.equal((await data.getChange(deadly.id))?.status, 'pending');
      await data.discardChange(deadly.id);
      data.startChangeProcessor();
      await data.whenIdle();
      assert.equal((await data.getChange(harmless.id))?.status, 'applied');
      assert.deepEqual(engine.status, { kind: 'ready' });
    } finally {
      await engine.close();
    }
  });
});

/** A thread that hangs is noticed by who asks it something: asks each one until the engine is opened paused. */
function pausedWhileAsked(engine: SupervisedEngine): Promise<void> {
  return new Promise((resolve) => {
    const ask = () => {
      const { status } = engine;
      if (status.kind !== 'ready') return;
      if (status.pausedBecause !== undefined) resolve();
      else engine.data.query('SELECT 1', [], { timeoutMs: 300 }).catch(() => undefined);
    };
    engine.onStatus(ask);
    ask();
  });
}

/** Twenty writes, then a query that never ends beside another write and a read. */
async function survivesRunaway(data: LocalData, round: number): Promise<void> {
  for (let n = 0; n < 20; n++) await data.upsertEntity('Item', `${round}-${n}`, { n });
  const change = await data.recordChange('Item', `recorded-${round}`, 'insert', { n: 20 });
  await data.whenIdle();
  const controller = new AbortController();
  const runaway =
    round === 0 ? data.query(RUNAWAY, [], { timeoutMs: 500 }) : data.query(RUNAWAY, [], { signal: controller.signal });
  setTimeout(() => controller.abort(), 200);
  const write = data.upsertEntity('Item', `${round}-0`, { n: 0 });
  const read = data.getChange(change.id);
  await assert.rejects(runaway, (error) => LocalDataError.isCode(error, round === 0 ? 'TIMED_OUT' : 'CANCELLED'));
  await assert.rejects(write, (error) => LocalDataError.isCode(error, 'ENGINE_RESTARTED'));
  assert.equal((await read)?.status, 'applied');
  assert.equal(await data.countEntities('Item'), 21 * (round + 1));
}

/** The instant is counted in writes, so that a slow machine is killed as far into its work as a quick one. */
async function writeUntilKilled(dataDir: string, random: () => number, acknowledged: Acknowledged): Promise<void> {
  const program = fileURLToPath(new URL('./writer-program.ts', import.meta.url));
  const first = String(acknowledged.highest + 1_001);
  const child = spawn(process.execPath, [program, dataDir, first], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const [lastLine, afterMs] = [Math.ceil(random() * MOST_WRITES), random() * LONGEST_AFTER_MS];
  let lines = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    if (line !== 'ready') note(line, acknowledged);
    lines += 1;
    if (lines === lastLine) setTimeout(() => child.kill('SIGKILL'), afterMs);
  }
  const [, signal] = await exited;
  assert.equal(signal, 'SIGKILL');
}

function note(line: string, acknowledged: Acknowledged): void {
  const [verb, id = '', text] = line.split(' ');
  const n = Number(text);
  acknowledged.highest = Math.max(acknowledged.highest, n);
  if (verb === 'upserted') acknowledged.upserted.set(id, n);
  else acknowledged.recorded.set(id, n);
}

async function checkAcknowledged(data: LocalData, { upserted, recorded }: Acknowledged): Promise<void> {
  for (const [id, n] of upserted) {
    const entity = await data.getEntity('Item', id);
    // Writes that were not acknowledged any more may have taken effect.
    assert.ok(Number(entity?.['n']) >= n, `${id} is ${String(entity?.['n'])}, acknowledged was ${n}`);
  }
  const { rows } = await data.query(
    `SELECT c.id, c.status, i.n FROM local_changes c LEFT JOIN items i ON i.id = c.entity_id
     WHERE c.entity_id LIKE 'recorded-%'`,
    [],
    { limit: 1_000_000 },
  );
  const byId = new Map(rows.map((row) => [row['id'], row]));
  for (const [id, n] of recorded) assert.partialDeepStrictEqual(byId.get(id), { status: 'applied', n });
}

/** Every entity is what its last change says, and no change is done without its effect. */
async function checkHalves(data: LocalData): Promise<void> {
  const { rows } = await data.query(
    `WITH latest AS (SELECT DISTINCT ON (entity_id) entity_id, status, data FROM local_changes
       WHERE entity_type = 'Item' ORDER BY entity_id, seq DESC)
     SELECT coalesce(i.id, l.entity_id) AS id, i.n, l.data, l.status FROM items i FULL JOIN latest l ON l.entity_id = i.id
     WHERE i.id IS NULL OR l.entity_id IS NULL OR l.status <> 'applied' OR (l.data->>'n')::int <> i.n`,
  );
  assert.deepEqual(rows, []);
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
