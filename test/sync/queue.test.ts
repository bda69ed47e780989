// What of the queue goes, waits, stays or cancels out, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import { type LocalDataEngine, TransportError } from '../support/engine.ts';
import { type OpenOptions, type Rules, SyncSuite, offline, whenChange } from '../support/sync.ts';

describe('the queue of a push', () => {
  let isStrict = true;
  const suite = new SyncSuite({
    validate: ({ after }) => (isStrict && after?.['name'] === 'forbidden' ? { reason: 'That is not allowed.' } : null),
  });

  beforeEach(() => {
    isStrict = true;
  });

  async function open(options: OpenOptions = {}): Promise<LocalDataEngine> {
    const data = await suite.client(options);
    await data.registerEntityType({ entityType: 'Note' });
    return data;
  }

  async function connected(rules: Rules = {}): Promise<LocalDataEngine> {
    const data = await open();
    await data.sync.setRules(rules);
    await suite.connect(data);
    return data;
  }

  /** The real way to the server, with something of it changed. */
  function through(change: (transport: SyncTransport) => Partial<SyncTransport>): OpenOptions {
    const changed: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      return { ...transport, ...change(transport) };
    };
    return { transports: { changed } };
  }

  async function statuses(data: LocalDataEngine): Promise<string[]> {
    const { changes } = await data.listChanges({ limit: 1_000 });
    return changes.map(({ status }) => status);
  }

  it('cancels nothing out of a lane that a larger transaction has a part in', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't2', { title: 'before' });
    await offline(a, async () => {
      await a.upsertEntity('Task', 't1', { title: 'short' });
      await a.transaction((tx) => {
        tx.upsertEntity('Task', 't1', { title: 'shorter' });
        tx.upsertEntity('Task', 't2', { title: 'together' });
      });
      await a.deleteEntity('Task', 't1');
    });
    assert.deepEqual(await statuses(a), ['synced', 'synced', 'synced', 'synced', 'synced']);
    const b = await connected();
    assert.equal((await b.getEntity('Task', 't2'))?.['title'], 'together');
    assert.equal(await b.getEntity('Task', 't1'), undefined);
  });

  it('lets go what waits for a refused change once the rules keep that on this machine', async () => {
    const a = await connected();
    await offline(a, async () => {
      await a.upsertEntity('Project', 'p1', { name: 'forbidden' });
      await a.upsertEntity('Task', 't1', { title: 'refers to it', project_id: 'p1' });
      await a.transaction((tx) => {
        tx.upsertEntity('Project', 'p2', { name: 'forbidden' });
        tx.upsertEntity('Task', 't2', { title: 'together with one' });
      });
    });
    assert.deepEqual(await statuses(a), ['failed', 'blocked', 'failed', 'blocked']);
    await a.sync.setRules({ Project: { sync: false } });
    await a.sync.whenSynced();
    assert.deepEqual(await statuses(a), ['failed', 'synced', 'failed', 'synced']);
    await a.upsertEntity('Task', 't3', { title: 'refers to it from now on', project_id: 'p1' });
    await a.sync.whenSynced();
    assert.equal((await statuses(a)).at(-1), 'synced');
  });

  /** Both have t1; this one deletes it while the first snapshot is on the way. */
  async function deletedMeanwhile(rules: Rules): Promise<[LocalDataEngine, LocalDataEngine]> {
    const b = await connected(rules);
    await b.upsertEntity('Task', 't1', { title: 'theirs', priority: 1 });
    await b.sync.whenSynced();
    const asked = Promise.withResolvers<void>();
    const mayCome = Promise.withResolvers<void>();
    const a = await open(
      through((transport) => ({
        snapshot: async (query, call) => {
          asked.resolve();
          await mayCome.promise;
          return transport.snapshot(query, call);
        },
      })),
    );
    await a.upsertEntity('Task', 't1', { title: 'mine' });
    await a.sync.setRules(rules);
    await a.sync.connect({ url: 'changed:server', token: suite.token });
    await asked.promise;
    await a.deleteEntity('Task', 't1');
    mayCome.resolve();
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    return [a, b];
  }

  it('sends a delete that is made while the first snapshot brings the entity', async () => {
    const [a, b] = await deletedMeanwhile({ '*': { conflicts: 'last-write-wins' } });
    assert.equal(await a.getEntity('Task', 't1'), undefined);
    assert.equal(await b.getEntity('Task', 't1'), undefined);
  });

  it('sends of it the delete alone, which gives way to what others wrote where an edit outlives it, and says so', async () => {
    const [a, b] = await deletedMeanwhile({});
    const theirs = await b.getEntity('Task', 't1');
    assert.equal(theirs?.['title'], 'theirs');
    assert.deepEqual(await a.getEntity('Task', 't1'), theirs);
    const { changes } = await a.listChanges();
    const deleted = changes.find(({ operation }) => operation === 'delete');
    assert.equal(deleted?.conflict?.resolution?.outcome, 'theirs');
  });

  it('lets go what waits for an insert that cancels out', async () => {
    const a = await connected();
    await offline(a, async () => {
      await a.upsertEntity('Project', 'p1', { name: 'forbidden' });
      await a.upsertEntity('Task', 't1', { title: 'refers to it', project_id: 'p1' });
    });
    const [parent] = (await a.listChanges()).changes;
    assert.deepEqual(await statuses(a), ['failed', 'blocked']);
    await offline(a, async () => {
      await a.retryChange(parent?.id ?? '');
      await a.deleteEntity('Task', 't1');
      await a.deleteEntity('Project', 'p1');
    });
    assert.deepEqual(await statuses(a), ['synced', 'synced', 'synced', 'synced']);
    assert.match((await a.getChange(parent?.id ?? ''))?.note ?? '', /cancelled out/);
    const b = await connected();
    assert.equal((await b.query('SELECT count(*)::int AS n FROM tasks')).rows[0]?.['n'], 0);
  });

  it('is in doubt about nothing any more once an echo shows that what left before it was taken too', async () => {
    const a = await open(
      through((transport) => ({
        push: async (request, call) => {
          await transport.push(request, call);
          throw new TransportError('unreachable', 'The answer was lost.', { mayHaveTakenEffect: true });
        },
      })),
    );
    await a.sync.connect({ url: 'changed:server', token: suite.token });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    const gone = await a.recordChange('Task', 't1', 'delete');
    const insert = await a.recordChange('Task', 't1', 'insert', { title: 'there' });
    await a.whenIdle();
    await a.sync.goOnline();
    await whenChange(a, insert.id, ({ status }) => status === 'synced');
    assert.equal((await a.getChange(gone.id))?.status, 'synced');
    const { rows } = await a.query('SELECT cardinality(in_doubt) AS n FROM local_data.sync_binding');
    assert.equal(rows[0]?.['n'], 0);
  });

  it('sends nothing of a type that stays here by the rule for all, though its table is gone', async () => {
    const keep = { '*': { sync: false }, Project: { sync: true } };
    const a = await open();
    await a.upsertEntity('Task', 't1', { title: 'private, before the first connect' });
    await a.exec('DROP TABLE tasks');
    assert.ok(!(await a.listEntityTypes()).some(({ entityType }) => entityType === 'Task'));
    await a.sync.setRules(keep);
    await a.sync.connect({ url: suite.url, token: suite.token });
    await a.sync.whenSynced();
    await a.upsertEntity('Note', 'n1', { title: 'private, since then' });
    const table = (await a.listEntityTypes()).find(({ entityType }) => entityType === 'Note')?.table;
    await a.exec(`DROP TABLE ${table}`);
    await a.upsertEntity('Project', 'p1', { name: 'shared' });
    await a.sync.whenSynced();
    assert.equal((await a.sync.state()).waiting, 0);
    const b = await connected();
    assert.equal((await b.getEntity('Project', 'p1'))?.['name'], 'shared');
    assert.equal(await b.getEntity('Task', 't1'), undefined);
    assert.equal(await b.getEntity('Note', 'n1'), undefined);
  });

  it('goes by the rules that were given last, also where they came one right after the other', async () => {
    const a = await connected();
    await Promise.all([a.sync.setRules({ Task: { sync: false } }), a.sync.setRules({})]);
    await a.upsertEntity('Task', 't1', { title: 'shared' });
    await a.sync.whenSynced();
    const b = await connected();
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'shared');
  });

  it('tries a change again in time that failed for a while, though the clock was set back an hour', async () => {
    let setBack = 0;
    let isFailing = true;
    const clock = {
      now: () => Date.now() - setBack,
      setTimer: (callback: () => void, milliseconds: number) => {
        const timer = setTimeout(callback, milliseconds);
        return () => clearTimeout(timer);
      },
    };
    const failing = through((transport) => ({
      push: (request, call) =>
        isFailing
          ? Promise.reject(new TransportError('overloaded', 'A proxy says 503.', { status: 503 }))
          : transport.push(request, call),
    }));
    const retry = { attempts: 8, baseDelayMs: 2_000, maxDelayMs: 2_000 };
    const a = await open({ ...failing, clock, retry });
    await a.sync.connect({ url: 'changed:server', token: suite.token });
    await a.sync.whenSynced();
    const change = await a.recordChange('Task', 't1', 'insert', { title: 'late' });
    await whenChange(a, change.id, ({ status, failure }) => status === 'retrying' && failure?.stage === 'push');
    isFailing = false;
    setBack = 3_600_000;
    await whenChange(a, change.id, ({ status }) => status === 'synced');
    const b = await connected();
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'late');
  });

  it('refuses to send what takes more fields out of a document than a change may, and says so', async () => {
    const a = await connected();
    const fields = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`field${index}`, index]));
    await a.upsertEntity('Note', 'n1', { title: 'x', ...fields });
    await a.upsertEntity('Note', 'n2', { title: 'x', ...fields });
    await a.sync.whenSynced();
    const b = await connected();
    const table = (await a.listEntityTypes()).find(({ entityType }) => entityType === 'Note')?.table;
    await offline(a, async () => {
      await a.exec(`UPDATE ${table} SET data = '{"title": "x"}' WHERE id = 'n1'`);
      await a.upsertEntity('Note', 'n1', { title: 'behind it' });
      // As many as a change may.
      await a.exec(`UPDATE ${table} SET data = '{"title": "x", "field0": 0}' WHERE id = 'n2'`);
    });
    await b.sync.whenSynced();
    const [, , refused, behind, taken] = (await a.listChanges()).changes;
    assert.deepEqual([refused?.status, behind?.status, taken?.status], ['failed', 'blocked', 'synced']);
    assert.equal(refused?.failure?.stage, 'push');
    assert.match(refused.failure.message, /1001 fields.*1000/);
    assert.deepEqual(await b.getEntity('Note', 'n2'), { id: 'n2', title: 'x', field0: 0 });
    assert.equal(Object.keys((await b.getEntity('Note', 'n1')) ?? {}).length, 1_003);
    await a.discardChange(refused.id);
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Note', 'n1'))?.['title'], 'behind it');
    assert.deepEqual(await a.getEntity('Note', 'n1'), await b.getEntity('Note', 'n1'));
  });
});
