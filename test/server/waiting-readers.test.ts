// Readers who wait are given what a push of their own server wrote as the feed has it, and a transaction of statements that
// are sent without waiting still counts as a whole or not at all.
import assert from 'node:assert/strict';
import { SCHEMA } from '../../src/server/schema.ts';
import { STATEMENTS } from '../../src/server/statements.ts';
import type { RunningServer } from '../../src/server/start-server.ts';
import { ProtocolClient, openServerStore, sharedPostgres, startForTest } from '../support/server.ts';

const NEVER_MS = 3_600_000;

describe('readers who wait', () => {
  let server: RunningServer;

  beforeEach(async () => {
    server = await startForTest({ memory: true, sweepMs: NEVER_MS });
  });
  afterEach(() => server.close());

  const feedReads = async (): Promise<number> => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    return Number(/^local_data_feed_reads_total (\d+)/m.exec(text)?.[1] ?? 0);
  };
  const waiting = async (count: number): Promise<void> => {
    const end = performance.now() + 5_000;
    for (;;) {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      if (text.includes(`local_data_waiting_readers ${count}\n`)) return;
      assert.ok(performance.now() < end, `${count} readers do not wait`);
    }
  };

  it('are given what a push wrote without a look at the feed, in the very words of the feed', async () => {
    const ann = await ProtocolClient.enter(server.url, 'mine', 'ann');
    const bob = await ProtocolClient.enter(server.url, 'mine', 'bob');
    await ann.push({ id: 'one', entityId: 't1', data: { title: 'a', nested: { list: [1, 'ü', null] } } });
    const { cursor } = await bob.pull();
    const readers = [bob.pull(cursor, { wait: 20 }), bob.pull(cursor, { wait: 20, limit: 1 })];
    await waiting(2);
    const before = await feedReads();
    await ann.push(
      { id: 'two', entityId: 't1', operation: 'update', data: { title: 'b' }, baseVersion: 1, transactionId: 'x' },
      { id: 'three', entityId: 't2', transactionId: 'x' },
    );
    const [page] = await Promise.all(readers);
    const [whole, { changes }] = await Promise.all([bob.pull(cursor), bob.pull(cursor, { limit: 1 })]);
    assert.deepEqual(page?.changes, whole.changes);
    assert.equal(page?.cursor, whole.cursor);
    assert.deepEqual(
      changes.map(({ id }) => id),
      ['two', 'three'],
    );
    // One by whoever asked for less than was written, two by the looks above.
    assert.equal((await feedReads()) - before, 3);
  });

  it('are given all that they missed, not only the last push', async () => {
    const ann = await ProtocolClient.enter(server.url, 'mine', 'ann');
    await ann.push({ id: 'one', entityId: 't1' });
    const { cursor } = await ann.pull();
    await ann.push({ id: 'two', entityId: 't2' });
    const { cursor: end } = await ann.pull(cursor);
    const late = ann.pull(end, { wait: 20 });
    await waiting(1);
    const [, early] = await Promise.all([ann.push({ id: 'three', entityId: 't3' }), ann.pull(cursor, { wait: 20 })]);
    assert.deepEqual(
      (await late).changes.map(({ id }) => id),
      ['three'],
    );
    assert.equal(early.changes[0]?.id, 'two');
  });
});

describe('a transaction of the server', () => {
  for (const place of ['an embedded database', 'a real Postgres']) {
    it(`leaves nothing where a statement fails that was not waited for (${place})`, async () => {
      const isEmbedded = place === 'an embedded database';
      const store = await openServerStore(
        isEmbedded ? { memory: true } : { databaseUrl: await (await sharedPostgres()).createDatabase() },
      );
      try {
        const ended = store.transaction(async (session) => {
          session.send(STATEMENTS.createSpace, ['mine', 'epoch', 1]);
          session.send({ name: 'wrong', text: `SELECT 1 / (length($1::text) - 4)` }, ['four']);
          session.send(STATEMENTS.moveSpace, ['mine', 7, 'x']);
        });
        await assert.rejects(ended, /division by zero/);
        const count = { name: '', text: `SELECT count(*) AS count FROM ${SCHEMA}.spaces` };
        assert.deepEqual(await store.run(count, []), [{ count: 0 }]);
        await store.transaction(async (session) => session.send(STATEMENTS.createSpace, ['mine', 'epoch', 1]));
        assert.deepEqual(await store.run(count, []), [{ count: 1 }]);
      } finally {
        await store.close();
      }
    });
  }
});
