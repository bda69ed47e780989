// What a database takes over from a server, and which of its entity types take part: types that come, go, change or stay on
// this machine, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type LocalDataEngine, openLocalData, temporaryDirectory } from '../support/engine.ts';
import { SECRET, makeTaskTypes, newSpace, openTasks, startServer, tokenFor, whenState } from '../support/sync.ts';

type Rules = Parameters<LocalDataEngine['sync']['setRules']>[0];
type Server = Awaited<ReturnType<typeof startServer>>;

const TASKS_STAY: Rules = { Task: { sync: false } };

describe('snapshots and entity types', () => {
  let server: Server;
  let token: string;
  const opened: LocalDataEngine[] = [];

  before(async () => {
    server = await startServer({ memory: true, secret: SECRET });
  });
  after(() => server.close());
  beforeEach(async () => {
    token = await tokenFor(newSpace());
  });
  afterEach(async () => {
    for (const data of opened.splice(0)) await data.close();
  });

  async function client(): Promise<LocalDataEngine> {
    const data = await openTasks();
    opened.push(data);
    return data;
  }

  async function connected(rules: Rules = {}): Promise<LocalDataEngine> {
    const data = await client();
    await data.sync.setRules(rules);
    await data.sync.connect({ url: server.url, token });
    await data.sync.whenSynced();
    return data;
  }

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
      await first.sync.connect({ url: server.url, token });
      await first.upsertEntity('Task', 't1', { title: 'sent' });
      await first.sync.whenSynced();
      await first.sync.setRules(TASKS_STAY);
      await first.upsertEntity('Task', 't1', { title: 'private' });
      await first.close();

      const again = await openLocalData(options);
      await again.sync.connect({ url: server.url, token });
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
      await b.sync.connect({ url: server.url, token });
      await b.sync.whenSynced();
      assert.deepEqual((await b.queryEntities('Item', { orderBy: 'id' })).rows, [
        { id: 'i1', name: 'edited' },
        { id: 'i2', name: 'two' },
      ]);
      assert.equal((await a.sync.state()).refused, 0);
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
      await first.sync.connect({ url: server.url, token });
      await first.sync.whenSynced();
      assert.equal((await first.sync.state()).setAside, 1);
      await first.close();

      const again = await openLocalData(options);
      await again.registerEntityType({ entityType: 'Note' });
      await until(again, async () => (await again.countEntities('Note')) === 3);
      await again.sync.connect({ url: server.url, token });
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
});

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
