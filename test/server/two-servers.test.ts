// Several servers on one Postgres act as one: whoever reads anywhere misses nothing, whatever becomes of the notices between
// them, and a database that was put back is noticed.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { snapshotEntitySchema, snapshotResponseSchema } from '../../src/protocol/sync.ts';
import type { RunningServer } from '../../src/server/start-server.ts';
import { ProtocolClient, sharedPostgres, startForTest } from '../support/server.ts';

/** No sweep comes to the help of a test about notices. */
const NEVER_MS = 3_600_000;

describe('two servers on one Postgres', () => {
  let admin: pg.Client;
  let databaseUrl: string;
  let databaseName: string;
  let servers: RunningServer[] = [];

  beforeEach(async () => {
    const postgres = await sharedPostgres();
    databaseUrl = await postgres.createDatabase();
    databaseName = new URL(databaseUrl).pathname.slice(1);
    admin = new pg.Client(postgres.url);
    await admin.connect();
  });
  afterEach(async () => {
    await Promise.all(servers.map((server) => server.close()));
    servers = [];
    await admin.end();
  });

  const startTwo = async (sweepMs: number): Promise<readonly [string, string]> => {
    servers = await Promise.all([startForTest({ databaseUrl, sweepMs }), startForTest({ databaseUrl, sweepMs })]);
    return [servers[0]?.url ?? '', servers[1]?.url ?? ''];
  };

  const allowConnections = (allowed: boolean) =>
    admin.query(`ALTER DATABASE ${databaseName} ALLOW_CONNECTIONS ${String(allowed)}`);
  const listening = async (): Promise<number> => {
    const { rows } = await admin.query(
      `SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'local-data-server listens' AND query LIKE 'LISTEN%'`,
      [databaseName],
    );
    return rows.length;
  };
  const endListening = async (): Promise<void> => {
    await admin.query(
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'local-data-server listens'`,
      [databaseName],
    );
  };
  const until = async (holds: () => Promise<boolean>): Promise<void> => {
    const end = performance.now() + 10_000;
    while (!(await holds())) assert.ok(performance.now() < end, 'it did not come to hold in time');
  };

  it('wake readers of each other', async () => {
    const [a, b] = await startTwo(NEVER_MS);
    const writer = await ProtocolClient.enter(a, 'shared');
    const reader = await ProtocolClient.enter(b, 'shared');
    await until(async () => (await listening()) === 2);
    const { cursor } = await reader.pull();
    const waiting = reader.pull(cursor, { wait: 20 });
    await until(async () => waits(b, 1));
    await writer.push({ entityId: 't1' });
    assert.equal((await waiting).changes.length, 1);
  });

  it('read the feed once for all who wait at one place, however many those are', async () => {
    const [a, b] = await startTwo(NEVER_MS);
    const writer = await ProtocolClient.enter(a, 'shared');
    const reader = await ProtocolClient.enter(b, 'shared');
    await until(async () => (await listening()) === 2);
    const { cursor } = await reader.pull();
    await writer.epoch();
    const waiting = Array.from({ length: 20 }, () => reader.pull(cursor, { wait: 20 }));
    await until(async () => waits(b, 20));
    const before = await countOf(b, 'local_data_feed_reads_total');
    await writer.push({ entityId: 't1' });
    for (const { changes } of await Promise.all(waiting)) assert.equal(changes.length, 1);
    assert.equal((await countOf(b, 'local_data_feed_reads_total')) - before, 1);
  });

  it('give every reader every change in order while many clients push to both at once', async () => {
    const urls = await startTwo(NEVER_MS);
    await until(async () => (await listening()) === 2);
    const clients = await Promise.all(
      Array.from({ length: 12 }, (_, index) => ProtocolClient.enter(urls[index % 2] ?? '', 'busy')),
    );
    await Promise.all(clients.map((client) => client.epoch()));
    const PUSHES = 15;
    const total = clients.length * PUSHES * 3;
    const readers = urls.map(async (url) => {
      const reader = await ProtocolClient.enter(url, 'busy');
      const seen: number[] = [];
      for (let after: string | undefined; seen.length < total;) {
        const page = await reader.pull(after, { wait: 10, limit: 50 });
        assert.ok(page.changes.length > 0, 'a reader waited in vain');
        seen.push(...page.changes.map(({ version }) => version));
        after = page.cursor;
      }
      return seen;
    });
    const pushes = clients.map(async (client) => {
      for (let push = 0; push < PUSHES; push++) {
        const transactionId = randomUUID();
        const results = await client.push(
          { entityId: randomUUID(), transactionId },
          { entityId: randomUUID(), transactionId },
          { entityId: randomUUID() },
        );
        assert.ok(results.every(({ outcome }) => outcome === 'applied'));
      }
    });
    await Promise.all(pushes);
    const expected = Array.from({ length: total }, (_, index) => index + 1);
    for (const seen of await Promise.all(readers)) assert.deepEqual(seen, expected);
  });

  it('serve one client that goes to the other with each request', async () => {
    const [a, b] = await startTwo(NEVER_MS);
    const here = await ProtocolClient.enter(a, 'shared', 'ann');
    const there = await ProtocolClient.enter(b, 'shared', 'ann');
    assert.equal(await here.epoch(), await there.epoch());
    const change = { id: 'one', entityId: 't1' };
    assert.equal((await here.push(change))[0]?.outcome, 'applied');
    assert.equal((await there.push(change, { entityId: 't2' }))[0]?.outcome, 'duplicate');
    await here.push({ entityId: 't3' });
    const turns = [here, there, here];
    const seen: unknown[] = [];
    const entities: unknown[] = [];
    let after: string | undefined;
    let page = '';
    for (const client of turns) {
      const pulled = await client.pull(after, { limit: 1 });
      seen.push(...pulled.changes.map(({ entityId }) => entityId));
      after = pulled.cursor;
      const { body } = await client.request(`/snapshot?limit=1${page}`);
      const answer = snapshotResponseSchema.parse(body);
      entities.push(...answer.entities.map((entity) => snapshotEntitySchema.parse(entity).entityId));
      page = `&page=${answer.next ?? ''}`;
    }
    assert.deepEqual(
      [seen, entities],
      [
        ['t1', 't2', 't3'],
        ['t1', 't2', 't3'],
      ],
    );
  });

  it('apply a change once although both get it at the same time', async () => {
    const urls = await startTwo(NEVER_MS);
    const clients = await Promise.all(urls.map((url) => ProtocolClient.enter(url, 'shared', 'ann')));
    await Promise.all(clients.map((client) => client.epoch()));
    const change = { id: 'one', entityId: 't1' };
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) => clients[index % 2]?.push(change) ?? Promise.resolve([])),
    );
    const outcomes = results.map((result) => result[0]?.outcome);
    assert.equal(outcomes.filter((outcome) => outcome === 'applied').length, 1);
    assert.equal(outcomes.filter((outcome) => outcome === 'duplicate').length, 19);
  });

  it('deliver what was written while nobody listened, once they listen again', async () => {
    const [a, b] = await startTwo(NEVER_MS);
    const { writer, waiting } = await waitOnB(a, b);
    await allowConnections(false);
    await endListening();
    await writer.push({ entityId: 'unheard' });
    await allowConnections(true);
    assert.equal((await waiting).changes.length, 1);
  });

  it('deliver what was written while nobody can listen, by looking every few seconds', async () => {
    const [a, b] = await startTwo(300);
    const { writer, waiting } = await waitOnB(a, b);
    await allowConnections(false);
    try {
      await endListening();
      await writer.push({ entityId: 'unheard' });
      assert.equal((await waiting).changes.length, 1);
    } finally {
      await allowConnections(true);
    }
  });

  it('notice that the database was put back, although it has grown past the cursor', async () => {
    const [a, b] = await startTwo(NEVER_MS);
    const ann = await ProtocolClient.enter(a, 'restored', 'ann');
    const bob = await ProtocolClient.enter(b, 'restored', 'bob');
    await ann.push({ entityId: 't1' }, { entityId: 't2' }, { entityId: 't3' });
    const { cursor } = await bob.pullAll();
    const client = new pg.Client(databaseUrl);
    await client.connect();
    await client.query(`DELETE FROM local_data_sync.feed WHERE version > 1`);
    await client.query(`DELETE FROM local_data_sync.entities WHERE version > 1`);
    await client.query(
      `UPDATE local_data_sync.spaces SET version = 1, last_id = (SELECT id FROM local_data_sync.feed)`,
    );
    await client.end();
    await ann.push({ entityId: 't4' }, { entityId: 't5' }, { entityId: 't6' }, { entityId: 't7' });
    const pulled = await bob.request(`/changes?after=${cursor}`);
    const pushed = await bob.send([{ id: 'x' }], cursor);
    for (const { status, body } of [pulled, pushed]) {
      assert.deepEqual([status, (body as { error: { code: string } }).error.code], [409, 'HISTORY_CHANGED']);
    }
    assert.equal((await ann.info()).version, 5);
  });

  async function waitOnB(a: string, b: string) {
    const writer = await ProtocolClient.enter(a, 'shared');
    const reader = await ProtocolClient.enter(b, 'shared');
    await until(async () => (await listening()) === 2);
    const { cursor } = await reader.pull();
    await writer.epoch();
    const waiting = reader.pull(cursor, { wait: 30 });
    await until(async () => waits(b, 1));
    return { writer, waiting };
  }
});

async function countOf(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}

async function waits(url: string, count: number): Promise<boolean> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return text.includes(`\nlocal_data_waiting_readers ${count}\n`);
}
