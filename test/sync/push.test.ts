// What is pushed, in which pieces, and what becomes of it, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import { LocalDataError, TransportError, type LocalDataEngine } from '../support/engine.ts';
import { type Rules, SyncSuite, offline, whenChange, whenState } from '../support/sync.ts';

/** A pull that waits until it is cancelled. */
const neverAnswers: SyncTransport['pull'] = (_query, { signal }) =>
  new Promise((_, reject) => {
    const cancelled = (): void => reject(new TransportError('cancelled', 'The request was cancelled.'));
    signal.addEventListener('abort', cancelled, { once: true });
  });

describe('a push', () => {
  let isStrict = true;
  const suite = new SyncSuite({
    validate: ({ after }) => {
      if (after?.['title'] === 'breaks the rule itself') throw new Error('The rule is broken.');
      return isStrict && (after?.['title'] === 'forbidden' || after?.['name'] === 'forbidden')
        ? { reason: 'That is not allowed.' }
        : null;
    },
  });
  beforeEach(() => {
    isStrict = true;
  });

  const connected = (rules?: Rules): Promise<LocalDataEngine> => suite.connected(rules);

  async function statuses(data: LocalDataEngine): Promise<string[]> {
    const { changes } = await data.listChanges({ limit: 1_000 });
    return changes.map(({ status }) => status);
  }

  async function countThere(sql: string, rules?: Rules): Promise<unknown> {
    const other = await connected(rules);
    return (await other.query(sql)).rows[0]?.['n'];
  }

  it('lets the rest of a lane go once a refused change of it is retried and accepted', async () => {
    const a = await connected();
    await offline(a, async () => {
      await a.upsertEntity('Task', 't1', { title: 'forbidden' });
      await a.upsertEntity('Task', 't1', { priority: 5 });
    });
    const [refused, behind] = (await a.listChanges()).changes;
    assert.deepEqual([refused?.status, behind?.status], ['failed', 'blocked']);
    isStrict = false;
    await a.retryChange(refused?.id ?? '');
    await a.sync.whenSynced();
    await whenChange(a, behind?.id ?? '', ({ status }) => status === 'synced');
    assert.deepEqual(await statuses(a), ['synced', 'synced']);
  });

  it('lets what belongs to a refused insert go once that is retried, and says until then what it waits for', async () => {
    const a = await connected();
    await offline(a, async () => {
      await a.upsertEntity('Project', 'p1', { name: 'forbidden' });
      await a.upsertEntity('Task', 't1', { title: 'child', project_id: 'p1' });
    });
    const [parent, child] = (await a.listChanges()).changes;
    assert.equal(parent?.status, 'failed');
    assert.equal(child?.status, 'blocked');
    assert.equal(child?.reason, `waits for change ${parent?.seq}, which creates what it refers to`);
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 0);
    isStrict = false;
    await a.retryChange(parent?.id ?? '');
    await whenChange(a, child?.id ?? '', ({ status }) => status === 'synced');
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 1);
  });

  it('holds what refers to a refused insert by more columns than its key', async () => {
    const a = await connected();
    await a.exec(`CREATE TABLE plots (tenant_id integer, id integer PRIMARY KEY, name text, UNIQUE (tenant_id, id));
      CREATE TABLE huts (id text PRIMARY KEY, tenant_id integer, plot_id integer,
        FOREIGN KEY (tenant_id, plot_id) REFERENCES plots (tenant_id, id))`);
    await a.registerEntityType({ entityType: 'Plot', table: 'plots' });
    await a.registerEntityType({ entityType: 'Hut', table: 'huts' });
    await offline(a, async () => {
      await a.upsertEntity('Plot', '7', { tenant_id: 1, name: 'forbidden' });
      await a.upsertEntity('Hut', 'h', { tenant_id: 1, plot_id: 7 });
    });
    const [parent, child] = (await a.listChanges()).changes;
    assert.deepEqual([parent?.status, child?.status], ['failed', 'blocked']);
    assert.equal(child?.reason, `waits for change ${parent?.seq}, which creates what it refers to`);
    isStrict = false;
    await a.retryChange(parent?.id ?? '');
    await whenChange(a, child?.id ?? '', ({ status }) => status === 'synced');
  });

  it('sends a transaction whole that the edge of a batch would cut', async () => {
    const a = await connected();
    await offline(a, async () => {
      for (let i = 0; i < 10; i++) await a.upsertEntity('Task', `one-${i}`, { title: 'alone' });
      await a.transaction((tx) => {
        for (let i = 0; i < 995; i++) tx.upsertEntity('Task', `t-${i}`, { title: 'together' });
      });
    });
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 1_005);
    assert.equal((await a.sync.state()).waiting, 0);
  });

  it('sends a transaction in pieces that has more changes than a push, and says so', async () => {
    const a = await connected();
    await offline(a, async () => {
      await a.upsertEntity('Task', 'before', { title: 'alone' });
      await a.exec(`INSERT INTO tasks (id, title) SELECT 't' || i, 'captured' FROM generate_series(1, 1500) i`);
      await a.upsertEntity('Task', 'behind', { title: 'alone' });
    });
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 1_502);
    const [, first, ...others] = (await a.listChanges({ limit: 1_000 })).changes;
    assert.match(first?.reason ?? '', /too large for one push and was sent in pieces/);
    assert.match(others.at(-1)?.reason ?? '', /too large for one push/);
  });

  it('sends a transaction in pieces that has more bytes than a push', async () => {
    const a = await connected();
    const long = randomBytes(60_000).toString('hex');
    await offline(a, async () => {
      await a.exec(`INSERT INTO tasks (id, title) SELECT 't' || i, '${long}' || i FROM generate_series(1, 100) i`);
      await a.upsertEntity('Task', 'behind', { title: 'alone' });
    });
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 101);
  });

  it('spends the attempts of a transaction alone that keeps failing; everything else goes on', async () => {
    const a = await connected();
    await a.sync.goOffline();
    await a.transaction((tx) => {
      tx.upsertEntity('Task', 't1', { title: 'breaks the rule itself' });
      tx.upsertEntity('Task', 't2', { title: 'fine' });
    });
    await a.upsertEntity('Project', 'p1', { name: 'other' });
    await a.sync.goOnline();
    const [head, member, other] = (await a.listChanges()).changes;
    await whenChange(a, other?.id ?? '', ({ status }) => status === 'synced');
    await whenChange(a, head?.id ?? '', ({ status, attempts }) => status === 'retrying' && attempts > 0);
    const held = await a.getChange(member?.id ?? '');
    assert.equal(held?.reason, `waits for change ${head?.seq} of the same transaction`);
  });

  it('that is too large is split until the change at fault stands alone, which is failed at once; the others go on', async () => {
    let isNarrow = true;
    const sizes: number[] = [];
    const narrow: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const push: SyncTransport['push'] = (request, call) => {
        sizes.push(request.changes.length);
        const isTooLarge = isNarrow && request.changes.some(({ entityId }) => entityId === 't3');
        if (isTooLarge) return Promise.reject(new TransportError('too-large', 'A proxy says 413.', { status: 413 }));
        return transport.push(request, call);
      };
      return { ...transport, push };
    };
    const a = await suite.client({ transports: { narrow } });
    await a.sync.connect({ url: 'narrow:server', token: suite.token });
    await a.sync.goOffline();
    const ids = [];
    for (let i = 0; i < 8; i++)
      ids.push((await a.recordChange('Task', `t${i}`, 'insert', { title: 'one of many' })).id);
    await a.whenIdle();
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const failed = await a.getChange(ids[3] ?? '');
    assert.deepEqual([failed?.status, failed?.failure?.stage, failed?.failure?.kind], ['failed', 'push', 'permanent']);
    assert.ok(sizes.includes(8) && sizes.includes(4) && sizes.includes(1), `pushes of ${sizes.join(', ')}`);
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 7);
    isNarrow = false;
    await a.retryFailed();
    await a.sync.whenSynced();
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 8);
  });

  it('goes on after the server has forgotten the feed that far back: a snapshot comes, and nothing that waited is lost', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't1', { title: 'before' });
    await a.upsertEntity('Task', 't2', { title: 'to be deleted elsewhere' });
    await a.sync.whenSynced();
    const b = await connected();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { title: 'written meanwhile' });
    await b.deleteEntity('Task', 't2');
    await b.sync.whenSynced();
    // Answered by the network instead of the server, for the first pull and for the first try of the snapshot.
    await a.sync.setNetworkConditions({ errorStatus: 410 });
    await a.sync.goOnline();
    await whenState(a, ({ status }) => status === 'offline');
    await a.sync.setNetworkConditions(null);
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'written meanwhile');
    assert.equal(await a.getEntity('Task', 't2'), undefined);
  });

  it('that was accepted and not seen again tells of a server that was put back to before it, which the cursor cannot', async () => {
    let isPutBack = false;
    const forgetful: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const info: SyncTransport['info'] = async (call) => {
        const present = await transport.info(call);
        return isPutBack ? { ...present, version: 0 } : present;
      };
      // What was accepted does not come back before the server is gone.
      return { ...transport, info, pull: neverAnswers };
    };
    const a = await suite.client({ transports: { forgetful } });
    await a.sync.connect({ url: 'forgetful:server', token: suite.token });
    const change = await a.recordChange('Task', 't1', 'insert', { title: 'accepted' });
    await whenChange(a, change.id, ({ status }) => status === 'synced');
    await a.sync.goOffline();
    isPutBack = true;
    await a.sync.goOnline();
    await whenState(a, ({ status }) => status === 'needs-decision');
    assert.match((await a.sync.state()).reason ?? '', /another history/);
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'accepted');
  });

  it('whose answer gives a version a second time tells of it too, and settles nothing', async () => {
    let isPutBack = false;
    const forgetful: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const push: SyncTransport['push'] = async (request, call) => {
        const answer = await transport.push(request, call);
        if (!isPutBack) return answer;
        return { ...answer, results: answer.results.map((result) => ({ ...result, version: 1 })) };
      };
      return { ...transport, push, pull: neverAnswers };
    };
    const a = await suite.client({ transports: { forgetful } });
    await a.sync.connect({ url: 'forgetful:server', token: suite.token });
    const first = await a.recordChange('Task', 't1', 'insert', { title: 'accepted' });
    await whenChange(a, first.id, ({ status }) => status === 'synced');
    isPutBack = true;
    const second = await a.recordChange('Task', 't2', 'insert', { title: 'accepted by another history' });
    await whenState(a, ({ status }) => status === 'needs-decision');
    assert.match((await a.sync.state()).reason ?? '', /reset or put back/);
    assert.equal((await a.getChange(second.id))?.status, 'applied');
  });

  it('never sends what stays on this machine, not even as a member of a transaction', async () => {
    const a = await connected({ Task: { sync: false } });
    await offline(a, () =>
      a.transaction((tx) => {
        tx.upsertEntity('Project', 'p1', { name: 'shared' });
        tx.upsertEntity('Task', 't1', { title: 'private' });
      }),
    );
    assert.equal(await countThere('SELECT count(*)::int AS n FROM projects'), 1);
    assert.equal(await countThere('SELECT count(*)::int AS n FROM tasks'), 0);
  });

  it('still sends what was restored while a later change of its lane was on the way and its echo came first', async () => {
    const sent = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    const late: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const push: SyncTransport['push'] = async (request, call) => {
        const answer = await transport.push(request, call);
        if (request.changes.some(({ data }) => data?.['title'] === 'later')) {
          sent.resolve();
          await answered.promise;
        }
        return answer;
      };
      return { ...transport, push };
    };
    const a = await suite.client({ transports: { late } });
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
    await a.sync.connect({ url: 'late:server', token: suite.token });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    const restored = await a.recordChange('Task', 't1', 'update', { priority: 7 });
    await a.whenIdle();
    await a.discardChange(restored.id);
    const later = await a.recordChange('Task', 't1', 'update', { title: 'later' });
    await a.whenIdle();
    await a.sync.goOnline();
    await sent.promise;
    await a.restoreChange(restored.id);
    await whenChange(a, later.id, ({ status }) => status === 'synced');
    assert.equal((await a.getChange(restored.id))?.status, 'applied');
    answered.resolve();
    await a.sync.whenSynced();
    const b = await connected();
    assert.equal((await b.getEntity('Task', 't1'))?.['priority'], 7);
  });

  it('never leaves a child on the server whose parent is refused in the same push', async () => {
    const a = await connected();
    await offline(a, async () => {
      await a.upsertEntity('Project', 'p1', { name: 'forbidden' });
      await a.upsertEntity('Task', 't1', { title: 'child', project_id: 'p1' });
      await a.upsertEntity('Task', 't2', { title: 'on its own' });
    });
    const b = await connected();
    assert.equal(await b.getEntity('Task', 't1'), undefined);
    assert.equal((await b.getEntity('Task', 't2'))?.['title'], 'on its own');
  });
});

describe('a conflict', () => {
  const suite = new SyncSuite();

  async function connected(rules: Rules): Promise<LocalDataEngine> {
    const data = await suite.client();
    await data.registerEntityType({ entityType: 'Note' });
    await data.sync.setRules(rules);
    await suite.connect(data);
    return data;
  }

  /** Both have the same entities, and both are offline. */
  async function apart(policy: 'merge' | 'manual' | 'last-write-wins'): Promise<[LocalDataEngine, LocalDataEngine]> {
    const rules = { '*': { conflicts: policy } };
    const a = await connected(rules);
    await a.upsertEntity('Task', 't1', { title: 'base', settings: { colour: 'red', size: 1 } });
    await a.sync.whenSynced();
    const b = await connected(rules);
    await a.sync.goOffline();
    await b.sync.goOffline();
    return [a, b];
  }

  async function goOnline(data: LocalDataEngine): Promise<void> {
    await data.sync.goOnline();
    await data.sync.whenSynced();
  }

  it('that is merged stays merged beneath a later edit of the same object', async () => {
    const [a, b] = await apart('merge');
    await b.upsertEntity('Task', 't1', { settings: { colour: 'red', size: 2 } });
    await a.upsertEntity('Task', 't1', { settings: { colour: 'blue', size: 1 } });
    await a.upsertEntity('Task', 't1', { settings: { colour: 'green', size: 1 } });
    await goOnline(b);
    await goOnline(a);
    await b.sync.whenSynced();
    const wanted = { colour: 'green', size: 2 };
    assert.deepEqual((await a.getEntity('Task', 't1'))?.['settings'], wanted);
    assert.deepEqual((await b.getEntity('Task', 't1'))?.['settings'], wanted);
  });

  it('that a person merged stays merged beneath a later edit of the same object', async () => {
    const [a, b] = await apart('manual');
    await b.upsertEntity('Task', 't1', { settings: { colour: 'red', size: 2 } });
    await a.upsertEntity('Task', 't1', { settings: { colour: 'blue', size: 1 } });
    await a.upsertEntity('Task', 't1', { settings: { colour: 'green', size: 1 } });
    await goOnline(b);
    await goOnline(a);
    const [conflicted] = await a.sync.conflicts();
    await a.sync.resolve(conflicted?.id ?? '', { data: { settings: { colour: 'blue', size: 2 } } });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual((await b.getEntity('Task', 't1'))?.['settings'], { colour: 'green', size: 2 });
    assert.deepEqual(await a.sync.conflicts(), []);
  });

  it('decided by a person is newer than what was decided about', async () => {
    const [a, b] = await apart('manual');
    await a.upsertEntity('Task', 't1', { title: 'mine' });
    await b.upsertEntity('Task', 't1', { title: 'theirs' });
    const c = await connected({ '*': { conflicts: 'last-write-wins' } });
    await c.sync.goOffline();
    await c.upsertEntity('Task', 't1', { title: 'written before the decision' });
    await goOnline(b);
    await goOnline(a);
    const [conflicted] = await a.sync.conflicts();
    await a.sync.resolve(conflicted?.id ?? '', { keep: 'mine' });
    await a.sync.whenSynced();
    await goOnline(c);
    await a.sync.whenSynced();
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'mine');
  });

  it('that waits for a person shows what the server has now, also after the other side went on', async () => {
    const [a, b] = await apart('manual');
    await a.upsertEntity('Task', 't1', { title: 'mine', priority: 1 });
    await b.upsertEntity('Task', 't1', { title: 'theirs 1' });
    await goOnline(b);
    await goOnline(a);
    await b.upsertEntity('Task', 't1', { title: 'theirs 2', priority: 9 });
    await b.sync.whenSynced();
    await a.sync.whenSynced();
    const [shown] = await a.sync.conflicts();
    assert.equal(shown?.conflict?.fields['title']?.theirs, 'theirs 2');
    assert.deepEqual(Object.keys(shown?.conflict?.fields ?? {}).sort(), ['priority', 'title']);
    await a.sync.resolve(shown?.id ?? '', { data: { title: 'theirs 1', priority: 1 } });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual(await a.sync.conflicts(), []);
    const entity = await b.getEntity('Task', 't1');
    assert.deepEqual([entity?.['title'], entity?.['priority']], ['theirs 1', 1]);
  });

  it('of a change that was recorded before theirs came, and applied after, goes by the later all the same', async () => {
    const [a, b] = await apart('merge');
    await a.stopChangeProcessor();
    await a.recordChange('Task', 't1', 'update', { title: 'mine, earlier' });
    await b.upsertEntity('Task', 't1', { title: 'theirs, later' });
    await goOnline(b);
    await goOnline(a);
    a.startChangeProcessor();
    await a.whenIdle();
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'theirs, later');
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'theirs, later');
  });

  it('in which mine is kept again and again brings a document back whole', async () => {
    const rules = { '*': { conflicts: 'manual' as const } };
    const a = await connected(rules);
    const b = await connected(rules);
    await a.sync.goOffline();
    await a.upsertEntity('Note', 'n1', { title: 'mine', same: 'on both' });
    await b.upsertEntity('Note', 'n1', { title: 'theirs', same: 'on both' });
    await b.sync.whenSynced();
    await goOnline(a);
    const [first] = await a.sync.conflicts();
    await a.sync.goOffline();
    await a.sync.resolve(first?.id ?? '', { keep: 'mine' });
    await b.deleteEntity('Note', 'n1');
    await b.sync.whenSynced();
    await goOnline(a);
    const [second] = await a.sync.conflicts();
    await a.sync.resolve(second?.id ?? '', { keep: 'mine' });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual(await b.getEntity('Note', 'n1'), { id: 'n1', title: 'mine', same: 'on both' });
  });

  it('is not resolved by data that no such entity can have', async () => {
    const [a, b] = await apart('manual');
    await a.upsertEntity('Task', 't1', { title: 'mine' });
    await b.upsertEntity('Task', 't1', { title: 'theirs' });
    await goOnline(b);
    await goOnline(a);
    const [conflicted] = await a.sync.conflicts();
    const id = conflicted?.id ?? '';
    const refused = (error: unknown): boolean => LocalDataError.isCode(error, 'INVALID_PAYLOAD');
    await assert.rejects(a.sync.resolve(id, { data: { titel: 'misspelt' } }), refused);
    await assert.rejects(a.sync.resolve(id, { data: { id: 't2', title: 'another' } }), refused);
    await assert.rejects(a.sync.resolve(id, { data: { title: 'x', priority: 'high' } }), refused);
    assert.equal((await a.getChange(id))?.status, 'conflicted');
    await a.sync.resolve(id, { data: { title: 'both', priority: '3' } });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't1'))?.['priority'], 3);
  });
});

describe('a key that is taken out of a document', () => {
  const suite = new SyncSuite();

  async function connected(): Promise<LocalDataEngine> {
    const data = await suite.client();
    await data.registerEntityType({ entityType: 'Note' });
    await suite.connect(data);
    return data;
  }

  it('is gone everywhere, and one that is set to null is null (scenario 25)', async () => {
    const a = await connected();
    await a.upsertEntity('Note', 'n1', { title: 'x', gone: 1, empty: 2 });
    const b = await connected();
    const { table } = (await a.listEntityTypes()).find(({ entityType }) => entityType === 'Note') ?? {};
    await a.exec(`UPDATE ${table} SET data = data - 'gone'`);
    await a.upsertEntity('Note', 'n1', { empty: null });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    const wanted = { id: 'n1', title: 'x', empty: null };
    assert.deepEqual(await b.getEntity('Note', 'n1'), wanted);
    assert.deepEqual(await a.getEntity('Note', 'n1'), wanted);
  });

  it('may be what a person resolves a conflict by', async () => {
    const a = await connected();
    const b = await connected();
    for (const data of [a, b]) await data.sync.setRules({ '*': { conflicts: 'manual' } });
    await a.upsertEntity('Note', 'n1', { title: 'x' });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    await a.sync.goOffline();
    await a.upsertEntity('Note', 'n1', { extra: 'mine' });
    await b.upsertEntity('Note', 'n1', { extra: 'theirs' });
    await b.sync.whenSynced();
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const [conflicted] = await a.sync.conflicts();
    const resolved = await a.sync.resolve(conflicted?.id ?? '', { data: { title: 'x' }, removed: ['extra'] });
    assert.deepEqual(resolved.conflict?.resolution?.lost, { mine: { extra: 'mine' }, theirs: { extra: 'theirs' } });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual(await b.getEntity('Note', 'n1'), { id: 'n1', title: 'x' });
  });

  it('stays gone where only the other side wrote another key of the same object (scenario 25)', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't1', { title: 'x', settings: { gone: 1, kept: 1 } });
    await a.sync.whenSynced();
    const b = await connected();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { settings: { kept: 1 } });
    await b.upsertEntity('Task', 't1', { settings: { gone: 1, kept: 2 } });
    await b.sync.whenSynced();
    await a.sync.goOnline();
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual((await b.getEntity('Task', 't1'))?.['settings'], { kept: 2 });
  });

  it('is no matter in a table, whose columns may have the name by which statements call the row', async () => {
    const a = await connected();
    const b = await connected();
    for (const data of [a, b]) {
      await data.exec('CREATE TABLE odd (id text PRIMARY KEY, t text, x integer)');
      await data.registerEntityType({ entityType: 'Odd', table: 'odd' });
    }
    await a.upsertEntity('Odd', 'o1', { t: 'first', x: 1 });
    await a.recordChange('Odd', 'o1', 'update', { t: 'second' });
    await a.whenIdle();
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual(await b.getEntity('Odd', 'o1'), { id: 'o1', t: 'second', x: 1 });
  });
});
