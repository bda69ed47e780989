// The change processor: order, lanes, failures, retries. Time is virtual, everything else is real.
import assert from 'node:assert/strict';
import type { Change, ChangeInput } from '../../src/protocol/changes.ts';
import { type LocalDataEngine, openTemporary } from '../support/engine.ts';
import { VirtualClock, seededRandom } from '../support/virtual-clock.ts';

const SCHEMA = `
  CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, priority INTEGER CHECK (priority BETWEEN 1 AND 5));
  CREATE TABLE flaky (id TEXT PRIMARY KEY, note TEXT);
  CREATE TABLE switches (name TEXT PRIMARY KEY, sqlstate TEXT);
  CREATE FUNCTION misbehave() RETURNS trigger LANGUAGE plpgsql AS $$
  DECLARE code TEXT := (SELECT sqlstate FROM switches WHERE name = 'flaky');
  BEGIN
    IF code IS NOT NULL THEN RAISE EXCEPTION 'switched off: 401' USING ERRCODE = code; END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER misbehave BEFORE INSERT OR UPDATE ON flaky FOR EACH ROW EXECUTE FUNCTION misbehave();`;

describe('The change processor', () => {
  let data: LocalDataEngine;
  let clock: VirtualClock;

  beforeEach(async () => {
    clock = new VirtualClock();
    data = await openTemporary({
      clock,
      random: seededRandom(7),
      retry: { attempts: 4, baseDelayMs: 1_000, maxDelayMs: 60_000 },
    });
    await data.exec(SCHEMA);
    await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
    await data.registerEntityType({ entityType: 'Flaky', table: 'flaky' });
  });

  afterEach(() => data.close());

  const status = async (change: Change): Promise<string | undefined> => (await data.getChange(change.id))?.status;
  const settled = async (change: Change): Promise<Change> => {
    await data.whenIdle();
    const found = await data.getChange(change.id);
    assert.ok(found);
    return found;
  };
  const breakFlaky = (sqlState: string): Promise<unknown> =>
    data.exec(
      `INSERT INTO switches VALUES ('flaky', $1) ON CONFLICT (name) DO UPDATE SET sqlstate = excluded.sqlstate`,
      [sqlState],
    );
  const mendFlaky = (): Promise<unknown> => data.exec(`DELETE FROM switches`);

  describe('order', () => {
    it('is that of recording when the clock steps back an hour and changes share a millisecond', async () => {
      await data.stopChangeProcessor();
      const inserted = await data.recordChange('Task', 't', 'insert', { title: 'first' });
      clock.step(-3_600_000);
      const updated = await data.recordChange('Task', 't', 'update', { title: 'second' });
      const last = await data.recordChange('Task', 't', 'update', { title: 'third' });
      assert.ok(inserted.seq < updated.seq && updated.seq < last.seq);
      assert.equal(updated.timestamp, last.timestamp);
      data.startChangeProcessor();
      await data.whenIdle();
      assert.equal((await data.getEntity('Task', 't'))?.['title'], 'third');
    });

    it('is numeric when sequence numbers cross 9 to 10 and 99 to 100 in one batch', async () => {
      await data.stopChangeProcessor();
      await data.recordChange('Task', 't', 'insert', { title: '0' });
      for (let n = 1; n <= 120; n++) await data.recordChange('Task', 't', 'update', { title: String(n) });
      data.startChangeProcessor();
      await data.whenIdle();
      assert.equal((await data.getEntity('Task', 't'))?.['title'], '120');
    });

    it('keeps both of two patches of one entity in one batch', async () => {
      await data.stopChangeProcessor();
      await data.recordChanges([
        { entityType: 'Task', entityId: 't', operation: 'insert', data: { title: 'a' } },
        { entityType: 'Task', entityId: 't', operation: 'update', data: { title: 'b' } },
        { entityType: 'Task', entityId: 't', operation: 'update', data: { priority: 3 } },
      ]);
      data.startChangeProcessor();
      await data.whenIdle();
      assert.partialDeepStrictEqual(await data.getEntity('Task', 't'), { title: 'b', priority: 3 });
    });
  });

  describe('lanes', () => {
    it('let B to Z drain while A is poisoned, and say what the later changes of A wait for', async () => {
      const poison = await data.recordChange('Task', 'A', 'insert', { title: 'a', priority: 99 });
      const later = await data.recordChange('Task', 'A', 'update', { title: 'b' });
      const others = await data.recordChanges(
        'BCDEFGHIJKLMNOPQRSTUVWXYZ'.split('').map((id): ChangeInput => ({
          entityType: 'Task',
          entityId: id,
          operation: 'insert',
          data: { title: id },
        })),
      );
      await data.whenIdle();
      assert.equal(await status(poison), 'failed');
      assert.equal((await settled(later)).reason, `waits for change ${poison.seq} of the same Task`);
      for (const other of others) assert.equal(await status(other), 'applied');
    });

    it('blocked with 1,000 older changes waiting and a batch limit of 100: the change of another is in the next batch', async () => {
      const small = await openTemporary({ clock, random: seededRandom(7), batchSize: 100 });
      try {
        await small.exec(SCHEMA);
        await small.registerEntityType({ entityType: 'Task', table: 'tasks' });
        await small.recordChange('Task', 'A', 'insert', { title: 'a', priority: 99 });
        await small.recordChanges(
          Array.from({ length: 1_000 }, (_, n): ChangeInput => ({
            entityType: 'Task',
            entityId: 'A',
            operation: 'update',
            data: { title: `${n}` },
          })),
        );
        await small.whenIdle();
        assert.equal(small.stores.changes.getState().counts.blocked, 1_000);
        const batches: string[][] = [];
        small.onCommit(({ changes, processor }) => {
          if (processor === 'processing' && changes.length > 0) batches.push(changes.map(({ entityId }) => entityId));
        });
        const other = await small.recordChange('Task', 'B', 'insert', { title: 'b' });
        await small.whenIdle();
        assert.equal((await small.getChange(other.id))?.status, 'applied');
        assert.deepEqual(batches, [['B']]);
      } finally {
        await small.close();
      }
    });

    it('go on in order once the change at their head is repaired', async () => {
      const head = await data.recordChange('Task', 'A', 'insert', { title: 'a', priority: 99 });
      const updates = await data.recordChanges(
        ['b', 'c', 'd'].map((title): ChangeInput => ({
          entityType: 'Task',
          entityId: 'A',
          operation: 'update',
          data: { title },
        })),
      );
      await data.whenIdle();
      await data.editChange(head.id, { title: 'a', priority: 1 });
      await data.whenIdle();
      for (const update of updates) assert.equal(await status(update), 'applied');
      assert.partialDeepStrictEqual(await data.getEntity('Task', 'A'), { title: 'd', priority: 1 });
      assert.equal(data.stores.changes.getState().counts.blocked, 0);
    });
  });

  describe('failures', () => {
    it('of a constraint are failed at once, with SQLSTATE, values and time', async () => {
      const failed = await settled(await data.recordChange('Task', 't', 'insert', { title: 'a', priority: 9 }));
      assert.deepEqual([failed.status, failed.attempts, failed.failure?.code], ['failed', 1, '23514']);
      assert.equal(failed.failure?.at, clock.now());
      assert.match(failed.error ?? '', /priority is 9/);
    });

    it('of an unknown entity type or column name what is unknown and the remedy', async () => {
      const type = await settled(await data.recordChange('Nothing', 'x', 'insert', { a: 1 }));
      const column = await settled(await data.recordChange('Task', 't', 'insert', { titel: 'a' }));
      assert.deepEqual([type.status, type.failure?.code], ['failed', 'UNKNOWN_ENTITY_TYPE']);
      assert.deepEqual([column.status, column.failure?.code], ['failed', 'UNKNOWN_COLUMN']);
      assert.match(column.error ?? '', /"titel" is no column of table "tasks"/);
    });

    it('that may pass are retried with growing delays, and told apart by code though their text says 401', async () => {
      await breakFlaky('40001');
      const change = await settled(await data.recordChange('Flaky', 'f', 'insert', { note: 'n' }));
      assert.deepEqual([change.status, change.attempts, change.failure?.kind], ['retrying', 1, 'transient']);
      const [first = 0] = clock.waits.filter((wait) => wait < 60_000 && wait !== 2_000);
      assert.ok(first >= 500 && first <= 1_000, `waits ${first} ms`);
      await mendFlaky();
      clock.advance(1_000);
      assert.equal((await settled(change)).status, 'applied');
    });

    it('that go on are failed when the attempts are spent, which are kept across a restart', async () => {
      await breakFlaky('40001');
      let change = await settled(await data.recordChange('Flaky', 'f', 'insert', { note: 'n' }));
      for (let attempt = 2; attempt <= 4; attempt++) {
        clock.advance(60_000);
        change = await settled(change);
        assert.equal(change.attempts, attempt);
      }
      assert.equal(change.status, 'failed');
    });

    it('wait no longer than the cap when the clock steps back an hour', async () => {
      await breakFlaky('40001');
      const change = await settled(await data.recordChange('Flaky', 'f', 'insert', { note: 'n' }));
      await mendFlaky();
      clock.step(-3_600_000);
      clock.advance(60_000);
      assert.equal((await settled(change)).status, 'applied');
    });

    it('leave nothing half done: a failing batch applies all others and records each once', async () => {
      await data.stopChangeProcessor();
      await data.recordChanges(
        Array.from({ length: 200 }, (_, n): ChangeInput => ({
          entityType: 'Task',
          entityId: `t${n}`,
          operation: 'insert',
          data: { title: `${n}`, priority: n % 50 === 0 ? 9 : 1 },
        })),
      );
      data.startChangeProcessor();
      await data.whenIdle();
      const { counts } = data.stores.changes.getState();
      assert.deepEqual([counts.applied, counts.failed, counts.pending], [196, 4, 0]);
      assert.equal(await data.countEntities('Task'), 196);
    });
  });

  describe('repairs', () => {
    it('by retry keep place and id and reset attempts; a change that fails again is failed again, not lost', async () => {
      const failed = await settled(await data.recordChange('Task', 't', 'insert', { title: 'a', priority: 9 }));
      const retried = await data.retryChange(failed.id);
      assert.deepEqual([retried.id, retried.seq, retried.attempts], [failed.id, failed.seq, 0]);
      assert.equal((await settled(failed)).status, 'failed');
      await data.exec(`ALTER TABLE tasks DROP CONSTRAINT tasks_priority_check`);
      assert.equal(await data.retryFailed({ entityType: 'Task' }), 1);
      assert.equal((await settled(failed)).status, 'applied');
    });

    it('by retry, discard and retry all while the processor holds the change: none is lost, nothing is applied twice', async () => {
      await data.exec(`CREATE TABLE log (n SERIAL, id TEXT);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log (id) VALUES (NEW.id); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION note();`);
      const recorded = await data.recordChanges(
        Array.from({ length: 300 }, (_, n): ChangeInput => ({
          entityType: 'Task',
          entityId: `t${n}`,
          operation: 'insert',
          data: { title: 'x', priority: n % 3 === 0 ? 9 : 1 },
        })),
      );
      const actions: Promise<unknown>[] = [];
      for (const change of recorded.slice(0, 60)) {
        actions.push(data.retryChange(change.id).catch(() => undefined));
        if (change.seq % 2 === 0) actions.push(data.discardChange(change.id));
        actions.push(data.retryFailed());
      }
      await Promise.all(actions);
      await data.whenIdle();
      const twice = await data.query('SELECT id FROM log GROUP BY id HAVING count(*) > 1');
      assert.deepEqual(twice.rows, []);
      for (const change of recorded.slice(0, 60)) {
        const now = await status(change);
        assert.ok(now === 'discarded' || change.seq % 2 !== 0, `change ${change.seq} is ${now}`);
      }
      const { counts } = data.stores.changes.getState();
      const real = await data.query(`SELECT status, count(*)::int AS n FROM local_changes GROUP BY status`);
      for (const row of real.rows) assert.equal(counts[String(row['status']) as keyof typeof counts], row['n']);
    });
  });

  it('finishes what is under way when stopped, and takes up the rest when started', async () => {
    const recorded = data.recordChanges(
      Array.from({ length: 3_000 }, (_, n): ChangeInput => ({
        entityType: 'Task',
        entityId: `t${n}`,
        operation: 'insert',
        data: { title: 'x' },
      })),
    );
    await recorded;
    await data.stopChangeProcessor();
    const { counts } = data.stores.changes.getState();
    assert.equal(counts.applied + counts.pending, 3_000);
    assert.equal(await data.countEntities('Task'), counts.applied);
    data.startChangeProcessor();
    await data.whenIdle();
    assert.equal(await data.countEntities('Task'), 3_000);
  });
});
