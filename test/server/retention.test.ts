// What time takes away, run by a clock that is moved by hand, on the server without sockets: and that whoever needs it is told.
import assert from 'node:assert/strict';
import { VirtualClock } from '../support/virtual-clock.ts';
import { SECRET, createServerApp, openServerStore, signToken, toChange } from '../support/server.ts';

const DAY = 86_400_000;
const HOUR = 3_600_000;

describe('retention', () => {
  it('cuts the feed, tells readers from before, and keeps ids and deleted entities for 180 days', async () => {
    const clock = new VirtualClock();
    const store = await openServerStore({ memory: true });
    let ids = 0;
    const newId = (): string => `id-${(ids += 1)}`;
    const app = createServerApp({ store, clock, newId, secret: SECRET, retention: { feedDays: 10, everyMs: HOUR } });
    try {
      const token = await signToken({ space: 'mine', secret: SECRET, now: clock.now(), expiresIn: '1000d' });
      const ask = async (path: string, body?: object): Promise<readonly [number, Record<string, unknown>]> => {
        const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
        const sent = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
        const response = await app.fetch(new Request(`http://server/v1/spaces/mine${path}`, { headers, ...sent }));
        return [response.status, (await response.json()) as Record<string, unknown>];
      };
      const [, { epoch }] = await ask('');
      assert.match(String(epoch), /^id-\d+$/, 'the epoch is none of the given values');
      const push = (...changes: object[]) => ask('/changes', { clientId: 'ann', epoch, cursor: null, changes });
      const count = async (table: string): Promise<number> => {
        const text = `SELECT count(*) AS count FROM local_data_sync.${table}`;
        const [row] = await store.run<{ count: number }>({ name: '', text }, []);
        return row?.count ?? -1;
      };
      /** Moves on, and waits until what the clock started has cleared the space. */
      const pass = async (milliseconds: number): Promise<void> => {
        await ask('');
        clock.advance(milliseconds);
        const end = performance.now() + 10_000;
        const text = `SELECT retained_at FROM local_data_sync.spaces`;
        for (;;) {
          const [row] = await store.run<{ retained_at: number }>({ name: '', text }, []);
          // The next timer is set when all is done.
          if (row?.retained_at === clock.now() && clock.waits.includes(HOUR)) return;
          assert.ok(performance.now() < end, 'retention did not run');
        }
      };

      const first = toChange({ id: 'one', entityId: 't1', timestamp: 1 });
      await push(first, toChange({ id: 'two', entityId: 't2', timestamp: 1 }));
      const [, { cursor: early }] = await ask('/changes?limit=1');
      await push(toChange({ id: 'gone', entityId: 't2', operation: 'delete', baseVersion: 2 }));
      const [, { cursor: late }] = await ask('/changes');
      assert.deepEqual([await count('feed'), await count('applied_changes'), await count('entities')], [3, 3, 2]);

      await pass(11 * DAY);
      assert.deepEqual([await count('feed'), await count('applied_changes'), await count('entities')], [0, 3, 2]);
      const code = ([status, body]: readonly [number, Record<string, unknown>]) => [
        status,
        (body['error'] as { code: string } | undefined)?.code,
      ];
      assert.deepEqual(code(await ask(`/changes?after=${String(early)}`)), [410, 'CURSOR_EXPIRED']);
      assert.deepEqual(code(await ask('/changes')), [410, 'CURSOR_EXPIRED']);
      assert.deepEqual(
        code(await ask(`/changes?after=${String(late)}`)),
        [200, undefined],
        'it stands where the feed begins',
      );
      const [, again] = await push(first);
      assert.deepEqual(again['results'], [{ outcome: 'duplicate', id: 'one', version: 1 }]);

      await pass(160 * DAY);
      assert.deepEqual([await count('applied_changes'), await count('entities')], [3, 2]);
      await pass(11 * DAY);
      assert.deepEqual([await count('applied_changes'), await count('entities')], [0, 1]);
      const [, snapshot] = await ask('/snapshot');
      assert.equal(snapshot['total'], 1);
      await push(toChange({ id: 'after', entityId: 't9', timestamp: 1 }));
      const [, { changes }] = await ask(`/changes?after=${String(snapshot['cursor'])}`);
      assert.deepEqual(
        (changes as { id: string }[]).map(({ id }) => id),
        ['after'],
        'a snapshot goes on with the feed',
      );
      assert.deepEqual(code(await ask('/changes', { clientId: 'ann', epoch, cursor: early, changes: [first] })), [
        410,
        'CURSOR_EXPIRED',
      ]);
    } finally {
      await app.close();
      await store.close();
    }
  });

  it('tells a cursor of a history that was lost from one that is only too old', async () => {
    const clock = new VirtualClock();
    const store = await openServerStore({ memory: true });
    const app = createServerApp({ store, clock, secret: SECRET, retention: { feedRows: 1, everyMs: HOUR } });
    try {
      const token = await signToken({ space: 'mine', secret: SECRET, now: clock.now(), expiresIn: '10d' });
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const ask = async (path: string, init: RequestInit = {}): Promise<readonly [number, Record<string, unknown>]> => {
        const response = await app.fetch(new Request(`http://server/v1/spaces/mine${path}`, { headers, ...init }));
        return [response.status, (await response.json()) as Record<string, unknown>];
      };
      const [, { epoch }] = await ask('');
      const push = (body: object) =>
        ask('/changes', { method: 'POST', body: JSON.stringify({ clientId: 'ann', epoch, cursor: null, ...body }) });
      const write = (id: string) => push({ changes: [toChange({ id, entityId: id, timestamp: 1 })] });
      const end = async (): Promise<unknown> => (await ask('/changes'))[1]['cursor'];
      const sql = (text: string) => store.run({ name: '', text }, []);
      await write('kept');
      const tooOld = await end();
      await write('lost');
      const ofLostHistory = await end();
      // What a backup from before the second change leaves of it.
      for (const table of ['entities', 'feed', 'applied_changes']) {
        await sql(`DELETE FROM local_data_sync.${table} WHERE version = 2`);
      }
      await sql(`UPDATE local_data_sync.spaces SET version = 1, last_id = 'kept'`);
      for (const id of ['another', 'goes on', 'last']) await write(id);
      clock.advance(HOUR);
      const limit = performance.now() + 10_000;
      while ((await ask('/changes'))[0] !== 410 || !clock.waits.includes(HOUR)) {
        assert.ok(performance.now() < limit, 'retention did not run');
      }
      const refused = [tooOld, ofLostHistory].map(async (cursor) => {
        const pulled = await ask(`/changes?after=${String(cursor)}`);
        const pushed = await push({ cursor, changes: [toChange({ entityId: 'new', timestamp: 1 })] });
        return [pulled, pushed].map(([status, { error }]) => [status, (error as { code: string }).code]);
      });
      assert.deepEqual(await Promise.all(refused), [
        [
          [410, 'CURSOR_EXPIRED'],
          [410, 'CURSOR_EXPIRED'],
        ],
        [
          [409, 'HISTORY_CHANGED'],
          [409, 'HISTORY_CHANGED'],
        ],
      ]);
    } finally {
      await app.close();
      await store.close();
    }
  });

  it('keeps no more changes of a feed than it may', async () => {
    const clock = new VirtualClock();
    const store = await openServerStore({ memory: true });
    const app = createServerApp({ store, clock, secret: SECRET, retention: { feedRows: 3, everyMs: HOUR } });
    try {
      const token = await signToken({ space: 'mine', secret: SECRET, now: clock.now(), expiresIn: '10d' });
      const ask = async (path: string, init: RequestInit = {}): Promise<Record<string, unknown>> => {
        const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
        const response = await app.fetch(new Request(`http://server/v1/spaces/mine${path}`, { headers, ...init }));
        return (await response.json()) as Record<string, unknown>;
      };
      const { epoch } = await ask('');
      const changes = Array.from({ length: 8 }, (_, index) => toChange({ entityId: `t${index}`, timestamp: 1 }));
      await ask('/changes', {
        method: 'POST',
        body: JSON.stringify({ clientId: 'ann', epoch, cursor: null, changes }),
      });
      const count = async (): Promise<number> => {
        const text = 'SELECT count(*) AS count FROM local_data_sync.feed';
        return (await store.run<{ count: number }>({ name: '', text }, []))[0]?.count ?? -1;
      };
      assert.equal(await count(), 8);
      clock.advance(HOUR);
      const end = performance.now() + 10_000;
      while (!clock.waits.includes(HOUR)) {
        await count();
        assert.ok(performance.now() < end, 'retention did not run');
      }
      assert.equal(await count(), 3);
    } finally {
      await app.close();
      await store.close();
    }
  });
});
