// Readers who wait are given what a push of their own server wrote as the feed has it, and a transaction of statements that
// are sent without waiting still counts as a whole or not at all.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { type Position, encodeCursor } from '../../src/server/cursor.ts';
import type { FeedPage, GrownFeed } from '../../src/server/read-feed.ts';
import { SCHEMA } from '../../src/server/schema.ts';
import { systemServerClock } from '../../src/server/server-clock.ts';
import { STATEMENTS } from '../../src/server/statements.ts';
import type { RunningServer } from '../../src/server/start-server.ts';
import type { Store } from '../../src/server/store.ts';
import { WaitingReaders } from '../../src/server/waiting-readers.ts';
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

describe('what several pushes have added before readers are told', () => {
  const EPOCH = 'epoch';
  const at = (version: number): Position => ({ epoch: EPOCH, version, id: version === 0 ? '' : `change-${version}` });
  const grown = (space: string, after: number, ...versions: number[]): GrownFeed => ({
    space,
    after: at(after),
    rows: versions.map((version) => ({ ...at(version), bytes: 10, json: () => `{"version":${version}}` })),
  });
  const empty = (space: string, { version }: Position): FeedPage => ({
    epoch: EPOCH,
    changes: '[]',
    count: 0,
    cursor: encodeCursor(space, at(version)),
    version,
    more: false,
  });
  let store: Store;
  let readers: WaitingReaders;
  let reads: string[];

  beforeEach(async () => {
    store = await openServerStore({ memory: true });
    reads = [];
    readers = new WaitingReaders({
      store,
      clock: systemServerClock,
      read: async (space, standing) => {
        reads.push(`${space} ${standing?.version}`);
        return empty(space, standing ?? at(0));
      },
      onReadFailed: (error) => assert.fail(String(error)),
      sweepMs: NEVER_MS,
    });
  });
  afterEach(async () => {
    await readers.close();
    await store.close();
  });

  const waitAt = async (space: string, version: number): Promise<{ readonly page: Promise<FeedPage> }> => {
    const page = readers.next(space, at(version), 100, NEVER_MS, new AbortController().signal);
    await pause(1);
    reads.length = 0;
    return { page };
  };

  it('goes out as one answer to each, from where it stands', async () => {
    const first = await waitAt('mine', 4);
    const between = await waitAt('mine', 6);
    readers.committed(grown('mine', 4, 5, 6));
    readers.committed(grown('mine', 6, 7));
    const [whole, rest] = await Promise.all([first.page, between.page]);
    assert.equal(whole.changes, '[{"version":5},{"version":6},{"version":7}]');
    assert.equal(rest.changes, '[{"version":7}]');
    assert.deepEqual([whole.cursor, rest.cursor], Array(2).fill(encodeCursor('mine', at(7))));
    assert.deepEqual(reads, []);
  });

  it('is told one space after the other, so that pushes are heard in between', async () => {
    const pages = await Promise.all([waitAt('one', 0), waitAt('two', 0)]);
    const told: string[] = [];
    for (const [index, { page }] of pages.entries()) void page.then(({ changes }) => told.push(`${index} ${changes}`));
    readers.committed(grown('one', 0, 1));
    readers.committed(grown('two', 0, 1));
    setImmediate(() => readers.committed(grown('two', 1, 2)));
    await Promise.all(pages.map(({ page }) => page));
    assert.deepEqual(told, ['0 [{"version":1}]', '1 [{"version":1},{"version":2}]']);
  });

  it('is read where another server wrote in between', async () => {
    await waitAt('mine', 4);
    readers.committed(grown('mine', 4, 5));
    readers.committed(grown('mine', 8, 9));
    await pause(5);
    assert.deepEqual(reads, ['mine 4']);
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
          session.send(STATEMENTS.moveFeedStart, ['mine', 7, 'x']);
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
