// What the server has and cannot be put in place here, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import type { LocalDataEngine } from '../support/engine.ts';
import { SECRET, newSpace, openTasks, startServer, tokenFor, whenState } from '../support/sync.ts';

describe('what is set aside', () => {
  let server: Awaited<ReturnType<typeof startServer>>;
  const opened: LocalDataEngine[] = [];

  before(async () => {
    server = await startServer({ memory: true, secret: SECRET });
  });
  after(() => server.close());
  afterEach(async () => {
    for (const data of opened.splice(0)) await data.close();
  });

  it('finds its place by itself once what was in its way is gone, though nothing new comes from the server', async () => {
    const token = await tokenFor(newSpace());
    const [a, b] = [await openTasks(), await openTasks()];
    opened.push(a, b);
    await a.sync.setRules({ Task: { sync: false } });
    for (const data of [a, b]) await data.sync.connect({ url: server.url, token });
    await a.upsertEntity('Project', 'p1', { name: 'One' });
    await a.upsertEntity('Task', 't1', { title: 'here alone', project_id: 'p1' });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    await b.deleteEntity('Project', 'p1');
    await b.sync.whenSynced();
    await a.sync.whenSynced();
    await whenState(a, ({ setAside }) => setAside === 1);
    assert.equal((await a.getEntity('Project', 'p1'))?.['name'], 'One');
    await a.deleteEntity('Task', 't1');
    await whenState(a, ({ setAside }) => setAside === 0);
    assert.equal(await a.getEntity('Project', 'p1'), undefined);
  });
});
