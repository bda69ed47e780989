// What a database takes over from a server, and which of its entity types take part: types that come, go, change or stay on
// this machine, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { httpTransport } from '../../src/sync/http-transport.ts';
import {
  type OpenTransport,
  type SyncTransport,
  TransportError as TransportTrouble,
} from '../../src/sync/transport.ts';
import {
  LocalDataError,
  type LocalDataEngine,
  TransportError,
  openLocalData,
  temporaryDirectory,
} from '../support/engine.ts';
import {
  type OpenOptions,
  type Rules,
  SECRET,
  SyncSuite,
  makeTaskTypes,
  startServer,
  whenState,
} from '../support/sync.ts';

const TASKS_STAY: Rules = { Task: { sync: false } };

describe('snapshots and entity types', () => {
  const suite = new SyncSuite();

  const client = (options?: OpenOptions): Promise<LocalDataEngine> => suite.client(options);

  const connected = (rules?: Rules): Promise<LocalDataEngine> => suite.connected(rules);

  /** The first has everything on the server before the second asks for it. */
  async function bothSynced(...all: LocalDataEngine[]): Promise<void> {
    for (const data of all) await data.sync.whenSynced();
  }

  describe('a type that stays on this machine', () => {
    it('has its bases moved by the feed, and neither its entities nor the trail', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'shared' });
      await a.sync.whenSynced();
      const b = await connected();
      await a.sync.setRules(TASKS_STAY);
      await b.upsertEntity('Task', 't2', { title: 'from b' });
      await b.deleteEntity('Task', 't1');
      await b.upsertEntity('Project', 'p1', { name: 'goes on' });
      await bothSynced(b, a);
      assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'shared');
      assert.equal(await a.getEntity('Task', 't2'), undefined);
      assert.equal((await a.getEntity('Project', 'p1'))?.['name'], 'goes on');
      const remote = (await a.listChanges()).changes.filter(({ origin }) => origin === 'remote');
      assert.deepEqual(
        remote.map(({ entityType }) => entityType),
        ['Project'],
      );
      const { rows } = await a.query(
        `SELECT entity_id, deleted FROM local_data.entity_bases WHERE entity_type = 'Task' ORDER BY entity_id`,
      );
      assert.deepEqual(rows, [
        { entity_id: 't1', deleted: true },
        { entity_id: 't2', deleted: false },
      ]);
    });

    it('leaves no note of when the feed brought it, which nobody can ask for', async () => {
      const a = await connected(TASKS_STAY);
      const b = await connected();
      await b.upsertEntity('Task', 't1', { title: 'from b' });
      await bothSynced(b, a);
      const { rows } = await a.query('SELECT version FROM local_data.feed_pages');
      assert.deepEqual(rows, []);
      await b.upsertEntity('Project', 'p1', { name: 'from b' });
      await bothSynced(b, a);
      const [remote] = (await a.listChanges({ entityType: 'Project' })).changes;
      assert.notEqual((await a.sync.receipt(remote?.id ?? '')).seenInFeedAt, null);
    });

    it('is not put in place by a snapshot either', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'not for b' });
      await a.sync.whenSynced();
      const b = await connected(TASKS_STAY);
      assert.equal(await b.getEntity('Task', 't1'), undefined);
      assert.equal((await b.sync.state()).setAside, 0);
    });

    it('joins when the rules let it: what the server has appears, and what is only here is sent as it is', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'shared', priority: 1 });
      await a.upsertEntity('Task', 't2', { title: 'deleted by a' });
      await a.sync.whenSynced();
      const b = await connected();
      await b.sync.setRules(TASKS_STAY);
      await b.upsertEntity('Task', 't1', { done: true });
      await b.upsertEntity('Task', 'own', { title: 'first' });
      await b.upsertEntity('Task', 'own', { title: 'as it is' });
      await a.upsertEntity('Task', 't1', { priority: 9 });
      await a.deleteEntity('Task', 't2');
      await bothSynced(a, b);
      await b.sync.setRules({});
      await bothSynced(b, a, b);
      assert.deepEqual(await b.getEntity('Task', 't1'), await a.getEntity('Task', 't1'));
      assert.deepEqual(
        [(await a.getEntity('Task', 't1'))?.['priority'], (await a.getEntity('Task', 't1'))?.['done']],
        [9, true],
      );
      assert.equal(await b.getEntity('Task', 't2'), undefined);
      assert.equal((await a.getEntity('Task', 'own'))?.['title'], 'as it is');
      const own = (await b.listChanges({ entityId: 'own' })).changes;
      assert.deepEqual(
        own.map(({ status, operation }) => [status, operation]),
        [
          ['synced', 'insert'],
          ['synced', 'update'],
          ['synced', 'insert'],
        ],
      );
      assert.match(own[0]?.note ?? '', /superseded/);
      assert.equal((await b.sync.verify()).differencesTotal, 0);
    });

    it('meets as a conflict what another wrote meanwhile, and takes nothing from it unseen', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'base' });
      await a.sync.whenSynced();
      const b = await connected();
      await b.sync.setRules(TASKS_STAY);
      await a.upsertEntity('Task', 't1', { title: 'theirs' });
      await bothSynced(a, b);
      // Made on what was here before, though the base beneath it has moved on.
      await b.upsertEntity('Task', 't1', { title: 'mine' });
      await b.sync.setRules({ Task: { conflicts: 'manual' } });
      await b.sync.whenSynced();
      const [conflict] = await b.sync.conflicts();
      assert.deepEqual(conflict?.conflict?.fields['title']?.theirs, 'theirs');
      await a.sync.whenSynced();
      assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'theirs');
    });

    it('leaves its data alone when it is to stay here again, also after a restart', async () => {
      const directory = temporaryDirectory();
      const options = { dataDir: join(directory.path, 'data') };
      const a = await connected();
      const first = await openLocalData(options);
      await makeTaskTypes(first);
      await first.sync.connect({ url: suite.url, token: suite.token });
      await first.upsertEntity('Task', 't1', { title: 'sent' });
      await first.sync.whenSynced();
      await first.sync.setRules(TASKS_STAY);
      await first.upsertEntity('Task', 't1', { title: 'private' });
      await first.close();

      const again = await openLocalData(options);
      await again.sync.connect({ url: suite.url, token: suite.token });
      await again.upsertEntity('Task', 't2', { title: 'private too' });
      await bothSynced(again, a);
      assert.equal((await again.getEntity('Task', 't1'))?.['title'], 'private');
      assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'sent');
      assert.equal(await a.getEntity('Task', 't2'), undefined);
      await again.close();
      directory.remove();
    });

    it('is not counted among what waits, also after a discard', async () => {
      const a = await connected(TASKS_STAY);
      const change = await a.recordChange('Task', 't1', 'insert', { title: 'private' });
      await a.whenIdle();
      await a.discardChange(change.id);
      await a.sync.setNetworkConditions({ stopped: true });
      await a.upsertEntity('Project', 'p1', { name: 'waits' });
      await whenState(a, ({ waiting, status }) => waiting === 1 && status === 'offline');
      await a.sync.setNetworkConditions(null);
      await a.sync.whenSynced();
      assert.equal((await a.sync.state()).waiting, 0);
      assert.equal((await a.listChanges({ entityType: 'Project' })).changes[0]?.status, 'synced');
    });

    it('is not waited for, however many rows one statement wrote', async () => {
      const a = await connected(TASKS_STAY);
      await a.exec(`INSERT INTO tasks (id, title) SELECT 'x' || i, 'x' FROM generate_series(1, 1500) i`);
      await a.sync.whenSynced();
      await a.exec(`DELETE FROM tasks`);
      await a.sync.whenSynced();
      const { waiting, status, version } = await a.sync.state();
      assert.deepEqual({ waiting, status, version }, { waiting: 0, status: 'synced', version: 0 });
    });
  });

  describe('a type that is registered after the connect', () => {
    it('sends the rows its table has as they are, and what is written to them then', async () => {
      const a = await connected();
      await a.exec(`CREATE TABLE items (id text PRIMARY KEY, name text);
        INSERT INTO items VALUES ('i1', 'one'), ('i2', 'two')`);
      await a.registerEntityType({ entityType: 'Item', table: 'items' });
      await a.upsertEntity('Item', 'i1', { name: 'edited' });
      await a.sync.whenSynced();
      const b = await client();
      await b.exec('CREATE TABLE items (id text PRIMARY KEY, name text)');
      await b.registerEntityType({ entityType: 'Item', table: 'items' });
      await b.sync.connect({ url: suite.url, token: suite.token });
      await b.sync.whenSynced();
      assert.deepEqual((await b.queryEntities('Item', { orderBy: 'id' })).rows, [
        { id: 'i1', name: 'edited' },
        { id: 'i2', name: 'two' },
      ]);
      assert.equal((await a.sync.state()).refused, 0);
    });

    it('sends them also where there are more than one event carries', async () => {
      const a = await connected();
      await a.exec(`CREATE TABLE items (id integer PRIMARY KEY, name text);
        INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 2500) i`);
      const carried: number[] = [];
      a.onCommit(({ changes }) => carried.push(changes.length));
      await a.registerEntityType({ entityType: 'Item', table: 'items' });
      await a.sync.whenSynced();
      assert.ok(Math.max(...carried) <= 1_000, `${Math.max(...carried)} changes in one event`);
      const { rows } = await a.query(`SELECT count(*)::int AS n FROM local_changes WHERE status = 'synced'`);
      assert.equal(rows[0]?.['n'], 2_500);
      assert.equal((await a.sync.state()).waiting, 0);
      const b = await client();
      await b.exec('CREATE TABLE items (id integer PRIMARY KEY, name text)');
      await b.registerEntityType({ entityType: 'Item', table: 'items' });
      await b.sync.connect({ url: suite.url, token: suite.token });
      await b.sync.whenSynced();
      assert.equal(await b.countEntities('Item'), 2_500);
      assert.equal((await b.sync.verify()).differencesTotal, 0);
    });

    it('meets what the server has of the same ids as at a first connect', async () => {
      const a = await connected();
      await a.registerEntityType({ entityType: 'Note' });
      await a.upsertEntity('Note', 'same', { text: 'equal' });
      await a.upsertEntity('Note', 'other', { text: 'from a', colour: 'red' });
      await a.sync.whenSynced();
      const b = await connected({ Note: { conflicts: 'remote-wins' } });
      await b.exec(`CREATE TABLE note_documents (id text PRIMARY KEY, data jsonb NOT NULL);
        INSERT INTO note_documents VALUES ('same', '{"text": "equal"}'), ('other', '{"text": "from b", "size": 1}')`);
      await b.registerEntityType({ entityType: 'Note' });
      await bothSynced(b, a);
      assert.deepEqual(await b.getEntity('Note', 'other'), { id: 'other', text: 'from a', colour: 'red', size: 1 });
      assert.deepEqual(await a.getEntity('Note', 'other'), await b.getEntity('Note', 'other'));
      assert.deepEqual(
        (await b.listChanges({ entityId: 'same' })).changes.filter(({ origin }) => origin !== 'remote'),
        [],
      );
    });
  });

  describe('what the server has and the schema here has not', () => {
    it('appears whole when its type is registered, also after a restart and without contact', async () => {
      const a = await connected();
      await a.registerEntityType({ entityType: 'Note' });
      for (const id of ['n1', 'n2', 'n3']) await a.upsertEntity('Note', id, { text: id });
      await a.sync.whenSynced();
      const directory = temporaryDirectory();
      const options = { dataDir: join(directory.path, 'data') };
      const first = await openLocalData(options);
      await makeTaskTypes(first);
      await first.sync.connect({ url: suite.url, token: suite.token });
      await first.sync.whenSynced();
      assert.equal((await first.sync.state()).setAside, 1);
      await first.close();

      const again = await openLocalData(options);
      await again.registerEntityType({ entityType: 'Note' });
      await until(again, async () => (await again.countEntities('Note')) === 3);
      await again.sync.connect({ url: suite.url, token: suite.token });
      await again.sync.whenSynced();
      assert.equal((await again.sync.state()).setAside, 0);
      assert.equal((await again.getEntity('Note', 'n3'))?.['text'], 'n3');
      await again.close();
      directory.remove();
    });

    it('is deleted with what the server deletes, while it waits for its type', async () => {
      const a = await connected();
      await a.registerEntityType({ entityType: 'Note' });
      for (const id of ['n1', 'n2']) await a.upsertEntity('Note', id, { text: id });
      await a.sync.whenSynced();
      const b = await connected();
      await a.deleteEntity('Note', 'n1');
      await bothSynced(a, b);
      await b.registerEntityType({ entityType: 'Note' });
      await b.sync.whenSynced();
      assert.deepEqual((await b.queryEntities('Note')).rows, [{ id: 'n2', text: 'n2' }]);
    });

    it('appears in a column that is added later, and what is written here meanwhile stays', async () => {
      const a = await connected();
      const b = await connected();
      await a.exec('ALTER TABLE tasks ADD COLUMN extra text');
      await a.upsertEntity('Task', 't1', { title: 'x', extra: 'from a' });
      await bothSynced(a, b);
      await b.sync.goOffline();
      await b.upsertEntity('Task', 't1', { title: 'edited by b' });
      await b.exec('ALTER TABLE tasks ADD COLUMN extra text');
      await until(b, async () => (await b.getEntity('Task', 't1'))?.['extra'] === 'from a');
      assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'edited by b');
      await b.sync.goOnline();
      await bothSynced(b, a);
      assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
    });

    it('appears again in a column that was dropped and added once more', async () => {
      const a = await connected();
      const b = await connected();
      await a.upsertEntity('Task', 't1', { title: 'x', priority: 3 });
      await bothSynced(a, b);
      await b.exec('ALTER TABLE tasks DROP COLUMN priority');
      await b.sync.whenSynced();
      await b.exec('ALTER TABLE tasks ADD COLUMN priority integer');
      await b.sync.whenSynced();
      assert.equal((await b.getEntity('Task', 't1'))?.['priority'], 3);
      assert.equal((await b.sync.state()).version, 1);
    });

    it('comes back with a table that was dropped and made again', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'kept by the server' });
      await a.sync.whenSynced();
      await a.exec('DROP TABLE tasks');
      await a.exec('CREATE TABLE tasks (id text PRIMARY KEY, title text NOT NULL)');
      await a.registerEntityType({ entityType: 'Task', table: 'tasks' });
      await a.sync.whenSynced();
      assert.deepEqual(await a.getEntity('Task', 't1'), { id: 't1', title: 'kept by the server' });
      const b = await connected();
      assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'kept by the server');
    });
  });

  describe('what cannot be read of what the server sends', () => {
    const nonsense = { entityType: 'Task', entityId: 't1', version: 'seven', entity: { title: 'x' } };

    /** The real server, which says something strange besides. */
    function strange(also: { readonly entities?: readonly unknown[]; readonly changes?: readonly unknown[] }): {
      transports: Record<string, OpenTransport>;
    } {
      const open: OpenTransport = (options) => {
        const transport = httpTransport({ ...options, url: suite.url });
        const snapshot: SyncTransport['snapshot'] = async (query, call) => {
          const page = await transport.snapshot(query, call);
          return {
            ...page,
            entities: [...page.entities.filter((entity) => !isAbout(entity, also.entities)), ...(also.entities ?? [])],
          };
        };
        const pull: SyncTransport['pull'] = async (query, call) => {
          const page = await transport.pull(query, call);
          return page.changes.length === 0 ? page : { ...page, changes: [...page.changes, ...(also.changes ?? [])] };
        };
        return { ...transport, snapshot, pull };
      };
      return { transports: { strange: open } };
    }

    it('is set aside and shown where it comes in a snapshot, and everything else is there', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'unreadable' });
      await a.upsertEntity('Task', 't2', { title: 'readable' });
      await a.sync.whenSynced();
      const b = await client(strange({ entities: [nonsense, 'no entity at all'] }));
      await b.sync.connect({ url: 'strange:server', token: suite.token });
      await b.sync.whenSynced();
      assert.equal((await b.getEntity('Task', 't2'))?.['title'], 'readable');
      assert.equal((await b.sync.state()).setAside, 2);
      const aside = (await b.listChanges({ status: 'failed' })).changes;
      assert.deepEqual(
        aside.map(({ entityType, entityId, failure }) => [entityType, entityId, failure?.code]),
        [
          ['Task', 't1', 'NOT_UNDERSTOOD'],
          ['?', '?', 'NOT_UNDERSTOOD'],
        ],
      );
      assert.match(aside[0]?.error ?? '', /an entity that cannot be read \(version/);
      // A later state of it that can be read is what counts.
      await a.upsertEntity('Task', 't1', { title: 'readable again' });
      await bothSynced(a, b);
      await whenState(b, ({ setAside }) => setAside === 1);
      assert.equal((await b.getEntity('Task', 't1'))?.['title'], 'readable again');
    });

    it('survives a restart with what is of an unknown type, which is applied once the type exists (scenario 28)', async () => {
      const a = await connected();
      await a.registerEntityType({ entityType: 'Note' });
      const directory = temporaryDirectory();
      const options = {
        dataDir: join(directory.path, 'data'),
        ...strange({ changes: [{ ...nonsense, id: 'strange-change' }] }),
      };
      const first = await openLocalData(options);
      await makeTaskTypes(first);
      await first.sync.connect({ url: 'strange:server', token: suite.token });
      await first.sync.whenSynced();
      await a.upsertEntity('Task', 't1', { title: 'goes on' });
      for (const id of ['n1', 'n2']) await a.upsertEntity('Note', id, { text: id });
      await bothSynced(a, first);
      await whenState(first, ({ setAside }) => setAside === 3);
      await first.close();

      const again = await openLocalData(options);
      await again.sync.connect({ url: 'strange:server', token: suite.token });
      await again.sync.whenSynced();
      assert.equal((await again.sync.state()).setAside, 3);
      await again.registerEntityType({ entityType: 'Note' });
      await again.sync.whenSynced();
      await whenState(again, ({ setAside }) => setAside === 1);
      assert.equal(await again.countEntities('Note'), 2);
      const [left] = (await again.listChanges({ status: 'failed' })).changes;
      assert.equal(left?.failure?.code, 'NOT_UNDERSTOOD');
      assert.equal((await again.getEntity('Task', 't1'))?.['title'], 'goes on');
      await again.close();
      directory.remove();
    });
  });

  it('puts in place what was set aside once nothing here is in its way, with nothing new from the server', async () => {
    const a = await connected();
    await a.upsertEntity('Project', 'p1', { name: 'deleted there' });
    await a.upsertEntity('Project', 'p2', { name: 'deleted there too' });
    await a.sync.whenSynced();
    const b = await connected(TASKS_STAY);
    await b.upsertEntity('Task', 't1', { title: 'refers to it here', project_id: 'p1' });
    await b.upsertEntity('Task', 't2', { title: 'refers to it here', project_id: 'p2' });
    await a.deleteEntity('Project', 'p1');
    await a.deleteEntity('Project', 'p2');
    await bothSynced(a, b);
    await whenState(b, ({ setAside }) => setAside === 2);
    await b.deleteEntity('Task', 't1');
    await until(b, async () => (await b.getEntity('Project', 'p1')) === undefined);
    await b.deleteEntity('Task', 't2');
    await b.sync.syncNow();
    assert.equal(await b.getEntity('Project', 'p2'), undefined);
    await whenState(b, ({ setAside }) => setAside === 0);
  });

  it('shows what was taken from a snapshot and cannot be put in place, and puts it there once it can', async () => {
    const a = await connected();
    await a.upsertEntity('Project', 'p1', { name: 'not at b' });
    await a.upsertEntity('Task', 't1', { title: 'theirs', project_id: 'p1' });
    await a.sync.whenSynced();
    const b = await client();
    await b.upsertEntity('Task', 't1', { title: 'mine' });
    await b.sync.setRules({ Project: { sync: false }, Task: { conflicts: 'remote-wins' } });
    await b.sync.connect({ url: suite.url, token: suite.token });
    await b.sync.whenSynced();
    await whenState(b, ({ setAside }) => setAside === 1);
    const [aside] = (await b.listChanges({ status: 'failed' })).changes;
    assert.match(aside?.error ?? '', /could not be put in place here: .*foreign key/);
    await b.upsertEntity('Project', 'p1', { name: 'private to b' });
    await until(b, async () => (await b.getEntity('Task', 't1'))?.['title'] === 'theirs');
    await whenState(b, ({ setAside }) => setAside === 0);
  });

  it('ends as the server has it where others wrote between its pages, and mine gave way before the feed had come so far', async () => {
    const b = await connected();
    await b.upsertEntity('Task', 't1', { title: 'on the first page' });
    await b.upsertEntity('Task', 't2', { title: 'still to be read' });
    await b.sync.whenSynced();
    const pushed = Promise.withResolvers<void>();
    const slow: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const snapshot: SyncTransport['snapshot'] = async ({ page }, call) => {
        const answer = await transport.snapshot({ page, limit: 1 }, call);
        if (page === null) {
          await b.upsertEntity('Task', 't2', { title: 'written between the pages', priority: 9 });
          await b.sync.whenSynced();
        }
        return answer;
      };
      const push: SyncTransport['push'] = async (request, call) => {
        const answer = await transport.push(request, call);
        setTimeout(pushed.resolve, 200);
        return answer;
      };
      const pull: SyncTransport['pull'] = async (query, call) => {
        await pushed.promise;
        return transport.pull(query, call);
      };
      return { ...transport, snapshot, push, pull };
    };
    const a = await client({ transports: { slow } });
    await a.sync.setRules({ Task: { conflicts: 'remote-wins' } });
    await a.upsertEntity('Task', 't2', { title: 'mine' });
    await a.sync.connect({ url: 'slow:server', token: suite.token });
    await bothSynced(a, b);
    const there = await b.getEntity('Task', 't2');
    assert.equal(there?.['title'], 'written between the pages');
    assert.deepEqual(await a.getEntity('Task', 't2'), there);
  });

  it('does not begin with another history than the cursor that expired was of', async () => {
    let isExpired = false;
    let isPutBack = false;
    const snapshots: string[] = [];
    const truncated: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const pull: SyncTransport['pull'] = (query, call) => {
        if (isPutBack) throw new TransportError('history-changed', 'This server was put back to an earlier state.');
        if (isExpired) throw new TransportError('cursor-expired', 'The feed no longer reaches back so far.');
        return transport.pull(query, call);
      };
      const snapshot: SyncTransport['snapshot'] = (query, call) => {
        snapshots.push(isPutBack ? 'of another history' : isExpired ? 'interrupted' : 'first');
        if (!isExpired || isPutBack) return transport.snapshot(query, call);
        isPutBack = true;
        throw new TransportError('unreachable', 'The server is being put back.');
      };
      return { ...transport, pull, snapshot };
    };
    const a = await client({ transports: { truncated } });
    await a.sync.connect({ url: 'truncated:server', token: suite.token });
    await a.upsertEntity('Task', 't1', { title: 'kept' });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    isExpired = true;
    await a.sync.goOnline();
    await whenState(a, ({ status }) => status === 'needs-decision');
    assert.match((await a.sync.state()).reason ?? '', /put back to an earlier state/);
    assert.deepEqual(snapshots, ['first', 'interrupted']);
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'kept');
  });

  it('deletes here what it lacks where the feed no longer reaches back so far, unless changes wait for it', async () => {
    const short = await startServer({ memory: true, secret: SECRET, retention: { feedRows: 1, everyMs: 20 } });
    const [a, b] = [await client(), await client()];
    for (const data of [a, b]) {
      await data.sync.setRules({ Task: { conflicts: 'manual' } });
      await data.sync.connect({ url: short.url, token: suite.token });
    }
    for (const id of ['t1', 't2', 't3']) await a.upsertEntity('Task', id, { title: 'base' });
    await bothSynced(a, b);
    await b.sync.goOffline();
    const { rows } = await b.query(`SELECT cursor FROM local_data.sync_binding`);
    await b.upsertEntity('Task', 't2', { title: 'waits' });
    await a.deleteEntity('Task', 't1');
    await a.deleteEntity('Task', 't2');
    await a.upsertEntity('Task', 't4', { title: 'new' });
    await a.sync.whenSynced();
    await whenExpired(
      httpTransport({ url: short.url, token: suite.token, space: suite.space }),
      String(rows[0]?.['cursor']),
    );
    await b.sync.goOnline();
    await b.sync.whenSynced();
    const { rows: here } = await b.queryEntities('Task', { orderBy: 'id' });
    assert.deepEqual(
      here.map(({ id, title }) => [id, title]),
      [
        ['t2', 'waits'],
        ['t3', 'base'],
        ['t4', 'new'],
      ],
    );
    const [conflicted] = await b.sync.conflicts();
    assert.deepEqual([conflicted?.entityId, conflicted?.conflict?.theirs], ['t2', null]);
    await b.sync.resolve(conflicted?.id ?? '', { keep: 'mine' });
    await bothSynced(b, a);
    assert.equal((await a.getEntity('Task', 't2'))?.['title'], 'waits');
    await suite.closeAll();
    await short.close();
  });

  it('is in step after a database of an earlier version was brought up to this one, and sends nothing anew', async () => {
    const directory = temporaryDirectory();
    const options = { dataDir: join(directory.path, 'data') };
    const first = await openLocalData(options);
    await makeTaskTypes(first);
    await first.sync.connect({ url: suite.url, token: suite.token });
    await first.upsertEntity('Task', 't1', { title: 'sent' });
    await first.sync.whenSynced();
    await first.exec(`DROP TABLE local_data.synced_types, local_data.missing_entities;
      ALTER TABLE local_data.sync_binding DROP COLUMN rules; COMMENT ON SCHEMA local_data IS '2'`);
    await first.close();
    const again = await openLocalData(options);
    await again.sync.connect({ url: suite.url, token: suite.token });
    await again.upsertEntity('Task', 't2', { title: 'new' });
    await again.sync.whenSynced();
    assert.equal((await again.sync.state()).version, 2);
    assert.equal((await again.listChanges()).changes.length, 2);
    await again.close();
    directory.remove();
  });

  describe('a new history of the server', () => {
    const resets: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const end of resets.splice(0)) await end();
    });

    /** A server of its own whose history ends when it is told so. */
    async function resettable(): Promise<{ readonly url: string; reset(): Promise<void> }> {
      let own = await startServer({ memory: true, secret: SECRET });
      const port = Number(new URL(own.url).port);
      resets.push(() => own.close());
      return {
        url: own.url,
        reset: async () => {
          await own.close();
          own = await startServer({ memory: true, secret: SECRET, port });
        },
      };
    }

    async function connectTo(url: string, options: OpenOptions = {}): Promise<LocalDataEngine> {
      const data = await client(options);
      await data.sync.connect({ url, token: suite.token });
      await data.sync.whenSynced();
      return data;
    }

    async function startAnew(data: LocalDataEngine, url: string): Promise<void> {
      await assert.rejects(data.sync.connect({ url, token: suite.token }), (error) =>
        LocalDataError.isCode(error, 'SYNC_SERVER_CHANGED'),
      );
      await data.sync.connect({ url, token: suite.token, onServerChanged: 'start-anew' });
      await data.sync.whenSynced();
    }

    async function titlesAt(data: LocalDataEngine): Promise<Record<string, unknown>> {
      const { rows } = await data.queryEntities('Task');
      return Object.fromEntries(rows.map((row) => [String(row['id']), row['title']]));
    }

    it('is asked about where it lacks what the old one had; what is new or changed here is sent', async () => {
      const own = await resettable();
      const a = await connectTo(own.url);
      await a.upsertEntity('Project', 'p1', { name: 'old' });
      await a.upsertEntity('Task', 't1', { title: 'old', project_id: 'p1' });
      await a.upsertEntity('Task', 't2', { title: 'old', priority: 2 });
      await a.upsertEntity('Task', 't3', { title: 'deleted here meanwhile' });
      await a.sync.whenSynced();
      await a.sync.goOffline();
      await a.upsertEntity('Task', 't2', { title: 'changed meanwhile' });
      await a.upsertEntity('Task', 't4', { title: 'new' });
      await a.deleteEntity('Task', 't3');
      await own.reset();
      await startAnew(a, own.url);
      assert.equal((await a.sync.state()).missing, 2);
      assert.deepEqual(await a.sync.missingEntities(), [
        { entityType: 'Project', entityId: 'p1' },
        { entityType: 'Task', entityId: 't1' },
      ]);
      assert.deepEqual(await a.sync.missingEntities({ limit: 1 }), [{ entityType: 'Project', entityId: 'p1' }]);
      assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'old');
      const b = await connectTo(own.url);
      assert.deepEqual(await titlesAt(b), { t2: 'changed meanwhile', t4: 'new' });
      assert.equal((await b.getEntity('Task', 't2'))?.['priority'], 2);

      assert.deepEqual(await a.sync.decideMissing('send'), { decided: 2, refused: [] });
      await bothSynced(a, b);
      assert.deepEqual(await b.getEntity('Task', 't1'), await a.getEntity('Task', 't1'));
      assert.equal((await b.getEntity('Project', 'p1'))?.['name'], 'old');
      await whenState(a, ({ missing }) => missing === 0);
      assert.equal((await b.sync.state()).setAside, 0);
      assert.equal((await a.sync.verify()).differencesTotal, 0);
    });

    it('has removed here what it lacks, when a person says so: children first, and nothing that is referred to', async () => {
      const own = await resettable();
      const a = await connectTo(own.url);
      await a.upsertEntity('Project', 'p1', { name: 'goes' });
      await a.upsertEntity('Project', 'p2', { name: 'stays' });
      await a.upsertEntity('Task', 't1', { title: 'goes', project_id: 'p1' });
      await a.sync.whenSynced();
      await a.sync.goOffline();
      await a.upsertEntity('Task', 't2', { title: 'new', project_id: 'p2' });
      await own.reset();
      await startAnew(a, own.url);
      assert.equal((await a.sync.state()).missing, 3);
      assert.deepEqual(await a.sync.decideMissing('remove'), {
        decided: 2,
        refused: [{ entityType: 'Project', entityId: 'p2', reason: 'A Task here refers to it.' }],
      });
      assert.deepEqual(await titlesAt(a), { t2: 'new' });
      assert.equal(await a.getEntity('Project', 'p1'), undefined);
      const last = (await a.listChanges({ entityId: 't1' })).changes.at(-1);
      assert.equal(last?.operation, 'delete');
      assert.equal(last.previous?.['title'], 'goes');
      await a.sync.whenSynced();
      await whenState(a, ({ missing }) => missing === 1);
      assert.equal((await a.getChange(last.id))?.status, 'synced');
    });

    it('gets the whole of a missing entity once it is changed here, with the transaction it belongs to', async () => {
      const own = await resettable();
      const a = await connectTo(own.url);
      await a.upsertEntity('Task', 't1', { title: 'old', priority: 1 });
      await a.upsertEntity('Task', 't2', { title: 'old' });
      await a.upsertEntity('Task', 't3', { title: 'old' });
      await a.sync.whenSynced();
      await own.reset();
      await startAnew(a, own.url);
      await a.transaction((tx) => {
        tx.upsertEntity('Task', 't1', { priority: 2 });
        tx.upsertEntity('Task', 'new', { title: 'with it' });
      });
      await a.deleteEntity('Task', 't2');
      await a.sync.whenSynced();
      const b = await connectTo(own.url);
      assert.deepEqual(await b.getEntity('Task', 't1'), await a.getEntity('Task', 't1'));
      assert.deepEqual(await titlesAt(b), { t1: 'old', new: 'with it' });
      const { refused, missing } = await a.sync.state();
      assert.deepEqual({ refused, missing }, { refused: 0, missing: 1 });
    });

    it('keeps a missing entity whose edit here is undone, with what it said before', async () => {
      const own = await resettable();
      const a = await connectTo(own.url);
      await a.upsertEntity('Task', 't1', { title: 'old', priority: 1 });
      await a.sync.whenSynced();
      await own.reset();
      await startAnew(a, own.url);
      const edit = await a.recordChange('Task', 't1', 'update', { title: 'new' });
      await a.whenIdle();
      await a.sync.whenSynced();
      const b = await connectTo(own.url);
      assert.deepEqual(await titlesAt(b), { t1: 'new' });
      const undo = await a.undoChange(edit.id);
      assert.deepEqual([undo.operation, undo.data], ['update', { title: 'old' }]);
      await bothSynced(a, b);
      for (const data of [a, b])
        assert.partialDeepStrictEqual(await data.getEntity('Task', 't1'), { title: 'old', priority: 1 });
    });

    it('asks on after a restart, and what was changed before contact is sent whole', async () => {
      const own = await resettable();
      const directory = temporaryDirectory();
      const options = { dataDir: join(directory.path, 'data') };
      const first = await openLocalData(options);
      await makeTaskTypes(first);
      await first.sync.connect({ url: own.url, token: suite.token });
      for (const id of ['t1', 't2']) await first.upsertEntity('Task', id, { title: 'old' });
      await first.sync.whenSynced();
      await own.reset();
      await startAnew(first, own.url);
      await first.sync.goOffline();
      await first.upsertEntity('Task', 't1', { priority: 3 });
      await first.close();
      const again = await openLocalData(options);
      await again.sync.connect({ url: own.url, token: suite.token });
      await again.sync.whenSynced();
      await whenState(again, ({ missing }) => missing === 1);
      assert.equal((await again.sync.state()).refused, 0);
      const b = await connectTo(own.url);
      assert.deepEqual(await titlesAt(b), { t1: 'old' });
      await again.close();
      directory.remove();
    });

    it('is not asked about what another sends meanwhile, and the later of both states is kept', async () => {
      const own = await resettable();
      const a = await connectTo(own.url);
      await a.upsertEntity('Task', 't1', { title: 'both have it' });
      await a.upsertEntity('Task', 't2', { title: 'seen by both' });
      await a.sync.whenSynced();
      const b = await connectTo(own.url);
      await b.sync.goOffline();
      await a.upsertEntity('Task', 't2', { title: 'seen by a alone' });
      await a.sync.whenSynced();
      await own.reset();
      await startAnew(a, own.url);
      await startAnew(b, own.url);
      assert.equal((await b.sync.state()).missing, 2);
      await b.sync.decideMissing('send');
      await bothSynced(b, a, b);
      await whenState(a, ({ missing }) => missing === 0);
      assert.deepEqual(await titlesAt(a), { t1: 'both have it', t2: 'seen by a alone' });
      assert.deepEqual(await titlesAt(b), await titlesAt(a));
    });

    it('under the same name, where the server was put back to an earlier state, is noticed and taken over (scenario 27)', async () => {
      const directory = temporaryDirectory();
      const [present, copy] = [join(directory.path, 'present'), join(directory.path, 'copy')];
      let own = await startServer({ dataDir: present, secret: SECRET });
      const port = Number(new URL(own.url).port);
      resets.push(() => own.close());
      const again = async (dataDir: string): Promise<void> => {
        own = await startServer({ dataDir, secret: SECRET, port });
      };
      const clientDirectory = join(directory.path, 'client');
      const a = suite.closeAfterwards(await openLocalData({ dataDir: clientDirectory }));
      await makeTaskTypes(a);
      await a.sync.connect({ url: own.url, token: suite.token });
      await a.upsertEntity('Task', 't1', { title: 'one' });
      await a.sync.whenSynced();
      await own.close();
      cpSync(present, copy, { recursive: true });
      await again(present);
      await a.upsertEntity('Task', 't1', { title: 'one, edited' });
      await a.upsertEntity('Task', 't2', { title: 'two' });
      await a.sync.whenSynced();
      await own.close();
      await again(copy);
      await a.upsertEntity('Task', 't3', { title: 'three' });
      await whenState(a, ({ status }) => status === 'needs-decision');
      await startAnew(a, own.url);
      const backups = readdirSync(directory.path).filter((name) => name.startsWith('client-before-start-anew'));
      assert.equal(backups.length, 1);
      assert.deepEqual(await a.sync.missingEntities(), [{ entityType: 'Task', entityId: 't2' }]);
      const b = await connectTo(own.url);
      assert.deepEqual(await titlesAt(b), { t1: 'one, edited', t3: 'three' });
      await a.sync.decideMissing('send');
      await bothSynced(a, b);
      assert.deepEqual(await titlesAt(b), { t1: 'one, edited', t2: 'two', t3: 'three' });
      assert.equal((await a.sync.verify()).differencesTotal, 0);
      await suite.closeAll();
      await own.close();
      directory.remove();
    });
  });
});

function isAbout(entity: unknown, others: readonly unknown[] = []): boolean {
  const idOf = (value: unknown): unknown =>
    typeof value === 'object' && value !== null ? Reflect.get(value, 'entityId') : undefined;
  return others.some((other) => idOf(other) !== undefined && idOf(other) === idOf(entity));
}

/** Resolves once it is so; looked at after each commit. The time limit is the test's. */
async function until(data: LocalDataEngine, isSo: () => Promise<boolean>): Promise<void> {
  for (;;) {
    const committed = new Promise<void>((resolve) => {
      const stop = data.onCommit(() => {
        stop();
        resolve();
      });
    });
    if (await isSo()) return;
    await committed;
  }
}

/** Asks until the feed no longer reaches back to the cursor. */
async function whenExpired(transport: SyncTransport, cursor: string): Promise<void> {
  const call = { signal: new AbortController().signal, timeoutMs: 10_000 };
  for (let isThere = true; isThere;) {
    isThere = await transport.pull({ after: cursor, limit: 1, wait: 0 }, call).then(
      () => true,
      (error: unknown) => {
        if (error instanceof TransportTrouble && error.kind === 'cursor-expired') return false;
        throw error;
      },
    );
  }
}
