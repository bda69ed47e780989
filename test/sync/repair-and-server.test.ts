// What a person repairs while a server is there: the entity stays base + what is in place here, the server gets what was
// decided last, and what it has already is undone rather than taken back. Real engine, real server, real HTTP.
import assert from 'node:assert/strict';
import type { Change, JsonObject } from '../../src/protocol/changes.ts';
import type { LocalDataEngine } from '../support/engine.ts';
import { SECRET, newSpace, openTasks, startServer, tokenFor, whenChange } from '../support/sync.ts';

type Server = Awaited<ReturnType<typeof startServer>>;
type Validate = NonNullable<Parameters<typeof startServer>[0]['validate']>;

const refuseForbidden: Validate = ({ after }) =>
  after?.['title'] === 'forbidden' ? { reason: 'The title is not allowed.', field: 'title' } : null;

describe('repairing beside a server', () => {
  let server: Server;
  let token: string;
  let validate: Validate = refuseForbidden;
  const opened: LocalDataEngine[] = [];

  before(async () => {
    server = await startServer({ memory: true, secret: SECRET, validate: (write) => validate(write) });
  });
  after(() => server.close());
  beforeEach(async () => {
    validate = refuseForbidden;
    token = await tokenFor(newSpace());
  });
  afterEach(async () => {
    for (const data of opened.splice(0)) await data.close();
  });

  async function client(options: Parameters<typeof openTasks>[0] = {}): Promise<LocalDataEngine> {
    const data = await openTasks(options);
    opened.push(data);
    return data;
  }

  async function connected(rules: Parameters<LocalDataEngine['sync']['setRules']>[0] = {}): Promise<LocalDataEngine> {
    const data = await client();
    await data.sync.setRules(rules);
    await data.sync.connect({ url: server.url, token });
    await data.sync.whenSynced();
    return data;
  }

  /** Task t1 is on the server; then, offline, a change that the server refuses and one behind it, and both are sent. */
  async function refusedAndBehind(
    a: LocalDataEngine,
    refused: JsonObject = { title: 'forbidden' },
    behind: JsonObject = { done: true },
  ): Promise<[Change, Change]> {
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', refused);
    await a.upsertEntity('Task', 't1', behind);
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const [, head, later] = await changesOf(a, 't1');
    assert.deepEqual([head?.status, later?.status], ['failed', 'blocked']);
    assert.ok(head !== undefined && later !== undefined);
    return [head, later];
  }

  async function changesOf(data: LocalDataEngine, entityId: string): Promise<Change[]> {
    return (await data.listChanges({ entityId })).changes;
  }

  async function latest(data: LocalDataEngine, { id }: { readonly id: string }): Promise<Change> {
    const change = await data.getChange(id);
    assert.ok(change !== undefined);
    return change;
  }

  const task = (data: LocalDataEngine, id = 't1') => data.getEntity('Task', id);

  describe('discard and restore', () => {
    it('keep what others wrote meanwhile: the entity is its base with what is in place, in its order', async () => {
      const a = await connected();
      const [refused, later] = await refusedAndBehind(a);
      const b = await connected();
      await b.upsertEntity('Task', 't1', { priority: 9 });
      await b.sync.whenSynced();
      await a.sync.whenSynced();
      await a.sync.goOffline();
      await a.discardChange(refused.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'base', done: true, priority: 9 });
      assert.partialDeepStrictEqual((await latest(a, later)).previous, { title: 'base', done: false, priority: 9 });
      await a.restoreChange(refused.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'forbidden', done: true, priority: 9 });
      const restored = await latest(a, refused);
      assert.deepEqual([restored.status, restored.previous?.['priority']], ['applied', 9]);
      assert.partialDeepStrictEqual((await latest(a, later)).previous, { title: 'forbidden', priority: 9 });
    });

    it('leave a later change of the same field with what it was made on, so that a conflict of it is still one', async () => {
      const rules = { Task: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      const [refused, later] = await refusedAndBehind(a, { title: 'forbidden' }, { title: 'mine' });
      const b = await connected(rules);
      await b.upsertEntity('Task', 't1', { title: 'theirs' });
      await b.sync.whenSynced();
      await a.sync.whenSynced();
      await a.discardChange(refused.id);
      assert.equal((await latest(a, later)).previous?.['title'], 'base');
      await whenChange(a, later.id, ({ status }) => status === 'conflicted');
      const { base, mine, theirs } = (await latest(a, later)).conflict?.fields['title'] ?? {};
      assert.deepEqual([base, mine, theirs], ['base', 'mine', 'theirs']);
    });

    it('bring a project back before the tasks that went with it', async () => {
      validate = ({ change }) =>
        change.operation === 'delete' && change.entityType === 'Project' ? { reason: 'Projects stay.' } : null;
      const a = await client();
      await a.exec(`ALTER TABLE tasks DROP CONSTRAINT tasks_project_id_fkey,
        ADD FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE`);
      await a.sync.connect({ url: server.url, token });
      await a.upsertEntity('Project', 'p1', { name: 'One' });
      await a.upsertEntity('Task', 't1', { title: 'child', project_id: 'p1' });
      await a.sync.whenSynced();
      await a.deleteEntity('Project', 'p1');
      await a.sync.whenSynced();
      const refused = (await changesOf(a, 'p1')).at(-1);
      assert.equal(refused?.status, 'failed');
      assert.equal(await task(a), undefined);
      await a.discardChange(refused.id);
      assert.equal((await task(a))?.['project_id'], 'p1');
      const statuses = (await a.listChanges()).changes.map(({ status }) => status);
      assert.deepEqual(statuses, ['synced', 'synced', 'discarded', 'discarded']);
    });
  });
});
