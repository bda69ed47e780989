// Comparing a database with its server, and repairing what differs, with the real engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import { LocalDataError, type LocalDataEngine } from '../support/engine.ts';
import { type OpenOptions, SyncSuite, whenState } from '../support/sync.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

describe('verifying against the server', () => {
  let forbids = true;
  const suite = new SyncSuite({
    validate: ({ after }) => (forbids && after?.['title'] === 'forbidden' ? { reason: 'Not allowed.' } : null),
  });

  beforeEach(() => {
    forbids = true;
  });

  async function connected(options: OpenOptions = {}, url = suite.url): Promise<LocalDataEngine> {
    const data = await suite.client(options);
    await data.sync.setRules({ Task: { conflicts: 'manual' } });
    await data.sync.connect({ url, token: suite.token });
    await data.sync.whenSynced();
    return data;
  }

  /** Writes behind the back of everything that would notice it. */
  async function unseen(data: LocalDataEngine, table: string, sql: string): Promise<void> {
    await data.exec(`ALTER TABLE ${table} DISABLE TRIGGER USER; ${sql}; ALTER TABLE ${table} ENABLE TRIGGER USER`);
  }

  async function found(data: LocalDataEngine, repair = false): Promise<(readonly [string, string])[]> {
    const { differences } = await data.sync.verify({ repair });
    return differences.map(({ entityId, kind }) => [entityId, kind] as const);
  }

  it('repairs a base beneath a change that waits, which stays made on what it was made on', async () => {
    const b = await connected();
    await b.upsertEntity('Task', 't1', { title: 'by b' });
    await b.sync.whenSynced();
    const a = await connected();
    const refused = await a.recordChange('Task', 't1', 'update', { title: 'forbidden' });
    await a.whenIdle();
    await a.sync.whenSynced();
    await a.exec(`UPDATE local_data.entity_bases SET data = jsonb_set(data, '{priority}', '99')`);
    assert.deepEqual(await found(a, true), [['t1', 'different']]);
    assert.deepEqual(await found(a), []);
    assert.equal((await a.getEntity('Task', 't1'))?.['title'], 'forbidden');
    forbids = false;
    await a.retryChange(refused.id);
    await a.sync.whenSynced();
    assert.equal((await a.getChange(refused.id))?.status, 'synced');
    assert.deepEqual(await a.sync.conflicts(), []);
  });

  it('finds entities that strayed from their bases; looking changes nothing, a repair puts them right', async () => {
    const a = await connected();
    for (const id of ['t1', 't2', 't3']) await a.upsertEntity('Task', id, { title: id, settings: { colour: 'red' } });
    await a.sync.whenSynced();
    await a.upsertEntity('Task', 't3', { title: 'forbidden' });
    await a.sync.whenSynced();
    await unseen(
      a,
      'tasks',
      `UPDATE tasks SET priority = 5 WHERE id = 't1'; DELETE FROM tasks WHERE id = 't2'; INSERT INTO tasks (id, title) VALUES ('t4', 'from nowhere')`,
    );
    const expected = [
      ['t1', 'not-as-base'],
      ['t2', 'not-as-base'],
      ['t4', 'not-as-base'],
    ];
    assert.deepEqual(await found(a), expected);
    assert.deepEqual(await found(a), expected);
    const { differences, repaired } = await a.sync.verify({ repair: true });
    assert.deepEqual(
      differences.map(({ server: there, here }) => [there?.['priority'] ?? null, here?.['priority'] ?? null]),
      [
        [null, 5],
        [null, null],
        [null, null],
      ],
    );
    assert.equal(repaired, 3);
    assert.deepEqual(await found(a), []);
    assert.equal((await a.getEntity('Task', 't1'))?.['priority'], null);
    assert.equal((await a.getEntity('Task', 't2'))?.['title'], 't2');
    assert.equal((await a.getEntity('Task', 't3'))?.['title'], 'forbidden');
    assert.equal(await a.getEntity('Task', 't4'), undefined);
    assert.equal((await a.sync.state()).waiting, 0);
  });

  it('finds what a trigger here makes of what comes from the server, and does not say that it was repaired', async () => {
    const a = await connected();
    const b = await connected();
    await b.exec(`
      CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.priority := 7; RETURN NEW; END $$;
      CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION stamp()`);
    await a.upsertEntity('Task', 't1', { title: 'x', priority: 1 });
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    const { differences, repaired } = await b.sync.verify({ repair: true });
    assert.deepEqual(
      differences.map(({ kind, server: there, here }) => [kind, there?.['priority'], here?.['priority']]),
      [['not-as-base', 1, 7]],
    );
    assert.equal(repaired, 0);
    assert.deepEqual(await found(a), []);
  });

  it('finds what the type of a column refuses by now, by whatever code, and goes on', async () => {
    const a = await connected();
    await a.exec(`CREATE FUNCTION fits(value text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
      CREATE DOMAIN fitting AS text CHECK (fits(VALUE)); ALTER TABLE tasks ALTER COLUMN title TYPE fitting`);
    for (const title of ['t1', 't2', 't3']) await a.upsertEntity('Task', title, { title });
    await a.sync.whenSynced();
    await a.exec(`CREATE OR REPLACE FUNCTION fits(value text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
      IF value = 't2' THEN RAISE 'no longer' USING ERRCODE = 'LD001'; END IF; RETURN true; END $$`);
    assert.deepEqual(await found(a), [['t2', 'not-as-base']]);
  });

  it('compares values by the types of their columns, and nothing that a table computes by itself', async () => {
    const values = `amount numeric(10, 2), at timestamptz, big bigint, bytes bytea, tags text[], extra jsonb`;
    const tables = [
      `CREATE TABLE things (id integer PRIMARY KEY, ${values}, twice numeric GENERATED ALWAYS AS (amount * 2) STORED)`,
      `CREATE TABLE things (id integer PRIMARY KEY, ${values}, twice numeric GENERATED ALWAYS AS (amount * 3) STORED)`,
    ];
    const all = await Promise.all(
      tables.map(async (table) => {
        const data = await connected();
        await data.exec(table);
        await data.registerEntityType({ entityType: 'Thing', table: 'things' });
        return data;
      }),
    );
    const [a, b] = all;
    assert.ok(a !== undefined && b !== undefined);
    await a.exec(`INSERT INTO things (id, amount, at, big, bytes, tags, extra) VALUES
      (1, 1.5, '2026-01-02 03:04:05.678901+02', 9007199254740993, '\\x00ff', '{a,b}', '{"b": [1, 2.0], "a": null}'),
      (2, NULL, NULL, NULL, NULL, NULL, NULL)`);
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    await b.upsertEntity('Thing', '2', { amount: 3 });
    await b.sync.whenSynced();
    await a.sync.whenSynced();
    assert.equal(await b.countEntities('Thing'), 2);
    for (const data of all) assert.deepEqual(await found(data), []);
  });

  it('ends between two pages when it is cancelled, and a repair with it', async () => {
    const cancelled = new AbortController();
    let asked = 0;
    const cancelling: OpenTransport = (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      const bucket: SyncTransport['bucket'] = async (query, call) => {
        const answer = await transport.bucket(query, call);
        asked += 1;
        if (asked === 1) cancelled.abort();
        return answer;
      };
      return { ...transport, bucket };
    };
    const a = await connected({ transports: { cancelling } }, 'cancelling:server');
    for (const id of ['t1', 't2', 't3']) await a.upsertEntity('Task', id, { title: id });
    await a.sync.whenSynced();
    await a.exec(`UPDATE local_data.entity_bases SET data = jsonb_set(data, '{priority}', '99')`);
    await assert.rejects(a.sync.verify({ repair: true, signal: cancelled.signal }), (error) =>
      LocalDataError.isCode(error, 'CANCELLED'),
    );
    assert.equal(asked, 1);
    const { rows } = await a.query(`SELECT DISTINCT data->>'priority' AS priority FROM local_data.entity_bases`);
    assert.deepEqual(rows, [{ priority: '99' }]);
    assert.equal((await a.sync.verify()).differencesTotal, 3);
  });

  it('says that there is nothing to compare yet when the database does not come in sync within a minute', async () => {
    const clock = new VirtualClock();
    const a = await connected({ clock });
    await a.sync.setNetworkConditions({ stopped: true });
    await a.upsertEntity('Task', 't1', { title: 'waits' });
    await whenState(a, ({ status }) => status === 'offline');
    const verifying = assert.rejects(a.sync.verify(), (error) => {
      assert.ok(LocalDataError.isCode(error, 'TIMED_OUT'));
      assert.match(error.message, /after 60 s .* Changes that wait: 1\./s);
      return true;
    });
    clock.advance(60_000);
    await verifying;
  });
});
