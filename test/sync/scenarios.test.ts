// What must hold between databases and a server, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import { LocalDataError, type LocalDataEngine, openLocalData, temporaryDirectory } from '../support/engine.ts';
import {
  type OpenOptions,
  type Rules,
  SECRET,
  SyncSuite,
  makeTaskTypes,
  newSpace,
  startServer,
  tokenFor,
  whenChange,
  whenState,
} from '../support/sync.ts';

type Policy = 'merge' | 'last-write-wins' | 'local-wins' | 'remote-wins' | 'manual';

describe('synchronisation', () => {
  const suite = new SyncSuite({
    validate: ({ after }) =>
      after?.['title'] === 'forbidden' ? { reason: 'The title is not allowed.', field: 'title' } : null,
  });

  const client = (options?: OpenOptions): Promise<LocalDataEngine> => suite.client(options);

  const connected = (rules?: Rules): Promise<LocalDataEngine> => suite.connected(rules);

  /** Both have task t1, and both are offline. */
  async function apart(policy: Policy): Promise<[LocalDataEngine, LocalDataEngine]> {
    const rules = { Task: { conflicts: policy } };
    const a = await connected(rules);
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1, settings: { colour: 'red', size: 1 } });
    await a.sync.whenSynced();
    const b = await connected(rules);
    await a.sync.goOffline();
    await b.sync.goOffline();
    return [a, b];
  }

  /** B reaches the server first, then A; then both have all. */
  async function together(a: LocalDataEngine, b: LocalDataEngine): Promise<void> {
    await b.sync.goOnline();
    await b.sync.whenSynced();
    await a.sync.goOnline();
    await a.sync.whenSynced();
    await b.sync.whenSynced();
  }

  it('brings what one database records to another', async () => {
    const a = await connected();
    const b = await connected();
    await a.upsertEntity('Project', 'p1', { name: 'One' });
    await a.recordChange('Task', 't1', 'insert', { title: 'first', project_id: 'p1' });
    await a.whenIdle();
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual(await b.getEntity('Task', 't1'), await a.getEntity('Task', 't1'));
    const [change] = (await b.listChanges({ entityType: 'Task' })).changes;
    assert.equal(change?.origin, 'remote');
    assert.equal(change?.status, 'synced');
  });

  it('is in contact once when it is told to connect twice at once, and the first call says that another took its place', async () => {
    const a = await client();
    const calls = await Promise.allSettled([
      a.sync.connect({ url: suite.url, token: suite.token }),
      a.sync.connect({ url: suite.url, token: suite.token }),
    ]);
    assert.deepEqual(
      calls.map((call) => (call.status === 'rejected' ? codeOf(call.reason) : call.status)),
      ['CANCELLED', 'fulfilled'],
    );
    await a.upsertEntity('Project', 'p1', { name: 'One' });
    await a.sync.whenSynced();
    assert.equal((await a.sync.state()).version, 1);
  });

  it('sends a change again whose answer was lost with the process, and it takes effect once (scenarios 1 and 4)', async () => {
    const directory = temporaryDirectory();
    const options = { dataDir: join(directory.path, 'data') };
    const first = await openLocalData(options);
    await makeTaskTypes(first);
    await first.sync.connect({ url: suite.url, token: suite.token });
    await first.sync.whenSynced();
    await first.sync.setNetworkConditions({ lostAnswers: 1 });
    await first.upsertEntity('Task', 't1', { title: 'once' });
    await whenState(first, (state) => state.status === 'offline');
    await first.close();

    const again = await openLocalData(options);
    const [before] = (await again.listChanges()).changes;
    assert.equal(before?.status, 'applied');
    await again.sync.connect({ url: suite.url, token: suite.token });
    await again.sync.whenSynced();
    const changes = (await again.listChanges()).changes;
    assert.deepEqual(
      changes.map(({ id, status }) => [id, status]),
      [[before.id, 'synced']],
    );
    assert.equal((await again.sync.state()).version, 1);
    await again.close();
    directory.remove();
  });

  it('does not send what was inserted and deleted again before any of it left (scenario 8)', async () => {
    const a = await connected();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { title: 'short' });
    await a.upsertEntity('Task', 't1', { title: 'shorter' });
    await a.deleteEntity('Task', 't1');
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const changes = (await a.listChanges()).changes;
    assert.deepEqual(
      changes.map(({ status }) => status),
      ['synced', 'synced', 'synced'],
    );
    assert.match(changes[0]?.note ?? '', /cancelled out/);
    assert.equal((await a.sync.state()).version, 0);
  });

  it('sends the delete of an entity whose insert may have left (scenario 8)', async () => {
    const a = await connected();
    await a.sync.setNetworkConditions({ lostAnswers: 1 });
    await a.upsertEntity('Task', 't1', { title: 'sent' });
    await whenState(a, (state) => state.status === 'offline');
    await a.deleteEntity('Task', 't1');
    await a.sync.setNetworkConditions(null);
    await a.sync.whenSynced();
    const b = await connected();
    assert.equal(await b.getEntity('Task', 't1'), undefined);
    assert.equal((await a.sync.state()).version, 2);
  });

  it('settles by an answer only what was sent; an edit meanwhile goes next (scenario 9)', async () => {
    const a = await connected();
    await a.sync.setNetworkConditions({ latencyMs: 200 });
    await a.upsertEntity('Task', 't1', { title: 'first' });
    await whenState(a, (state) => state.inFlight > 0);
    await a.upsertEntity('Task', 't1', { title: 'second' });
    await a.sync.setNetworkConditions(null);
    await a.sync.whenSynced();
    const b = await connected();
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'second');
  });

  it('fails a change at once that the server refuses, with its reason, and lets its lane wait (scenario 12)', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't1', { title: 'allowed' });
    await a.upsertEntity('Task', 't2', { title: 'allowed too' });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { title: 'forbidden' });
    await a.upsertEntity('Task', 't1', { priority: 5 });
    await a.upsertEntity('Task', 't2', { priority: 7 });
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const [, refused, behind] = (await a.listChanges({ entityId: 't1' })).changes;
    assert.equal(refused?.status, 'failed');
    assert.equal(refused?.failure?.stage, 'push');
    assert.match(refused?.error ?? '', /The title is not allowed/);
    assert.equal(behind?.status, 'blocked');
    const other = (await a.listChanges({ entityId: 't2' })).changes.at(-1);
    assert.equal(other?.status, 'synced');
    assert.equal((await a.sync.state()).refused, 1);
  });

  it('takes back a refused update on discard: the entity is base and what still waits (scenario 19)', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { title: 'forbidden' });
    await a.upsertEntity('Task', 't1', { priority: 2 });
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const [, refused] = (await a.listChanges({ entityId: 't1' })).changes;
    assert.equal(refused?.status, 'failed');
    await a.discardChange(refused.id);
    await a.sync.whenSynced();
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'base');
    assert.equal((await a.getEntity('Task', 't1'))?.['priority'], 2);
    const b = await connected();
    assert.deepEqual(await b.getEntity('Task', 't1'), await a.getEntity('Task', 't1'));
  });

  it('spends no attempts while the server is busy, and drains by itself afterwards (scenario 13)', async () => {
    const a = await connected();
    await a.sync.setNetworkConditions({ errorStatus: 503 });
    await a.upsertEntity('Task', 't1', { title: 'patient' });
    await whenState(a, (state) => state.status === 'offline');
    const [waiting] = (await a.listChanges()).changes;
    assert.equal(waiting?.status, 'applied');
    assert.equal(waiting?.awaiting, 'push');
    assert.equal(waiting?.attempts, 0);
    await a.sync.setNetworkConditions(null);
    await a.sync.whenSynced();
    assert.equal((await a.getChange(waiting.id))?.status, 'synced');
  });

  it('pauses for sign-in on 401, spends no attempts, and drains after it (scenario 14)', async () => {
    const a = await connected();
    await a.sync.setNetworkConditions({ errorStatus: 401 });
    await a.upsertEntity('Task', 't1', { title: 'signed out' });
    await whenState(a, (state) => state.status === 'sign-in-needed');
    const [waiting] = (await a.listChanges()).changes;
    assert.equal(waiting?.reason, 'sign-in needed');
    assert.equal(waiting?.attempts, 0);
    await assert.rejects(a.sync.whenSynced(), (error) => LocalDataError.isCode(error, 'SYNC_SIGN_IN_NEEDED'));
    await a.sync.setNetworkConditions(null);
    await a.sync.connect({ url: suite.url, token: suite.token });
    await a.sync.whenSynced();
    assert.equal((await a.getChange(waiting.id))?.status, 'synced');
  });

  it('keeps an entity at base and waiting changes while remote ones arrive (scenarios 21 and 22)', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
    await a.sync.whenSynced();
    const b = await connected();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { title: 'mine' });
    await b.upsertEntity('Task', 't1', { priority: 9 });
    await b.sync.whenSynced();
    const seen: unknown[] = [];
    a.stores.entities.subscribe((state) => seen.push(state.get('Task', 't1')?.['title']));
    await a.sync.goOnline();
    await a.sync.whenSynced();
    assert.deepEqual([...new Set(seen.filter((title) => title !== undefined))], ['mine']);
    assert.equal((await a.getEntity('Task', 't1'))?.['priority'], 9);
    await b.sync.whenSynced();
    assert.deepEqual(await b.getEntity('Task', 't1'), await a.getEntity('Task', 't1'));
  });

  it('keeps both where two sides wrote different fields (scenario 23)', async () => {
    const [a, b] = await apart('merge');
    await a.upsertEntity('Task', 't1', { title: 'by a' });
    await b.upsertEntity('Task', 't1', { priority: 8 });
    await together(a, b);
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'by a');
    assert.equal((await b.getEntity('Task', 't1'))?.['priority'], 8);
    assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
  });

  const sameField: readonly [Policy, string][] = [
    ['merge', 'by b, later'],
    ['last-write-wins', 'by b, later'],
    ['local-wins', 'by a'],
    ['remote-wins', 'by b, later'],
  ];
  for (const [policy, expected] of sameField) {
    it(`settles the same field by ${policy}, keeps both values and converges (scenario 23)`, async () => {
      const [a, b] = await apart(policy);
      await a.upsertEntity('Task', 't1', { title: 'by a' });
      await new Promise((resolve) => setTimeout(resolve, 5));
      await b.upsertEntity('Task', 't1', { title: 'by b, later' });
      await together(a, b);
      assert.equal((await a.getEntity('Task', 't1'))?.['title'], expected);
      assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
      const changes = (await a.listChanges({ entityId: 't1' })).changes;
      const conflict = changes.find((change) => change.conflict !== null)?.conflict;
      assert.deepEqual(
        [conflict?.fields['title']?.base, conflict?.fields['title']?.mine, conflict?.fields['title']?.theirs],
        ['base', 'by a', 'by b, later'],
      );
      assert.equal(conflict?.resolution?.by, 'policy');
    });
  }

  it('merges into objects that both sides changed', async () => {
    const [a, b] = await apart('merge');
    await a.upsertEntity('Task', 't1', { settings: { colour: 'blue', size: 1 } });
    await b.upsertEntity('Task', 't1', { settings: { colour: 'red', size: 2 } });
    await together(a, b);
    assert.deepEqual((await a.getEntity('Task', 't1'))?.['settings'], { colour: 'blue', size: 2 });
    assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
  });

  const deletes: readonly [Policy, 'update' | 'delete', boolean][] = [
    ['merge', 'update', true],
    ['merge', 'delete', true],
    ['last-write-wins', 'update', false],
    ['last-write-wins', 'delete', true],
    ['local-wins', 'update', true],
    ['local-wins', 'delete', false],
    ['remote-wins', 'update', false],
    ['remote-wins', 'delete', true],
  ];
  for (const [policy, mine, survives] of deletes) {
    it(`${survives ? 'keeps' : 'loses'} an entity under ${policy} when I ${mine} what was ${mine === 'update' ? 'deleted' : 'updated'} there (scenario 24)`, async () => {
      const [a, b] = await apart(policy);
      const change = (data: LocalDataEngine, operation: 'update' | 'delete', title: string): Promise<unknown> =>
        operation === 'update' ? data.upsertEntity('Task', 't1', { title }) : data.deleteEntity('Task', 't1');
      await change(a, mine, 'edited by a');
      await new Promise((resolve) => setTimeout(resolve, 5));
      await change(b, mine === 'update' ? 'delete' : 'update', 'edited by b');
      await together(a, b);
      assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
      assert.equal((await b.getEntity('Task', 't1')) !== undefined, survives);
      const fresh = await connected();
      assert.equal((await fresh.getEntity('Task', 't1')) !== undefined, survives);
    });
  }

  for (const keep of ['mine', 'theirs'] as const) {
    it(`asks a person under manual, and sends what was chosen: ${keep}`, async () => {
      const [a, b] = await apart('manual');
      await a.upsertEntity('Task', 't1', { title: 'by a' });
      await b.upsertEntity('Task', 't1', { title: 'by b' });
      await together(a, b);
      const [conflicted] = await a.sync.conflicts();
      assert.equal(conflicted?.status, 'conflicted');
      assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'by a');
      await a.sync.resolve(conflicted.id, { keep });
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      assert.equal((await a.getEntity('Task', 't1'))?.['title'], keep === 'mine' ? 'by a' : 'by b');
      assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
      assert.equal((await a.getChange(conflicted.id))?.conflict?.resolution?.by, 'person');
      assert.deepEqual(await a.sync.conflicts(), []);
    });
  }

  for (const keep of ['mine', 'theirs'] as const) {
    it(`asks a person under manual when I delete what was updated there, and does what was chosen: ${keep} (scenario 24)`, async () => {
      const [a, b] = await apart('manual');
      await a.deleteEntity('Task', 't1');
      await b.upsertEntity('Task', 't1', { title: 'by b' });
      await together(a, b);
      const [conflicted] = await a.sync.conflicts();
      assert.ok(conflicted);
      assert.equal(conflicted.operation, 'delete');
      assert.deepEqual([conflicted.conflict?.mine, conflicted.conflict?.theirs?.['title']], [null, 'by b']);
      assert.equal(await a.getEntity('Task', 't1'), undefined);
      assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'by b');
      await a.sync.resolve(conflicted.id, { keep });
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      assert.equal((await b.getEntity('Task', 't1'))?.['title'], keep === 'mine' ? undefined : 'by b');
      assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
      assert.deepEqual(await a.sync.conflicts(), []);
    });
  }

  const insertAgainstDelete: readonly [Policy, 'earlier' | 'later', survives: boolean | 'asked'][] = [
    ['merge', 'earlier', true],
    ['last-write-wins', 'earlier', false],
    ['last-write-wins', 'later', true],
    ['local-wins', 'earlier', true],
    ['remote-wins', 'later', false],
    ['manual', 'later', 'asked'],
  ];
  for (const [policy, when, survives] of insertAgainstDelete) {
    const outcome = survives === 'asked' ? 'asks about' : survives ? 'keeps' : 'loses';
    it(`${outcome} what I insert under ${policy}, ${when} than it was made and deleted there (scenario 24)`, async () => {
      const [a, b] = await apart(policy);
      if (when === 'earlier') await a.upsertEntity('Task', 't2', { title: 'by a', priority: 3 });
      await b.sync.goOnline();
      await b.upsertEntity('Task', 't2', { title: 'by b' });
      await b.sync.whenSynced();
      await b.deleteEntity('Task', 't2');
      await b.sync.whenSynced();
      if (when === 'later') await a.upsertEntity('Task', 't2', { title: 'by a', priority: 3 });
      await together(a, b);
      if (survives === 'asked') {
        const [conflicted] = await a.sync.conflicts();
        assert.deepEqual([conflicted?.operation, conflicted?.conflict?.theirs], ['insert', null]);
        await a.sync.resolve(conflicted?.id ?? '', { keep: 'mine' });
        await a.sync.whenSynced();
        await b.sync.whenSynced();
      }
      const there = await b.getEntity('Task', 't2');
      assert.deepEqual([there?.['title'], there?.['priority']], survives ? ['by a', 3] : [undefined, undefined]);
      assert.deepEqual(await a.getEntity('Task', 't2'), there);
      assert.equal((await a.sync.verify()).differencesTotal, 0);
    });
  }

  it('shows what the server makes of a change with its echo, also where that comes before the answer (scenario 22)', async () => {
    const echoed = Promise.withResolvers<void>();
    const late: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const push: SyncTransport['push'] = async (request, call) => {
        const answer = await transport.push(request, call);
        await echoed.promise;
        return answer;
      };
      const pull: SyncTransport['pull'] = async (query, call) => {
        const page = await transport.pull(query, call);
        const changes = page.changes.map((change) => withPriority(change, 5));
        return { ...page, changes };
      };
      return { ...transport, push, pull };
    };
    const a = await client({ transports: { late } });
    await a.sync.connect({ url: 'late:server', token: suite.token });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { title: 'mine' });
    const { id } = (await a.listChanges()).changes[0] ?? { id: '' };
    const seen: unknown[] = [];
    a.onCommit(({ entities }) =>
      seen.push(...entities.flatMap(({ upserted }) => upserted.map((task) => task['priority']))),
    );
    await a.sync.goOnline();
    await whenChange(a, id, ({ status }) => status === 'synced');
    assert.equal((await a.getEntity('Task', 't1'))?.['priority'], 5);
    await a.upsertEntity('Task', 't1', { title: 'again' });
    echoed.resolve();
    await a.sync.whenSynced();
    const entity = await a.getEntity('Task', 't1');
    assert.deepEqual([entity?.['title'], entity?.['priority']], ['again', 5]);
    assert.deepEqual([...new Set(seen)], [5]);
  });

  it('sends what a person merged', async () => {
    const [a, b] = await apart('manual');
    await a.upsertEntity('Task', 't1', { title: 'by a' });
    await b.upsertEntity('Task', 't1', { title: 'by b' });
    await together(a, b);
    const [conflicted] = await a.sync.conflicts();
    assert.ok(conflicted);
    await a.sync.resolve(conflicted.id, { data: { ...(await a.getEntity('Task', 't1')), title: 'by both' } });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'by both');
    assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
  });

  it('carries null and absent values without a false conflict (scenario 25)', async () => {
    const [a, b] = await apart('manual');
    await a.upsertEntity('Task', 't1', { priority: null });
    await b.upsertEntity('Task', 't1', { title: 'named', settings: null });
    await together(a, b);
    assert.deepEqual(await a.sync.conflicts(), []);
    const entity = await b.getEntity('Task', 't1');
    assert.deepEqual([entity?.['priority'], entity?.['title'], entity?.['settings']], [null, 'named', null]);
    assert.deepEqual(await a.getEntity('Task', 't1'), entity);
  });

  it('drains its queue when the server comes back, with nobody writing meanwhile (scenario 15)', async () => {
    const directory = temporaryDirectory();
    const options = { dataDir: join(directory.path, 'server'), secret: SECRET };
    let own = await startServer(options);
    const port = Number(new URL(own.url).port);
    const a = await client();
    await a.sync.connect({ url: own.url, token: suite.token });
    await a.sync.whenSynced();
    await own.close();
    const change = await a.recordChange('Task', 't1', 'insert', { title: 'waits' });
    await whenState(a, (state) => state.status === 'offline');
    own = await startServer({ ...options, port });
    await whenChange(a, change.id, ({ status }) => status === 'synced');
    await own.close();
    directory.remove();
  });

  it('notices a server that was reset, keeps what waits, and sends it after a person said so (scenario 27)', async () => {
    let own = await startServer({ memory: true, secret: SECRET });
    const port = Number(new URL(own.url).port);
    const a = await client();
    await a.sync.connect({ url: own.url, token: suite.token });
    await a.upsertEntity('Task', 't1', { title: 'before' });
    await a.sync.whenSynced();
    await own.close();
    await a.upsertEntity('Task', 't2', { title: 'meanwhile' });
    own = await startServer({ memory: true, secret: SECRET, port });
    await whenState(a, (state) => state.status === 'needs-decision');
    await assert.rejects(a.sync.connect({ url: own.url, token: suite.token }), (error) =>
      LocalDataError.isCode(error, 'SYNC_SERVER_CHANGED'),
    );
    await a.sync.connect({ url: own.url, token: suite.token, onServerChanged: 'start-anew' });
    await a.sync.whenSynced();
    const b = await client();
    await b.sync.connect({ url: own.url, token: suite.token });
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't2'))?.['title'], 'meanwhile');
    // What the server had before and lacks now is kept, and sent only if a person says so.
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'before');
    assert.equal(await b.getEntity('Task', 't1'), undefined);
    await a.sync.decideMissing('send');
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'before');
    await own.close();
  });

  it('refuses another space than the one the database belongs to', async () => {
    const a = await connected();
    const other = await tokenFor(newSpace());
    await assert.rejects(a.sync.connect({ url: suite.url, token: other }), (error) =>
      LocalDataError.isCode(error, 'SYNC_OTHER_SERVER'),
    );
  });

  it('sets a remote change of an unknown type aside, shows it, and applies it once its type exists (scenario 28)', async () => {
    const a = await connected();
    const b = await connected();
    await a.registerEntityType({ entityType: 'Note' });
    await a.upsertEntity('Note', 'n1', { text: 'hello' });
    await a.upsertEntity('Task', 't1', { title: 'goes on' });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'goes on');
    const [aside] = (await b.listChanges({ entityType: 'Note' })).changes;
    assert.equal(aside?.status, 'failed');
    assert.match(aside?.error ?? '', /not registered/);
    await b.registerEntityType({ entityType: 'Note' });
    await whenChange(b, aside.id, ({ status }) => status === 'synced');
    assert.equal((await b.getEntity('Note', 'n1'))?.['text'], 'hello');
  });

  it('sends what is here before the first connect, and merges what both have', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 'shared', { title: 'from a', priority: 1 });
    await a.sync.whenSynced();
    const b = await client();
    await b.upsertEntity('Task', 'own', { title: 'from b' });
    await b.upsertEntity('Task', 'own', { title: 'from b, edited' });
    await b.upsertEntity('Task', 'shared', { title: 'from b' });
    await b.sync.connect({ url: suite.url, token: suite.token });
    await b.sync.whenSynced();
    await a.sync.whenSynced();
    assert.equal((await a.getEntity('Task', 'own'))?.['title'], 'from b, edited');
    assert.deepEqual(await a.getEntity('Task', 'shared'), await b.getEntity('Task', 'shared'));
    const superseded = (await b.listChanges({ entityId: 'own' })).changes[0];
    assert.match(superseded?.note ?? '', /superseded/);
  });

  it('keeps a transaction together on the server', async () => {
    const a = await connected();
    await a.sync.goOffline();
    await a.transaction((tx) => {
      tx.upsertEntity('Task', 't1', { title: 'one' });
      tx.upsertEntity('Task', 't2', { title: 'forbidden' });
    });
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const b = await connected();
    assert.equal(await b.getEntity('Task', 't1'), undefined);
    const statuses = (await a.listChanges()).changes.map(({ status }) => status);
    assert.deepEqual(statuses.toSorted(), ['blocked', 'failed']);
  });

  it('keeps an entity type on this machine where the rules say so', async () => {
    const a = await connected({ Task: { sync: false } });
    await a.upsertEntity('Task', 't1', { title: 'private' });
    await a.upsertEntity('Project', 'p1', { name: 'public' });
    await a.sync.whenSynced();
    const b = await connected();
    assert.equal(await b.getEntity('Task', 't1'), undefined);
    assert.equal((await b.getEntity('Project', 'p1'))?.['name'], 'public');
    assert.equal((await a.listChanges({ entityType: 'Task' })).changes[0]?.awaiting, null);
  });

  it('finds by hashes what differs from the server, and repairs it on request', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't1', { title: 'true' });
    await a.sync.whenSynced();
    await a.exec(`UPDATE local_data.entity_bases SET data = jsonb_set(data, '{title}', '"damaged"')`);
    const found = await a.sync.verify();
    assert.deepEqual(
      found.differences.map(({ entityId, kind }) => [entityId, kind]),
      [['t1', 'different']],
    );
    const repaired = await a.sync.verify({ repair: true });
    assert.equal(repaired.repaired, 1);
    assert.equal((await a.sync.verify()).differencesTotal, 0);
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'true');
  });

  it('has what another made, where its own of the same id was inserted and deleted before it was sent', async () => {
    const [a, b] = await apart('merge');
    await a.upsertEntity('Task', 't2', { title: 'mine, and gone again' });
    await a.deleteEntity('Task', 't2');
    await b.upsertEntity('Task', 't2', { title: 'theirs' });
    await together(a, b);
    assert.equal((await a.getEntity('Task', 't2'))?.['title'], 'theirs');
    assert.equal((await b.getEntity('Task', 't2'))?.['title'], 'theirs');
  });

  it('sets aside what was taken from the server and cannot be put in place, because something here refers to it', async () => {
    const rules = { Project: { conflicts: 'manual' } } as const;
    const a = await connected(rules);
    await a.upsertEntity('Project', 'p1', { name: 'base' });
    await a.sync.whenSynced();
    const b = await connected(rules);
    await a.sync.goOffline();
    const change = await a.recordChange('Project', 'p1', 'update', { name: 'mine' });
    await a.upsertEntity('Task', 't1', { title: 'refers to it', project_id: 'p1' });
    await b.deleteEntity('Project', 'p1');
    await b.sync.whenSynced();
    await a.sync.goOnline();
    await whenChange(a, change.id, ({ status }) => status === 'conflicted');
    await a.sync.resolve(change.id, { keep: 'theirs' });
    await whenState(a, ({ setAside }) => setAside === 1);
    await a.upsertEntity('Task', 't1', { project_id: null });
    await a.sync.whenSynced();
    await whenState(a, ({ setAside }) => setAside === 0);
    assert.equal(await a.getEntity('Project', 'p1'), undefined);
  });

  it('shows a conflict no longer once it is resolved, though nothing is left to send', async () => {
    const [a, b] = await apart('manual');
    await b.upsertEntity('Task', 't1', { title: 'theirs' });
    const change = await a.recordChange('Task', 't1', 'update', { title: 'mine' });
    await together(a, b);
    await whenState(a, ({ conflicts }) => conflicts === 1);
    await a.sync.resolve(change.id, { keep: 'theirs' });
    await whenState(a, ({ conflicts }) => conflicts === 0);
  });

  it('finds no difference where there is none, while others go on writing', async () => {
    const a = await connected();
    const b = await connected();
    await b.transaction((write) => {
      for (let n = 0; n < 300; n++) write.upsertEntity('Project', `p${n}`, { name: 'as it is' });
    });
    const ended = new AbortController();
    const writing = (async () => {
      for (let n = 0; !ended.signal.aborted; n++) {
        await b.upsertEntity('Project', `p${n % 300}`, { name: `written ${n}` });
        await b.sync.whenSynced();
        await new Promise((resolve) => setTimeout(resolve, 5 * (n % 20)));
      }
    })();
    const totals = [];
    for (let count = 0; count < 8; count++) {
      const report = await a.sync.verify().catch((error: unknown) => {
        assert.match(String(error), /went on while it was compared/);
        return { differencesTotal: 0 };
      });
      totals.push(report.differencesTotal);
    }
    ended.abort();
    await writing;
    assert.deepEqual(totals, Array<number>(8).fill(0));
  });

  it('keeps what it inserted after a delete that changed nothing, where the echo comes before the answer', async () => {
    const echoed = Promise.withResolvers<void>();
    const late: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const push: SyncTransport['push'] = async (request, call) => {
        const answer = await transport.push(request, call);
        await echoed.promise;
        return answer;
      };
      return { ...transport, push };
    };
    const a = await client({ transports: { late } });
    await a.sync.connect({ url: 'late:server', token: suite.token });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    await a.recordChange('Task', 't1', 'delete');
    const insert = await a.recordChange('Task', 't1', 'insert', { title: 'there' });
    await a.whenIdle();
    await a.sync.goOnline();
    await whenChange(a, insert.id, ({ status }) => status === 'synced');
    const seen = await a.getEntity('Task', 't1');
    echoed.resolve();
    assert.equal(seen?.['title'], 'there');
    await a.sync.whenSynced();
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'there');
  });

  it('sends nothing of a lane whose earlier change waits for what it refers to', async () => {
    const [a, b] = await apart('merge');
    await a.sync.setRules({ Project: { conflicts: 'manual' } });
    const insert = await a.recordChange('Project', 'p1', 'insert', { name: 'mine' });
    await b.upsertEntity('Project', 'p1', { name: 'theirs' });
    await a.whenIdle();
    await together(a, b);
    assert.equal((await a.getChange(insert.id))?.status, 'conflicted');
    await a.sync.goOffline();
    const refers = await a.recordChange('Task', 't1', 'update', { project_id: 'p1' });
    const later = await a.recordChange('Task', 't1', 'update', { title: 'later' });
    await a.whenIdle();
    await a.sync.goOnline();
    await a.sync.whenSynced();
    assert.equal((await a.getChange(refers.id))?.status, 'blocked');
    assert.equal((await a.getChange(later.id))?.status, 'blocked');
    await a.sync.resolve(insert.id, { keep: 'mine' });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual(await b.getEntity('Task', 't1'), await a.getEntity('Task', 't1'));
  });

  it('brings an entity back whole that was inserted on both sides and then deleted on the server', async () => {
    const [a, b] = await apart('manual');
    const insert = await a.recordChange('Task', 't2', 'insert', { title: 'mine', priority: 7 });
    await b.upsertEntity('Task', 't2', { title: 'theirs', priority: 7 });
    await a.whenIdle();
    await together(a, b);
    await a.sync.goOffline();
    await a.sync.resolve(insert.id, { keep: 'mine' });
    await b.deleteEntity('Task', 't2');
    await together(a, b);
    await whenChange(a, insert.id, ({ status }) => status === 'conflicted');
    await a.sync.resolve(insert.id, { keep: 'mine' });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't2'))?.['priority'], 7);
    assert.deepEqual(await b.getEntity('Task', 't2'), await a.getEntity('Task', 't2'));
  });

  it('compares nothing of an entity type that stays on this machine', async () => {
    const a = await connected();
    await a.upsertEntity('Project', 'p1', { name: 'sent before it was to stay' });
    await a.sync.whenSynced();
    await a.sync.setRules({ Project: { sync: false } });
    assert.equal((await a.sync.verify()).differencesTotal, 0);
  });

  it('tells when a change was saved, applied, accepted and seen in the feed', async () => {
    const a = await connected();
    const change = await a.recordChange('Task', 't1', 'insert', { title: 'receipt' });
    await a.whenIdle();
    await a.sync.whenSynced();
    const receipt = await a.sync.receipt(change.id);
    const { savedAt, appliedAt, acceptedAt, seenInFeedAt } = receipt;
    assert.equal(receipt.acceptedVersion, 1);
    assert.ok(appliedAt !== null && acceptedAt !== null && seenInFeedAt !== null);
    assert.ok(savedAt <= appliedAt && appliedAt <= acceptedAt && acceptedAt <= seenInFeedAt);
  });

  it('goes online again by connecting, after a person worked offline', async () => {
    const a = await connected();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', { title: 'offline' });
    assert.equal((await a.listChanges()).changes[0]?.reason, 'you work offline');
    await a.sync.connect({ url: suite.url, token: suite.token });
    await a.sync.whenSynced();
    assert.equal((await a.listChanges()).changes[0]?.status, 'synced');
  });

  it('says what is wrong with an address, a token or a server that is not there', async () => {
    const a = await client();
    const refused = async (
      url: string,
      withToken: string,
      code: Parameters<typeof LocalDataError.isCode>[1],
    ): Promise<void> => {
      await assert.rejects(a.sync.connect({ url, token: withToken }), (error) => LocalDataError.isCode(error, code));
      assert.equal((await a.sync.state()).status, 'not-configured');
    };
    await refused('nonsense', suite.token, 'INVALID_ARGUMENT');
    await refused(suite.url, 'not a token', 'INVALID_ARGUMENT');
    await refused('http://127.0.0.1:1', suite.token, 'SYNC_UNREACHABLE');
    await refused(suite.url, `${suite.token.slice(0, -4)}AAAA`, 'SYNC_SIGN_IN_NEEDED');
  });
});

function codeOf(error: unknown): string | undefined {
  return error instanceof LocalDataError ? error.code : undefined;
}

/** A row of the feed in which the server has set a field by itself. */
function withPriority(change: unknown, priority: number): unknown {
  const entity: unknown = typeof change === 'object' && change !== null ? Reflect.get(change, 'entity') : null;
  if (typeof entity !== 'object' || entity === null) return change;
  return { ...(change as object), entity: { ...entity, priority } };
}
