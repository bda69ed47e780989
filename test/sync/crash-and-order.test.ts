// A client that is killed in the middle of receiving, woken from everywhere at once, or left without an answer: with the real
// engine and the real server over HTTP.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { PGlite } from '@electric-sql/pglite';
import { CrashingPglite } from '../simulation/crashing-pglite.ts';
import { World } from '../simulation/virtual-world.ts';
import { LocalDataError, type LocalDataEngine, openLocalData, temporaryDirectory } from '../support/engine.ts';
import { ProtocolClient } from '../support/server.ts';
import { SyncSuite, makeTaskTypes, openTasks, whenChange, whenState } from '../support/sync.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { type Asked, WATCHED_URL, WatchedTransport } from './watched-transport.ts';

describe('a client', () => {
  const suite = new SyncSuite();
  let directory: ReturnType<typeof temporaryDirectory>;

  beforeEach(() => {
    directory = temporaryDirectory();
  });
  afterEach(() => directory.remove());

  describe('that is killed while it pulls', function () {
    this.timeout(240_000);
    let pglite: PGlite;

    beforeEach(async () => {
      pglite = await PGlite.create({ dataDir: 'memory://' });
    });
    afterEach(() => pglite.close());

    it('has its cursor never ahead of its data, at whichever statement (scenario 3)', async () => {
      const others = new ProtocolClient(suite.url, suite.space, suite.token, 'others');
      let client = await openOn(pglite, suite.url);
      await makeTaskTypes(client.data);
      await connect(client.data, suite.token);
      let kills = 0;
      for (let round = 0; ; round += 1) {
        await client.data.sync.goOffline();
        await client.data.upsertEntity('Task', 'ours', { title: `written in round ${round}` });
        await writeAsOthers(others, round);
        client.database.crashAfter(round);
        const { sync } = client.data;
        const done = sync.goOnline().then(() => sync.whenSynced());
        await Promise.race([done, client.database.ended]);
        if (!client.database.isGone) break;
        kills += 1;
        client.transport.end();
        await client.database.crash();
        await assertCursorNotAhead(pglite, others);
        client = await openOn(pglite, suite.url);
        await connect(client.data, suite.token);
        await assertLikeServer(pglite, others);
      }
      assert.ok(kills > 20, `a pull has more than ${kills} statements`);
      await assertLikeServer(pglite, others);
      const { changes } = await others.pullAll();
      assert.equal(new Set(changes.map(({ id }) => id)).size, changes.length, 'each change took effect once');
      await close(client);
    });

    it('changes nothing by applying a page a second time, whose cursor was not kept (scenario 3)', async () => {
      const others = new ProtocolClient(suite.url, suite.space, suite.token, 'others');
      let client = await openOn(pglite, suite.url);
      await makeTaskTypes(client.data);
      await connect(client.data, suite.token);
      await client.data.upsertEntity('Task', 'ours', { title: 'before the page' });
      await client.data.sync.whenSynced();
      const before = await pglite.query<{ cursor: string; version: number }>(
        'SELECT cursor, version FROM local_data.sync_binding',
      );
      await client.data.upsertEntity('Task', 'ours', { title: 'within the page' });
      for (let round = 0; round < 3; round += 1) await writeAsOthers(others, round);
      await client.data.sync.whenSynced();
      await close(client);
      const once = await everything(pglite);

      const [binding] = before.rows;
      await pglite.query('UPDATE local_data.sync_binding SET cursor = $1, version = $2', [
        binding?.cursor,
        binding?.version,
      ]);
      client = await openOn(pglite, suite.url);
      await connect(client.data, suite.token);
      await close(client);
      assert.deepEqual(await everything(pglite), once);
    });
  });

  it('sends each change once when start-up, reconnect and take-over wake the sender together (scenario 5)', async () => {
    const dataDir = join(directory.path, 'data');
    await leaveByKilledOwner(dataDir, suite.url, suite.token, 250);
    const transport = new WatchedTransport(suite.url);
    const data = suite.closeAfterwards(await openLocalData({ dataDir, transports: transport.transports }));
    const release = transport.holdPushes();
    const sending = transport.next('push');
    const connecting = () => data.sync.connect({ url: WATCHED_URL, token: suite.token });
    const wakes = [
      connecting(),
      data.upsertEntity('Task', 'at-once', { title: 'written at the same instant' }),
      data.sync.goOnline(),
      data.sync.setRules({ Task: { conflicts: 'merge' } }),
      data.sync.setNetworkConditions(null),
      data.recordChange('Task', 't0', 'update', { priority: 1 }),
      connecting(),
    ];
    const outcomes = await Promise.allSettled(wakes);
    assert.equal(outcomes.at(-1)?.status, 'fulfilled');
    for (const outcome of outcomes) {
      // A later call may take the place of an earlier one.
      if (outcome.status === 'rejected') assert.ok(LocalDataError.isCode(outcome.reason, 'CANCELLED'), outcome.reason);
    }
    await sending;
    // And again, while the first push is on the wire.
    const later = [
      data.sync.syncNow(),
      data.sync.goOnline(),
      data.sync.setRules({ Task: { conflicts: 'last-write-wins' } }),
      data.sync.whenSynced(),
      data.upsertEntity('Task', 't1', { title: 'written while the push is on the wire' }),
    ];
    await data.upsertEntity('Task', 't2', { title: 'and one more' });
    release();
    await Promise.all(later);
    await data.sync.whenSynced();
    const { changes } = await data.listChanges({ limit: 1_000 });
    assert.equal(changes.length, 254);
    assert.deepEqual(transport.pushed.toSorted(), changes.map(({ id }) => id).toSorted());
    assert.deepEqual(new Set(changes.map(({ status }) => status)), new Set(['synced']));
  });

  describe('between a push and its echo', () => {
    let transport: WatchedTransport;
    let data: LocalDataEngine;

    beforeEach(async () => {
      transport = new WatchedTransport(suite.url);
      data = await suite.client({ transports: transport.transports });
    });

    it('sends what waits in the order in which it was made, over all lanes', async () => {
      await connect(data, suite.token);
      await data.sync.goOffline();
      const lanes = ['t9', 't10', 't9', 't100', 't10', 't9', 't100'];
      for (const [priority, id] of lanes.entries()) await data.upsertEntity('Task', id, { title: id, priority });
      await data.sync.goOnline();
      await data.sync.whenSynced();
      const { changes } = await data.listChanges();
      assert.deepEqual(
        transport.pushed,
        changes.map(({ id }) => id),
      );
    });

    it('has its base where the feed has brought it: what others wrote before its push still arrives (scenario 21)', async () => {
      const others = new ProtocolClient(suite.url, suite.space, suite.token, 'others');
      await others.push({ entityId: 't1', data: { title: 'base', priority: 1 } });
      await connect(data, suite.token);
      const release = transport.holdPulled();
      await others.push({ entityId: 't1', operation: 'update', data: { priority: 9 }, baseVersion: 1 });
      const change = await data.recordChange('Task', 't1', 'update', { title: 'ours' });
      await whenChange(data, change.id, ({ status }) => status === 'synced');
      const { title, priority } = (await data.getEntity('Task', 't1')) ?? {};
      assert.deepEqual([title, priority], ['ours', 1]);
      release();
      await whenState(data, ({ version }) => version === 3);
      const arrived = await data.getEntity('Task', 't1');
      assert.deepEqual([arrived?.['title'], arrived?.['priority']], ['ours', 9]);
    });
  });

  describe('whose request never settles', () => {
    let clock: VirtualClock;
    let transport: WatchedTransport;
    let data: LocalDataEngine;

    beforeEach(async () => {
      clock = new VirtualClock();
      transport = new WatchedTransport(suite.url);
      data = await openTasks({ clock, transports: transport.transports });
    });
    afterEach(() => data.close());

    it('gives up a push by its clock, lets go of what was on the wire, and sends it again (scenario 17)', async () => {
      const others = new ProtocolClient(suite.url, suite.space, suite.token, 'others');
      await connect(data, suite.token);
      transport.silent.add('push');
      const pushing = transport.next('push');
      const change = await data.recordChange('Task', 't1', 'insert', { title: 'patient' });
      await pushing;
      // What is pulled meanwhile begins a wait of its own, so that the push is the first whose time is over.
      clock.advance(40_000);
      await others.push({ entityId: 'theirs', data: { title: 'arrives meanwhile' } });
      await whenState(data, ({ version }) => version === 1);
      await data.upsertEntity('Task', 't2', { title: 'goes on being written' });
      assert.equal(data.stores.sync.getState().inFlight, 1);
      clock.advance(20_000);
      await whenState(data, ({ status }) => status === 'offline');
      const { inFlight, reason, nextTryAt, waiting } = data.stores.sync.getState();
      assert.deepEqual([inFlight, waiting], [0, 2]);
      assert.match(reason ?? '', /did not answer within 60 s/);
      const stuck = await data.getChange(change.id);
      assert.deepEqual([stuck?.status, stuck?.attempts, stuck?.reason], ['applied', 0, 'offline']);

      transport.silent.clear();
      clock.advance((nextTryAt ?? 0) - clock.now());
      await whenChange(data, change.id, ({ status }) => status === 'synced');
      assert.deepEqual(transport.pushed.slice(0, 2), [change.id, change.id]);
    });

    const kinds: readonly (readonly [Exclude<Asked, 'push'>, number, string])[] = [
      ['info', 15_000, '15 s'],
      ['snapshot', 60_000, '60 s'],
      ['pull', 30_000, '30 s'],
    ];
    for (const [kind, limit, told] of kinds) {
      it(`gives up ${kind} by its clock after ${told}, and asks again (scenario 17)`, async () => {
        transport.silent.add(kind);
        const asked = transport.next(kind);
        // The first contact is made by connect itself, which says at once where that fails.
        const connecting = data.sync.connect({ url: WATCHED_URL, token: suite.token });
        if (kind === 'info') {
          await asked;
          clock.advance(limit);
          await assert.rejects(connecting, new RegExp(`did not answer within ${told}`));
          transport.silent.clear();
          return connect(data, suite.token);
        }
        await connecting;
        await asked;
        clock.advance(limit);
        await whenState(data, ({ status }) => status === 'offline');
        const { reason, nextTryAt } = data.stores.sync.getState();
        assert.match(reason ?? '', new RegExp(`did not answer within ${told}`));
        transport.silent.clear();
        clock.advance((nextTryAt ?? 0) - clock.now());
        await data.sync.whenSynced();
      });
    }

    for (const kind of ['push', 'pull', 'snapshot'] as const) {
      it(`closes at once while ${kind} has no answer, without its clock going on (scenario 17)`, async () => {
        if (kind === 'push') await connect(data, suite.token);
        transport.silent.add(kind);
        const asked = transport.next(kind);
        if (kind === 'push') await data.upsertEntity('Task', 't1', { title: 'on the wire' });
        else await data.sync.connect({ url: WATCHED_URL, token: suite.token });
        await asked;
        const before = performance.now();
        await data.close();
        assert.ok(performance.now() - before < 5_000, 'closing waited for an answer');
      });
    }
  });
});

interface Client {
  readonly data: LocalDataEngine;
  readonly database: CrashingPglite;
  readonly transport: WatchedTransport;
}

async function openOn(pglite: PGlite, serverUrl: string): Promise<Client> {
  const database = new CrashingPglite(pglite, new World());
  const transport = new WatchedTransport(serverUrl);
  const options = { memory: true, clock: new VirtualClock(), transports: transport.transports };
  const data = await openLocalData({ ...options, pglite: database.pglite });
  return { data, database, transport };
}

/** The PGlite stays open, and has no more of this session. */
async function close({ data, database }: Client): Promise<void> {
  await data.close();
  await database.crash();
}

async function connect(data: LocalDataEngine, token: string): Promise<void> {
  await data.sync.connect({ url: WATCHED_URL, token });
  await data.sync.whenSynced();
}

/** A page with something of everything: an entity that comes, one that changes and one that goes, and two at once. */
async function writeAsOthers(others: ProtocolClient, round: number): Promise<void> {
  const transactionId = `transaction-${others.space}-${round}`;
  const base = (await others.info()).version;
  const results = await others.push(
    { entityType: 'Project', entityId: `p${round}`, data: { name: 'new' }, transactionId },
    { entityId: `t${round}`, data: { title: 'refers', project_id: `p${round}` }, transactionId },
    { entityId: `short-${round}`, data: { title: 'comes and goes' } },
    { entityId: `short-${round}`, operation: 'delete', baseVersion: base + 3 },
    ...(round === 0
      ? [{ entityId: 'theirs', data: { title: 'new' } }]
      : [{ entityId: 'theirs', operation: 'update' as const, data: { priority: round }, baseVersion: base }]),
    ...(round < 2 ? [] : [{ entityId: `t${round - 2}`, operation: 'delete' as const, baseVersion: base }]),
  );
  assert.deepEqual(new Set(results.map(({ outcome }) => outcome)), new Set(['applied']));
}

interface Place {
  readonly version: number;
  readonly data: unknown;
}

async function readBases(pglite: PGlite): Promise<{ cursor: number; bases: Map<string, Place> }> {
  const { rows } = await pglite.query<{ version: number }>('SELECT version::int FROM local_data.sync_binding');
  const bases = await pglite.query<{ lane: string; version: number; data: unknown }>(
    `SELECT entity_type || '/' || entity_id AS lane, version::int, CASE WHEN deleted THEN NULL ELSE data END AS data
     FROM local_data.entity_bases`,
  );
  const byLane = new Map(bases.rows.map(({ lane, version, data }) => [lane, { version, data }]));
  return { cursor: rows[0]?.version ?? 0, bases: byLane };
}

/** As the feed tells it, up to a version. */
async function feedUpTo(others: ProtocolClient, end: number): Promise<Map<string, Place>> {
  const { changes } = await others.pullAll();
  const known = changes.filter(({ version }) => version <= end);
  return new Map(
    known.map(({ entityType, entityId, version, entity }) => [`${entityType}/${entityId}`, { version, data: entity }]),
  );
}

function versionsOf(places: ReadonlyMap<string, Place>): string[] {
  return [...places].map(([lane, { version }]) => `${lane} at ${version}`).toSorted();
}

/** Cursor and bases move together: what the feed says up to the cursor is here, and nothing from beyond. */
async function assertCursorNotAhead(pglite: PGlite, others: ProtocolClient): Promise<void> {
  const { cursor, bases } = await readBases(pglite);
  const expected = await feedUpTo(others, cursor);
  assert.deepEqual(versionsOf(bases), versionsOf(expected));
}

async function assertLikeServer(pglite: PGlite, others: ProtocolClient): Promise<void> {
  await assertCursorNotAhead(pglite, others);
  const { entities, version } = await others.snapshot();
  assert.equal((await readBases(pglite)).cursor, version);
  const here = await pglite.query<{ id: string; title: string; priority: number | null }>(
    'SELECT id, title, priority FROM tasks ORDER BY id',
  );
  const there = entities.filter(({ entityType }) => entityType === 'Task');
  assert.deepEqual(
    here.rows,
    there
      .map(({ entityId, entity }) => ({ id: entityId, title: entity['title'], priority: entity['priority'] ?? null }))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  );
}

/** All that a page may write, as it is. */
async function everything(pglite: PGlite): Promise<unknown> {
  const tables = ['tasks', 'projects', 'local_changes', 'local_data.entity_bases', 'local_data.feed_pages'];
  const all = [];
  for (const table of tables) all.push((await pglite.query(`SELECT * FROM ${table} t ORDER BY t::text`)).rows);
  return all;
}

/** A process that has the directory, leaves changes that wait, and is killed. */
async function leaveByKilledOwner(dataDir: string, url: string, token: string, count: number): Promise<void> {
  const program = fileURLToPath(new URL('./owner-program.ts', import.meta.url));
  const words = [program, dataDir, url, token, String(count)];
  const owner = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: owner.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'ready');
  const exited = once(owner, 'exit');
  owner.kill('SIGKILL');
  await exited;
}
