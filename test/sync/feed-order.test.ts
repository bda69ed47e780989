// What a client makes of a feed that several servers write at once: nothing is skipped, whichever transaction ends first, be it
// a deletion or at the edge of a page. With real engines and two real servers on one real Postgres.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { RunningServer } from '../../src/server/start-server.ts';
import type { LocalDataEngine } from '../support/engine.ts';
import { type Draft, ProtocolClient, SECRET, sharedPostgres, signToken, startForTest } from '../support/server.ts';
import { openTasks, whenState } from '../support/sync.ts';

/** So few that a page's edge falls everywhere. */
const PAGE = 5;

describe('a client of two servers on one Postgres', function () {
  this.timeout(120_000);
  let servers: readonly RunningServer[] = [];
  let space: string;
  let hold: { readonly entityId: string; reached(): void; readonly mayGo: Promise<void> } | null;
  const opened: LocalDataEngine[] = [];

  before(async () => {
    const databaseUrl = await (await sharedPostgres()).createDatabase();
    const validate = async ({ change }: { change: { entityId: string } }): Promise<null> => {
      if (hold === null || change.entityId !== hold.entityId) return null;
      hold.reached();
      await hold.mayGo;
      return null;
    };
    const start = () => startForTest({ databaseUrl, limits: { changes: PAGE }, validate });
    servers = await Promise.all([start(), start()]);
  });
  after(() => Promise.all(servers.map((server) => server.close())));
  beforeEach(() => {
    space = `order-${randomUUID()}`;
    hold = null;
  });
  afterEach(async () => {
    for (const data of opened.splice(0)) await data.close();
  });

  const urlOf = (index: number): string => servers[index % servers.length]?.url ?? '';

  async function open(): Promise<LocalDataEngine> {
    const data = await openTasks();
    opened.push(data);
    return data;
  }

  async function connect(data: LocalDataEngine, index: number): Promise<void> {
    await data.sync.connect({ url: urlOf(index), token: await signToken({ space, secret: SECRET }) });
    await data.sync.whenSynced();
  }

  async function reader(index: number): Promise<LocalDataEngine> {
    const data = await open();
    await connect(data, index);
    return data;
  }

  it('skips nothing when a transaction ends after others that began later (scenario 26)', async () => {
    const readers = [await reader(0), await reader(1)];
    const [first, second] = [await ProtocolClient.enter(urlOf(0), space), await ProtocolClient.enter(urlOf(1), space)];
    const reached = Promise.withResolvers<void>();
    const mayGo = Promise.withResolvers<void>();
    hold = { entityId: 'slow', reached: reached.resolve, mayGo: mayGo.promise };
    const slow = first.push({ entityId: 'before' }, { entityId: 'slow' }, { entityId: 'after' });
    await reached.promise;
    const transactionId = randomUUID();
    const quick = second.push({ entityId: 'q1', transactionId }, { entityId: 'q2', transactionId });
    // Whoever asks meanwhile is answered, and is not carried past what has not ended.
    for (const data of readers) await data.sync.syncNow();
    for (const data of readers) assert.equal(data.stores.sync.getState().version, 0);
    mayGo.resolve();
    await Promise.all([slow, quick]);
    for (const data of readers) {
      await data.sync.whenSynced();
      await assertNothingSkipped(data, first);
      await assertLikeServer(data, first);
    }
  });

  it('misses no change, no deletion and no edge of a page while many write to both at once (scenario 26)', async () => {
    const readers = [await reader(0), await reader(1)];
    const writers = await Promise.all(
      Array.from({ length: 6 }, (_, index) => ProtocolClient.enter(urlOf(index), space)),
    );
    const late = await open();
    const half = Promise.withResolvers<void>();
    const writing = writers.map(async (writer, index) => {
      for (let round = 0; round < 16; round += 1) {
        if (round === 8) half.resolve();
        const results = await writer.push(...roundOf(index, round));
        assert.ok(
          results.every(({ outcome }) => outcome === 'applied'),
          JSON.stringify(results),
        );
      }
    });
    await half.promise;
    await connect(late, 0);
    await Promise.all(writing);
    const [witness] = writers;
    assert.ok(witness !== undefined);
    for (const data of readers) {
      await data.sync.whenSynced();
      await assertNothingSkipped(data, witness);
      await assertLikeServer(data, witness);
    }
    await late.sync.whenSynced();
    // Its snapshot was taken in pages while the others wrote: what a page had already need not come again.
    const versions = (await late.listChanges({ limit: 1_000 })).changes.map(({ acceptedVersion }) => acceptedVersion);
    assert.ok(versions.length > 0);
    assert.deepEqual(
      versions,
      versions.toSorted((a, b) => (a ?? 0) - (b ?? 0)),
    );
    await assertLikeServer(late, witness);
  });

  it('receives a transaction that crosses the edge of a page as a whole (scenario 26)', async () => {
    const data = await reader(0);
    const writer = await ProtocolClient.enter(urlOf(1), space);
    await data.sync.goOffline();
    await writer.push({ entityId: 'a' }, { entityId: 'b' }, { entityId: 'c' });
    const transactionId = randomUUID();
    const members = ['d', 'e', 'f', 'g'];
    await writer.push(...members.map((entityId) => ({ entityId, transactionId })));
    const seen: number[] = [];
    data.stores.entities.subscribe((state) => {
      seen.push(members.filter((id) => state.get('Task', id) !== undefined).length);
    });
    await data.sync.goOnline();
    await whenState(data, ({ version }) => version === 7);
    assert.ok(seen.length > 0);
    assert.deepEqual(new Set([0, ...seen]), new Set([0, members.length]));
  });
});

/** What one client writes at a time: a transaction, something that stays, and what goes again. */
function roundOf(writer: number, round: number): Draft[] {
  const transactionId = randomUUID();
  const own = (n: number): string => `w${writer}-${n}`;
  return [
    { entityId: own(round), transactionId },
    { entityType: 'Project', entityId: own(round), data: { name: `made in round ${round}` }, transactionId },
    ...(round % 3 === 0 ? [{ entityId: `${own(round)}-alone` }] : []),
    ...(round < 2 ? [] : [{ entityId: own(round - 2), operation: 'delete' as const, baseVersion: 1_000_000 }]),
  ];
}

/** All that the feed has is in the trail, once and in the feed's order. */
async function assertNothingSkipped(data: LocalDataEngine, witness: ProtocolClient): Promise<void> {
  const { changes } = await witness.pullAll();
  assert.deepEqual(
    changes.map(({ version }) => version),
    changes.map((_, index) => index + 1),
  );
  const trail = (await data.listChanges({ limit: 1_000 })).changes.filter(({ origin }) => origin === 'remote');
  assert.deepEqual(
    trail.map(({ id, acceptedVersion }) => [id, acceptedVersion]),
    changes.map(({ id, version }) => [id, version]),
  );
}

async function assertLikeServer(data: LocalDataEngine, witness: ProtocolClient): Promise<void> {
  const { entities } = await witness.snapshot();
  for (const [type, field] of [
    ['Task', 'title'],
    ['Project', 'name'],
  ] as const) {
    const { rows } = await data.queryEntities(type, { limit: 1_000 });
    const there = entities.filter(({ entityType }) => entityType === type);
    assert.deepEqual(
      rows.map((row) => `${String(row['id'])}: ${String(row[field])}`).toSorted(),
      there.map(({ entityId, entity }) => `${entityId}: ${String(entity[field])}`).toSorted(),
    );
  }
}
