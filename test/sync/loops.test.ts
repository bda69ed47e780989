// What keeps push and pull going when something fails on this side, or an answer comes late to what it was for: with the real
// engine, the real server and real HTTP.
import assert from 'node:assert/strict';
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import {
  LocalDataError,
  type LocalDataEngine,
  TransportError,
  openLocalData,
  temporaryDirectory,
} from '../support/engine.ts';
import { type OpenOptions, SyncSuite, makeTaskTypes, whenChange, whenState } from '../support/sync.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const DAY = 86_400_000;

describe('push and pull', () => {
  const suite = new SyncSuite();

  const client = (options?: OpenOptions): Promise<LocalDataEngine> => suite.client(options);

  const connected = (): Promise<LocalDataEngine> => suite.connected();

  /** A transport to the server of which some calls are other ones. */
  function way(change: (transport: SyncTransport) => Partial<SyncTransport>): OpenTransport {
    return (options) => {
      const transport = httpTransport({ ...options, url: suite.url });
      return { ...transport, ...change(transport) };
    };
  }

  /** Makes writes to a table fail while a condition on the new row holds, until what is given back is called. */
  async function breakWrites(data: LocalDataEngine, table: string, condition: string): Promise<() => Promise<unknown>> {
    await data.exec(`
      CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$;
      CREATE TRIGGER no_room BEFORE UPDATE ON ${table} FOR EACH ROW WHEN (${condition}) EXECUTE FUNCTION no_room();`);
    return () => data.exec(`DROP TRIGGER no_room ON ${table}; DROP FUNCTION no_room();`);
  }

  it('send again what was under way when an answer could not be written down here', async () => {
    let isBroken = false;
    const transports = {
      slow: way((transport) => ({
        push: async (request, call) => {
          const answer = await transport.push(request, call);
          // By then the answer to the push before has failed to be written.
          if (isBroken) await a.query('SELECT 1');
          return answer;
        },
      })),
    };
    const a = await client({ transports });
    await a.sync.connect({ url: 'slow:server', token: suite.token });
    await a.sync.goOffline();
    await a.transaction((tx) => {
      for (let index = 0; index < 900; index++) tx.upsertEntity('Task', `first-${index}`, { title: 'a' });
    });
    await a.transaction((tx) => {
      for (let index = 0; index < 900; index++) tx.upsertEntity('Task', `second-${index}`, { title: 'b' });
    });
    const mend = await breakWrites(a, 'local_changes', 'NEW.processed_sync AND NOT OLD.processed_sync');
    isBroken = true;
    await a.sync.goOnline();
    await whenState(a, ({ status }) => status === 'offline');
    isBroken = false;
    await mend();
    await a.sync.syncNow();
    assert.equal((await a.sync.state()).waiting, 0);
    const b = await connected();
    const { rows } = await b.query('SELECT count(*)::int AS n FROM tasks');
    assert.deepEqual(rows, [{ n: 1_800 }]);
  });

  it('go on after a snapshot that could not be begun here', async () => {
    let isExpired = false;
    const transports = {
      expired: way((transport) => ({
        pull: (query, call) => {
          if (isExpired) throw new TransportError('cursor-expired', 'The feed no longer reaches back so far.');
          return transport.pull(query, call);
        },
        snapshot: (query, call) => {
          isExpired = false;
          return transport.snapshot(query, call);
        },
      })),
    };
    const a = await client({ transports });
    await a.sync.connect({ url: 'expired:server', token: suite.token });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    const mend = await breakWrites(a, 'local_data.sync_binding', `NEW.phase = 'snapshot' AND OLD.phase <> 'snapshot'`);
    isExpired = true;
    await a.sync.goOnline();
    await whenState(a, ({ status }) => status === 'offline');
    await mend();
    await a.sync.syncNow();
    assert.equal(isExpired, false);
    assert.equal((await a.sync.state()).status, 'synced');
  });

  it('are tried again by Sync Now, and by Go Online, once the server refuses no more', async () => {
    let isRefusing = false;
    const transports = {
      proxied: way((transport) => ({
        info: (call) => {
          if (isRefusing) throw new TransportError('refused', 'The proxy knows no such address.', { status: 404 });
          return transport.info(call);
        },
      })),
    };
    const a = await client({ transports });
    await a.sync.connect({ url: 'proxied:server', token: suite.token });
    for (const again of [() => a.sync.syncNow(), () => a.sync.goOnline()]) {
      await a.sync.goOffline();
      isRefusing = true;
      await a.sync.goOnline();
      await whenState(a, ({ status }) => status === 'stopped');
      isRefusing = false;
      await again();
      await whenState(a, ({ status }) => status === 'synced');
    }
  });

  it('wait as long as the server asks, and longer each time where it does not ask (scenario 13)', async () => {
    let failure: Error | undefined;
    const transports = {
      busy: way((transport) => ({
        info: (call) => {
          if (failure !== undefined) throw failure;
          return transport.info(call);
        },
      })),
    };
    const clock = new VirtualClock();
    const a = await client({ transports, clock });
    await a.sync.connect({ url: 'busy:server', token: suite.token });
    const delayAfter = async (next: Error): Promise<number> => {
      failure = next;
      const before = a.stores.sync.getState().nextTryAt;
      if (before === null) await a.sync.goOffline().then(() => a.sync.goOnline());
      else clock.advance(before - clock.now());
      await whenState(a, ({ nextTryAt }) => nextTryAt !== null && nextTryAt > clock.now() && nextTryAt !== before);
      return (a.stores.sync.getState().nextTryAt ?? 0) - clock.now();
    };
    assert.ok(
      (await delayAfter(new TransportError('overloaded', 'Busy.', { status: 429, retryAfterMs: 42_000 }))) >= 42_000,
    );
    const unasked = new TransportError('overloaded', 'Busy.', { status: 503 });
    const delays: number[] = [];
    for (let time = 0; time < 12; time++) delays.push(await delayAfter(unasked));
    assert.ok(Math.max(...delays) <= 10_000, `${delays.join(', ')}: a step is ten seconds at most`);
    assert.ok(Math.max(...delays.slice(0, 2)) < Math.max(...delays.slice(-3)), `${delays.join(', ')} do not grow`);
  });

  it('send what somebody has marked as unsent by SQL on the changes table', async () => {
    const a = await connected();
    await a.upsertEntity('Task', 't1', { title: 'sent' });
    await a.sync.whenSynced();
    const b = await connected();
    await a.exec(`UPDATE local_changes SET processed_sync = false`);
    await a.sync.whenSynced();
    assert.deepEqual(
      (await a.listChanges()).changes.map(({ status }) => status),
      ['synced'],
    );
    await b.sync.whenSynced();
    assert.equal((await b.listChanges()).changes.length, 0);
  });

  it('let a change that failed for want of its parent try again once the feed brings the parent', async () => {
    const [a, b] = [await connected(), await connected()];
    const change = await a.recordChange('Task', 't1', 'insert', { title: 'orphan', project_id: 'p1' });
    await whenChange(a, change.id, ({ status }) => status === 'failed');
    await b.upsertEntity('Project', 'p1', { name: 'The parent' });
    await b.sync.whenSynced();
    await whenChange(a, change.id, ({ status }) => status === 'synced');
    await b.sync.whenSynced();
    assert.equal((await b.getEntity('Task', 't1'))?.['project_id'], 'p1');
  });

  it('know after a disconnect and a restart what the server had accepted and must have', async () => {
    let isPutBack = false;
    const transports = {
      forgetful: way((transport) => ({
        info: async (call) => ({ ...(await transport.info(call)), ...(isPutBack ? { version: 0 } : {}) }),
        pull: (_query, { signal }) =>
          new Promise((_, reject) => {
            const cancelled = (): void => reject(new TransportError('cancelled', 'The request was cancelled.'));
            signal.addEventListener('abort', cancelled, { once: true });
          }),
      })),
    };
    const folder = temporaryDirectory();
    const a = await openLocalData({ dataDir: folder.path, transports });
    await makeTaskTypes(a);
    await a.sync.connect({ url: 'forgetful:server', token: suite.token });
    await a.upsertEntity('Task', 't1', { title: 'accepted' });
    await whenState(a, ({ waiting, lastPushAt }) => waiting === 0 && lastPushAt !== null);
    await a.sync.disconnect();
    await a.close();
    isPutBack = true;
    const again = suite.closeAfterwards(await openLocalData({ dataDir: folder.path, transports }));
    await assert.rejects(again.sync.connect({ url: 'forgetful:server', token: suite.token }), (error) =>
      LocalDataError.isCode(error, 'SYNC_SERVER_CHANGED'),
    );
    assert.equal((await again.getEntity('Task', 't1'))?.['title'], 'accepted');
  });

  it('do not take the answer to what was sent for one to what a person decided meanwhile', async () => {
    const left = Promise.withResolvers<void>();
    const decided = Promise.withResolvers<void>();
    const transports = {
      held: way((transport) => ({
        push: async (request, call) => {
          if (request.changes.some(({ data }) => data?.['priority'] === 5)) {
            left.resolve();
            await decided.promise;
          }
          return transport.push(request, call);
        },
      })),
    };
    const a = await client({ transports });
    await a.exec(`ALTER TABLE tasks ADD CHECK (title <> 'theirs' OR priority IS NULL)`);
    await a.upsertEntity('Task', 't1', { title: 'base' });
    await a.sync.connect({ url: 'held:server', token: suite.token });
    await a.sync.whenSynced();
    const b = await connected();
    const change = await a.recordChange('Task', 't1', 'update', { priority: 5 });
    await left.promise;
    // The feed brings what does not go together with it here, before its answer comes.
    await b.upsertEntity('Task', 't1', { title: 'theirs' });
    await b.sync.whenSynced();
    await whenState(a, ({ conflicts }) => conflicts === 1);
    await a.sync.resolve(change.id, { data: { title: 'decided', priority: 7 } });
    decided.resolve();
    await a.sync.whenSynced();
    await b.sync.whenSynced();
    assert.deepEqual(
      [(await a.getEntity('Task', 't1'))?.['priority'], (await b.getEntity('Task', 't1'))?.['priority']],
      [7, 7],
    );
  });

  describe('after longer than the server knows ids', () => {
    it('compare what was in doubt with a snapshot: what is there has arrived, what was deleted since is asked about', async () => {
      let isLost = false;
      let isOld = false;
      const sent: string[] = [];
      const answering = async <T>(answer: Promise<T>): Promise<T> => {
        const answered = await answer;
        if (isOld) throw new TransportError('cursor-expired', 'The feed no longer reaches back so far.');
        if (isLost) throw new TransportError('unreachable', 'The answer was lost.');
        return answered;
      };
      const transports = {
        lossy: way((transport) => ({
          push: (request, call) => {
            if (!isLost && !isOld) sent.push(...request.changes.map(({ entityId }) => entityId));
            if (isOld) throw new TransportError('cursor-expired', 'The feed no longer reaches back so far.');
            return answering(transport.push(request, call));
          },
          pull: (query, call) => answering(transport.pull(query, call)),
          snapshot: (query, call) => {
            isOld = false;
            return transport.snapshot(query, call);
          },
        })),
      };
      const a = await client({ transports });
      await a.sync.connect({ url: 'lossy:server', token: suite.token });
      await a.sync.whenSynced();
      await a.sync.goOffline();
      isLost = true;
      for (const id of ['arrived', 'deleted']) await a.upsertEntity('Task', id, { title: id });
      await a.sync.goOnline();
      await whenState(a, ({ status }) => status === 'offline');
      await a.sync.goOffline();
      const b = await connected();
      await b.deleteEntity('Task', 'deleted');
      await b.sync.whenSynced();
      await a.exec(
        `UPDATE local_changes SET timestamp = timestamp - ${181 * DAY} WHERE entity_id IN ('arrived', 'deleted')`,
      );
      isLost = false;
      isOld = true;
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const statusOf = async (entityId: string) =>
        (await a.listChanges({ entityId })).changes.map(({ status }) => status);
      assert.deepEqual([await statusOf('arrived'), await statusOf('deleted')], [['synced'], ['failed']]);
      assert.deepEqual(sent, []);
      const [asked] = (await a.listChanges({ entityId: 'deleted' })).changes;
      assert.match(asked?.error ?? '', /more than 180 days ago.*Retry sends it; Discard gives it up/);
      assert.equal(await b.getEntity('Task', 'deleted'), undefined);
    });
  });
});
