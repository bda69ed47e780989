// What the server has and cannot be put in place here, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import { TransportError } from '../support/engine.ts';
import { SyncSuite, whenChange, whenState } from '../support/sync.ts';

describe('what is set aside', () => {
  const suite = new SyncSuite();

  it('finds its place by itself once what was in its way is gone, though nothing new comes from the server', async () => {
    const [a, b] = [await suite.client(), await suite.client()];
    await a.sync.setRules({ Task: { sync: false } });
    for (const data of [a, b]) await data.sync.connect({ url: suite.url, token: suite.token });
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

  it('is a delete of what is still referred to here, by whatever columns; nothing here goes with it', async () => {
    const [a, b] = [await suite.client(), await suite.client()];
    for (const data of [a, b]) {
      await data.exec(`CREATE TABLE plots (tenant_id integer, id integer PRIMARY KEY, code text UNIQUE, UNIQUE (tenant_id, id));
        CREATE TABLE huts (id text PRIMARY KEY, tenant_id integer, plot_id integer,
          FOREIGN KEY (tenant_id, plot_id) REFERENCES plots (tenant_id, id) ON DELETE CASCADE);
        CREATE TABLE signs (id text PRIMARY KEY, plot_code text REFERENCES plots (code) ON DELETE SET NULL)`);
      for (const [entityType, table] of Object.entries({ Plot: 'plots', Hut: 'huts', Sign: 'signs' }))
        await data.registerEntityType({ entityType, table });
    }
    await b.sync.setRules({ Hut: { sync: false }, Sign: { sync: false } });
    for (const data of [a, b]) await data.sync.connect({ url: suite.url, token: suite.token });
    for (const id of [7, 8, 9]) await a.upsertEntity('Plot', String(id), { tenant_id: 1, code: `c${id}` });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    await b.upsertEntity('Hut', 'h', { tenant_id: 1, plot_id: 7 });
    // The number of a plot, but of no tenant: it refers to nothing.
    await b.upsertEntity('Hut', 'none', { tenant_id: null, plot_id: 9 });
    await b.upsertEntity('Sign', 's', { plot_code: 'c8' });
    for (const id of ['7', '8', '9']) await a.deleteEntity('Plot', id);
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    const aside = (await b.listChanges({ status: 'failed' })).changes;
    assert.deepEqual(
      aside.map(({ entityId, failure }) => [entityId, failure?.code]),
      [
        ['7', 'STILL_REFERRED_TO'],
        ['8', 'STILL_REFERRED_TO'],
      ],
    );
    assert.deepEqual(await b.getEntity('Hut', 'h'), { id: 'h', tenant_id: 1, plot_id: 7 });
    assert.deepEqual(await b.getEntity('Sign', 's'), { id: 's', plot_code: 'c8' });
    assert.deepEqual((await b.listChanges({ entityType: 'Hut' })).changes.length, 2);
    await b.deleteEntity('Hut', 'h');
    await b.upsertEntity('Sign', 's', { plot_code: null });
    await whenState(b, ({ setAside }) => setAside === 0);
    assert.equal(await b.countEntities('Plot'), 0);
  });

  it('is tried again whole, however much of it cannot go, and first what a person retries', async () => {
    const [a, b] = [await suite.client(), await suite.client()];
    await b.exec(`ALTER TABLE tasks ADD CHECK (priority IS NULL), ADD CONSTRAINT later CHECK (title <> 'later')`);
    for (const data of [a, b]) await data.sync.connect({ url: suite.url, token: suite.token });
    await a.exec(`INSERT INTO tasks (id, title, priority)
      SELECT lpad(i::text, 4, '0'), CASE WHEN i > 1020 THEN 'later' ELSE 'never' END, CASE WHEN i <= 1020 THEN 1 END
      FROM generate_series(1, 1100) i`);
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    await whenState(b, ({ setAside }) => setAside === 1_100);
    await b.exec(`ALTER TABLE tasks DROP CONSTRAINT later`);
    const [last] = (await b.listChanges({ entityId: '1100' })).changes;
    assert.equal((await b.retryChange(last?.id ?? '')).status, 'synced');
    await whenState(b, ({ setAside }) => setAside === 1_020);
    assert.equal(await b.countEntities('Task'), 80);
  });

  it('is one row alone of a long chain that came last first, and the chain is in place at once', async () => {
    const [a, b] = [await suite.client(), await suite.client()];
    for (const data of [a, b]) {
      await data.exec(`CREATE TABLE nodes (id text PRIMARY KEY, name text, parent text)`);
      await data.registerEntityType({ entityType: 'Node', table: 'nodes' });
    }
    await b.exec(`ALTER TABLE nodes ADD CHECK (name <> 'bad'), ADD FOREIGN KEY (parent) REFERENCES nodes (id)`);
    for (const data of [a, b]) await data.sync.connect({ url: suite.url, token: suite.token });
    await b.sync.whenSynced();
    await a.exec(`INSERT INTO nodes SELECT lpad(i::text, 3, '0'), CASE WHEN i = 200 THEN 'bad' ELSE 'good' END,
      CASE WHEN i < 199 THEN lpad((i + 1)::text, 3, '0') END FROM generate_series(1, 200) i`);
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    await whenState(b, ({ setAside }) => setAside === 1);
    assert.equal(await b.countEntities('Node'), 199);
  });

  it('is only what the tables here refuse, by whatever code: all else of the page comes, and what is here goes', async () => {
    const [a, b] = [await suite.client(), await suite.client()];
    await b.exec(`CREATE INDEX by_title ON tasks (title);
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'not here: %', NEW.title USING ERRCODE = NEW.settings->>'code'; END $$;
      CREATE TRIGGER refuse BEFORE INSERT ON tasks FOR EACH ROW WHEN (NEW.settings ? 'code') EXECUTE FUNCTION refuse()`);
    for (const data of [a, b]) await data.sync.connect({ url: suite.url, token: suite.token });
    const codes = ['LD001', '45000', '0A000', '40001', '55000', 'XX000'];
    await a.transaction((tx) => {
      tx.upsertEntity('Task', 'first', { title: 'before them' });
      tx.upsertEntity('Task', 'long', { title: incompressible(5_000) });
      for (const code of codes) tx.upsertEntity('Task', code, { title: code, settings: { code } });
      tx.upsertEntity('Task', 'last', { title: 'after them' });
    });
    await a.sync.whenSynced();
    await b.upsertEntity('Task', 'own', { title: 'from here' });
    await b.sync.whenSynced();
    const aside = (await b.listChanges({ status: 'failed' })).changes;
    assert.deepEqual(
      aside.map(({ entityId, failure }) => [entityId, failure?.code]),
      [['long', '54000'], ...codes.map((code) => [code, code])],
    );
    assert.match(aside[1]?.failure?.message ?? '', /could not be put in place here: not here: LD001/);
    const ids = (await b.queryEntities('Task', { orderBy: 'id' })).rows.map(({ id }) => id);
    assert.deepEqual(ids, ['first', 'last', 'own']);
    await a.sync.whenSynced();
    assert.equal((await a.getEntity('Task', 'own'))?.['title'], 'from here');
  });
});

describe('what waits here', () => {
  const suite = new SyncSuite();

  it('becomes a conflict once it no longer fits on what the server has, and the entity is as it is there', async () => {
    const shown = Promise.withResolvers<void>();
    let isHeld = true;
    const held: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const push: SyncTransport['push'] = async (request, call) => {
        if (!isHeld) return transport.push(request, call);
        await shown.promise;
        throw new TransportError('unreachable', 'It never left.');
      };
      return { ...transport, push };
    };
    const [a, b] = [await suite.client(), await suite.client({ transports: { held } })];
    await a.sync.connect({ url: suite.url, token: suite.token });
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
    await a.sync.whenSynced();
    await b.exec(`ALTER TABLE tasks ADD CHECK (NOT done OR priority < 5)`);
    await b.sync.connect({ url: 'held:server', token: suite.token });
    await b.sync.whenSynced();
    await b.sync.goOffline();
    await b.upsertEntity('Task', 't1', { done: true });
    await b.upsertEntity('Task', 't1', { title: 'behind it' });
    await a.upsertEntity('Task', 't1', { priority: 9 });
    await a.sync.whenSynced();
    const [first, behind] = (await b.listChanges({ entityId: 't1' })).changes.filter(
      ({ origin }) => origin !== 'remote',
    );
    await b.sync.goOnline();
    await whenChange(b, first?.id ?? '', ({ status }) => status === 'conflicted');
    const entity = await b.getEntity('Task', 't1');
    assert.deepEqual([entity?.['title'], entity?.['done'], entity?.['priority']], ['base', false, 9]);
    const conflict = (await b.sync.conflicts()).find(({ id }) => id === first?.id)?.conflict;
    assert.deepEqual([conflict?.mine?.['done'], conflict?.theirs?.['priority']], [true, 9]);
    isHeld = false;
    shown.resolve();
    await b.sync.whenSynced();
    assert.equal((await b.getChange(behind?.id ?? ''))?.status, 'blocked');
    assert.equal((await a.getEntity('Task', 't1'))?.['done'], false);
    await b.sync.resolve(first?.id ?? '', { keep: 'theirs' });
    await b.sync.whenSynced();
    await a.sync.whenSynced();
    assert.deepEqual(await a.getEntity('Task', 't1'), await b.getEntity('Task', 't1'));
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'behind it');
  });
});

/** So that no compression makes it fit into an index. */
function incompressible(length: number): string {
  let text = '';
  for (let round = 0; text.length < length; round++)
    text += createHash('sha256').update(String(round)).digest('base64');
  return text.slice(0, length);
}
