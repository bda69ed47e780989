// What the protocol promises, asked of the built server over HTTP: on the embedded database and on a real Postgres alike.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Operation } from '../../src/protocol/changes.ts';
import { canonicalJson } from '../../src/protocol/canonical-json.ts';
import { digestResponseSchema } from '../../src/protocol/sync.ts';
import type { RunningServer } from '../../src/server/start-server.ts';
import {
  type Answer,
  type Draft,
  ProtocolClient,
  SECRET,
  sharedPostgres,
  signToken,
  startForTest,
  toChange,
} from '../support/server.ts';

const places = {
  'an embedded database': async () => startForTest({ memory: true }),
  'a real Postgres': async () => startForTest({ databaseUrl: await (await sharedPostgres()).createDatabase() }),
};

for (const [place, start] of Object.entries(places)) {
  describe(`the server on ${place}`, () => {
    let server: RunningServer;
    let spaces = 0;
    before(async () => {
      server = await start();
    });
    after(() => server.close());

    const two = async (): Promise<readonly [ProtocolClient, ProtocolClient]> => {
      const space = `space-${(spaces += 1)}`;
      return [
        await ProtocolClient.enter(server.url, space, 'ann'),
        await ProtocolClient.enter(server.url, space, 'bob'),
      ];
    };

    it('gives what one client pushes to another, in the order of versions', async () => {
      const [ann, bob] = await two();
      const results = await ann.push(
        { entityId: 't1', data: { title: 'one', done: false } },
        { entityId: 't2', data: { title: 'two' } },
        { entityId: 't1', operation: 'update', data: { done: true } },
        { entityId: 't2', operation: 'delete' },
      );
      assert.deepEqual(
        results.map((result) => [result.outcome, 'version' in result && result.version]),
        [1, 2, 3, 4].map((version) => ['applied', version]),
      );
      const { changes } = await bob.pullAll();
      assert.deepEqual(
        changes.map(({ version, entityId, operation, entity }) => [version, entityId, operation, entity]),
        [
          [1, 't1', 'insert', { title: 'one', done: false }],
          [2, 't2', 'insert', { title: 'two' }],
          [3, 't1', 'update', { title: 'one', done: true }],
          [4, 't2', 'delete', null],
        ],
      );
      assert.deepEqual(
        (await bob.snapshot()).entities.map(({ entityId, entity }) => [entityId, entity]),
        [['t1', { title: 'one', done: true }]],
      );
    });

    it('applies a change once, however often and however concurrently it is pushed', async () => {
      const [ann, bob] = await two();
      const change = { id: 'same', entityId: 't1', data: { n: 1 } };
      await ann.epoch();
      const all = await Promise.all(Array.from({ length: 12 }, () => ann.push(change)));
      const outcomes = all.map(([result]) => result?.outcome ?? '').toSorted((a, b) => a.localeCompare(b));
      assert.deepEqual(outcomes, ['applied', ...Array.from({ length: 11 }, () => 'duplicate')]);
      assert.equal((await bob.pullAll()).changes.length, 1);
    });

    it('refuses an id that comes again with another content', async () => {
      const [ann] = await two();
      await ann.push({ id: 'same', entityId: 't1', data: { n: 1 } });
      const [again] = await ann.push({ id: 'same', entityId: 't1', data: { n: 2 } });
      assert.equal(again?.outcome === 'rejected' && again.code, 'ID_REUSED');
    });

    it('merges different fields and tells of a conflict in the same one, with who wrote it', async () => {
      const [ann, bob] = await two();
      await ann.push({ entityId: 't1', data: { title: 'a', note: 'a' } });
      const [merged] = await bob.push({ entityId: 't1', operation: 'update', data: { note: 'b' }, baseVersion: 1 });
      assert.equal(merged?.outcome, 'applied');
      const [other] = await ann.push({ entityId: 't1', operation: 'update', data: { title: 'x' }, baseVersion: 1 });
      assert.equal(other?.outcome, 'applied');
      const [conflict] = await ann.push({ entityId: 't1', operation: 'update', data: { note: 'c' }, baseVersion: 1 });
      assert.ok(conflict?.outcome === 'conflict');
      assert.deepEqual(conflict.entity, { title: 'x', note: 'b' });
      assert.deepEqual(Object.keys(conflict.fields), ['note']);
      assert.equal(conflict.fields['note']?.clientId, 'bob');
      assert.equal(conflict.fields['note']?.version, 2);
    });

    it('tells of a conflict as a whole where one side deleted', async () => {
      const [ann, bob] = await two();
      await ann.push({ entityId: 't1' }, { entityId: 't2' });
      await bob.push({ entityId: 't1', operation: 'delete', baseVersion: 1 });
      await bob.push({ entityId: 't2', operation: 'update', data: { title: 'b' }, baseVersion: 2 });
      const results = await ann.push(
        { entityId: 't1', operation: 'update', data: { title: 'late' }, baseVersion: 1 },
        { entityId: 't2', operation: 'delete', baseVersion: 2 },
      );
      assert.deepEqual(
        results.map((result) => result.outcome === 'conflict' && [Object.keys(result.fields), result.entity]),
        [
          [['*'], null],
          [['*'], { title: 'b' }],
        ],
      );
    });

    it('holds what follows in the lane or stands in the transaction of a change that was not applied', async () => {
      const [ann, bob] = await two();
      await bob.push({ entityId: 't1', data: { title: 'b' } });
      const results = await ann.push(
        { id: 'c1', entityId: 't1', operation: 'update', data: { title: 'a' } },
        { id: 'c2', entityId: 't1', operation: 'update', data: { other: 1 } },
        { id: 'c3', entityId: 't5', transactionId: 'x' },
        { id: 'c4', entityId: 't6', operation: 'update', data: {}, transactionId: 'x' },
        { id: 'c5', entityId: 't7' },
      );
      assert.deepEqual(
        results.map((result) => [result.outcome, result.outcome === 'held' && result.by]),
        [
          ['conflict', false],
          ['held', 'c1'],
          ['held', 'c4'],
          ['rejected', false],
          ['applied', false],
        ],
      );
      assert.equal((await ann.snapshot()).total, 2);
    });

    it('lets no child land without its parent, and both once the parent can', async () => {
      const [ann, bob] = await two();
      await bob.push({ entityId: 'p1', entityType: 'Project', data: { name: 'b' } });
      const parent = { id: 'c1', entityType: 'Project', entityId: 'p1', data: { name: 'a' } };
      const rest: readonly Draft[] = [
        { id: 'c2', entityId: 't1', data: { project: 'p1' }, after: ['c1'] },
        { id: 'c3', entityId: 's1', data: { task: 't1' }, after: ['c2'], transactionId: 'x' },
        { id: 'c4', entityId: 's2', transactionId: 'x' },
        { id: 'c5', entityId: 'free', after: ['sent-before'] },
      ];
      const outcomes = async (...drafts: readonly Draft[]) => {
        return (await ann.push(...drafts)).map((result) => (result.outcome === 'held' ? result.by : result.outcome));
      };
      assert.deepEqual(await outcomes(parent, ...rest), ['conflict', 'c1', 'c2', 'c3', 'applied']);
      const seen = async () => (await bob.snapshot()).entities.map(({ entityId }) => entityId);
      assert.deepEqual(await seen(), ['p1', 'free']);
      const resolved = await outcomes({ ...parent, baseVersion: 1 }, ...rest);
      assert.deepEqual(resolved, ['applied', 'applied', 'applied', 'applied', 'duplicate']);
      assert.deepEqual((await bob.pullAll()).changes.map(({ id }) => id).slice(1), ['c5', 'c1', 'c2', 'c3', 'c4']);
    });

    it('ends a page where a transaction ends', async () => {
      const [ann, bob] = await two();
      const member = (index: number, transactionId: string | null) => ({ entityId: `t${index}`, transactionId });
      await ann.push(
        member(0, null),
        ...Array.from({ length: 7 }, (_, index) => member(index + 1, 'x')),
        ...Array.from({ length: 3 }, (_, index) => member(index + 8, 'y')),
        member(11, null),
      );
      const sizes: number[] = [];
      let after: string | undefined;
      for (let more = true; more;) {
        const page = await bob.pull(after, { limit: 3 });
        sizes.push(page.changes.length);
        ({ more, cursor: after } = page);
      }
      assert.deepEqual(sizes, [8, 3, 1]);
    });

    it('wakes a waiting reader at once, and answers with nothing when the time is up', async () => {
      const [ann, bob] = await two();
      const { cursor } = await bob.pull();
      const started = performance.now();
      const waiting = bob.pull(cursor, { wait: 30 });
      await ann.push({ entityId: 't1' });
      const page = await waiting;
      assert.equal(page.changes.length, 1);
      assert.ok(performance.now() - started < 4_000, 'it waited for the sweep');
      const empty = await bob.pull(page.cursor, { wait: 1 });
      assert.deepEqual([empty.changes, empty.more, empty.version], [[], false, 1]);
    });

    it('gives a snapshot in pages, with the place in the feed where it began', async () => {
      const [ann, bob] = await two();
      await ann.push(...Array.from({ length: 25 }, (_, index) => ({ entityId: `t${index}` })));
      await ann.push({ entityId: 't3', operation: 'delete', baseVersion: 25 });
      const snapshot = await bob.snapshot(10);
      assert.equal(snapshot.entities.length, 24);
      assert.equal(snapshot.total, 24);
      assert.equal(snapshot.version, 26);
      await ann.push({ entityId: 'later' });
      const page = await bob.pull(snapshot.cursor);
      assert.deepEqual(
        page.changes.map(({ entityId }) => entityId),
        ['later'],
      );
    });

    it('gives the digests that the protocol describes', async () => {
      const [ann] = await two();
      const entities = Array.from({ length: 60 }, (_, index) => ({
        id: `ü${index}`,
        data: { b: index, a: ['x', null] },
      }));
      await ann.push(...entities.map(({ id, data }) => ({ entityId: id, data })));
      const answer = digestResponseSchema.parse((await ann.request('/digest')).body);
      const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
      const lines = new Map<number, string[]>();
      for (const { id, data } of entities) {
        const bucket = Number.parseInt(sha256(`Task\n${id}`).slice(0, 2), 16);
        lines.set(bucket, [...(lines.get(bucket) ?? []), `Task\n${id}\n${sha256(canonicalJson(data))}\n`]);
      }
      const expected = [...lines].map(([bucket, texts]) => {
        const sorted = texts.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        return { bucket, count: texts.length, digest: sha256(sorted.join('')) };
      });
      assert.deepEqual(
        answer.buckets,
        expected.sort((a, b) => a.bucket - b.bucket),
      );
      const [first] = answer.buckets;
      const bucket = await ann.request(`/digest/${first?.bucket ?? 0}`);
      assert.equal((bucket.body as { entities: unknown[] }).entities.length, first?.count);
    });

    it('keeps every value as it came', async () => {
      const [ann, bob] = await two();
      const data = {
        text: `'; DROP TABLE local_data_sync.spaces; -- $1 \\ " 😀 \n`,
        big: 9_007_199_254_740_991,
        small: -1.5e-7,
        none: null,
        list: [1, 'two', { three: [] }],
        __proto__kept: true,
        "'; DELETE FROM feed; --": 1,
      };
      const parsed = JSON.parse(`{"__proto__": {"a": 1}, "constructor": 2}`) as Record<string, never>;
      await ann.push({ entityId: `'; DROP SCHEMA local_data_sync CASCADE; --`, entityType: `T"'; --`, data });
      await ann.push({ entityId: 'proto', data: parsed });
      const { changes } = await bob.pullAll();
      assert.deepEqual(changes[0]?.entity, data);
      assert.equal(changes[0]?.entityId, `'; DROP SCHEMA local_data_sync CASCADE; --`);
      assert.equal(JSON.stringify(changes[1]?.entity), JSON.stringify(parsed));
      assert.deepEqual((await bob.snapshot()).entities.find(({ entityId }) => entityId !== 'proto')?.entity, data);
    });

    it('takes SQL in every string for the text that it is', async () => {
      const [ann, bob] = await two();
      await bob.push({ entityId: 'before', data: { kept: true } });
      const sql = `'; DROP SCHEMA local_data_sync CASCADE; --`;
      const eve = new ProtocolClient(server.url, ann.space, ann.token, sql);
      const drafts: readonly Draft[] = [
        { id: sql, entityType: sql, entityId: sql, data: { [sql]: sql }, transactionId: sql, after: [sql] },
        {
          id: `2${sql}`,
          entityType: sql,
          entityId: sql,
          operation: 'update',
          data: { [sql]: [sql] },
          transactionId: sql,
        },
      ];
      assert.deepEqual(
        (await eve.push(...drafts)).map(({ outcome }) => outcome),
        ['applied', 'applied'],
      );
      const { changes } = await bob.pullAll();
      assert.deepEqual(
        changes.slice(1).map(({ id, clientId, entityType, transactionId, entity }) => {
          return [id, clientId, entityType, transactionId, entity];
        }),
        [
          [sql, sql, sql, sql, { [sql]: sql }],
          [`2${sql}`, sql, sql, sql, { [sql]: [sql] }],
        ],
      );
      assert.equal((await eve.push({ entityId: 'x', operation: sql as Operation }))[0]?.outcome, 'rejected');
      const encoded = encodeURIComponent(sql);
      const codeOf = ({ status, body }: Answer) => [status, (body as { error?: { code: string } }).error?.code];
      for (const query of [
        'changes?after=',
        'changes?limit=',
        'changes?wait=',
        'snapshot?page=',
        'digest/',
        'digest/0?page=',
      ]) {
        assert.deepEqual(codeOf(await bob.request(`/${query}${encoded}`)), [400, 'INVALID_REQUEST'], query);
      }
      assert.deepEqual(codeOf(await eve.send([toChange({ entityId: 'x' })], sql)), [400, 'INVALID_REQUEST']);
      assert.deepEqual(codeOf(await eve.send([toChange({ entityId: 'x' })], null, sql)), [409, 'EPOCH_CHANGED']);
      const elsewhere = new ProtocolClient(server.url, encoded, ann.token);
      assert.deepEqual(codeOf(await elsewhere.request('')), [403, 'FORBIDDEN']);
      const headers = { 'local-data-protocol': sql };
      assert.deepEqual(codeOf(await ann.request('', { headers })), [426, 'UNSUPPORTED_PROTOCOL']);
      const token = await signToken({ space: ann.space, secret: SECRET, subject: sql });
      const named = new ProtocolClient(server.url, ann.space, token);
      assert.deepEqual((await named.snapshot()).entities.map(({ entityId }) => entityId).toSorted(), [sql, 'before']);
    });

    it('remembers no refusal, so that the same change can succeed later', async () => {
      const [ann, bob] = await two();
      const change = { id: 'early', entityId: 't1', operation: 'update', data: { title: 'a' } } as const;
      const outcome = async () => (await ann.push(change))[0]?.outcome;
      assert.equal(await outcome(), 'rejected');
      await bob.push({ entityId: 't1', data: { done: true } });
      assert.equal(await outcome(), 'applied');
      assert.equal(await outcome(), 'duplicate');
    });

    it('ends a page by its bytes, however many rows were asked for', async () => {
      const [ann, bob] = await two();
      const text = 'x'.repeat(1_000_000);
      for (let index = 0; index < 5; index += 1) await ann.push({ entityId: `t${index}`, data: { text } });
      const pages: number[] = [];
      let after: string | undefined;
      for (let more = true; more;) {
        const page = await bob.pull(after, { limit: 1_000 });
        pages.push(page.changes.length);
        ({ more, cursor: after } = page);
      }
      assert.ok(pages.length > 1 && Math.max(...pages) <= 2, `pages of ${pages.join(', ')} changes`);
      assert.equal(
        pages.reduce((sum, count) => sum + count, 0),
        5,
      );
      const first = await bob.request('/snapshot?limit=1000');
      assert.ok((first.body as { entities: unknown[] }).entities.length <= 4);
      assert.equal((await bob.snapshot(1_000)).entities.length, 5);
    });

    it('lets one bad change of a batch stand alone', async () => {
      const [ann] = await two();
      const change = (over: object) => ({
        id: `id-${Math.random()}`,
        entityType: 'Task',
        entityId: `e-${Math.random()}`,
        operation: 'insert',
        data: {},
        baseVersion: 0,
        timestamp: 1,
        transactionId: null,
        ...over,
      });
      const bad = [
        null,
        'text',
        change({ id: 'x'.repeat(10_000) }),
        change({ entityId: 'x'.repeat(10_000) }),
        change({ entityId: 'ü'.repeat(999) }),
        change({ entityType: '' }),
        change({ entityType: 'x'.repeat(10_000) }),
        change({ transactionId: 'x'.repeat(10_000) }),
        change({ after: ['x'.repeat(10_000)] }),
        change({ operation: 'upsert' }),
        change({ data: [] }),
        change({ data: null }),
        change({ operation: 'delete' }),
        change({ baseVersion: -1 }),
        change({ timestamp: 'now' }),
        change({ unknown: 1 }),
        change({ data: { nul: 'a\u0000b' } }),
        change({ data: { half: '\ud800' } }),
        change({ data: { ['k\u0000']: 1 } }),
        change({ data: { text: 'x'.repeat(1024 * 1024) } }),
      ];
      const { status, body } = await ann.send([...bad, change({ id: 'good' })]);
      assert.equal(status, 200);
      const { results } = body as { results: { outcome: string; code?: string; id: string }[] };
      assert.deepEqual(
        results.slice(0, -1).map(({ outcome }) => outcome),
        bad.map(() => 'rejected'),
      );
      assert.equal(results.at(-1)?.outcome, 'applied');
      assert.equal((await ann.info()).version, 1);
    });

    it('refuses a cursor that it did not give, of another space, from the future or of another server', async () => {
      const [ann, bob] = await two();
      const [other] = await two();
      await ann.push({ entityId: 't1' });
      await other.push({ entityId: 't1' });
      const ask = async (cursor: string): Promise<readonly [number, unknown]> => {
        const { status, body } = await bob.request(`/changes?after=${encodeURIComponent(cursor)}`);
        return [status, (body as { error?: { code: string } }).error?.code];
      };
      const forge = async (over: (parts: unknown[]) => unknown[]): Promise<string> => {
        const { cursor } = await ann.pull();
        const parts = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[];
        return Buffer.from(JSON.stringify(over(parts))).toString('base64url');
      };
      assert.deepEqual(await ask('nonsense'), [400, 'INVALID_REQUEST']);
      assert.deepEqual(await ask((await other.pull()).cursor), [400, 'INVALID_REQUEST']);
      assert.deepEqual(await ask(await forge(([kind, epoch, space]) => [kind, epoch, space, 99, 'x'])), [
        409,
        'HISTORY_CHANGED',
      ]);
      assert.deepEqual(await ask(await forge(([kind, epoch, space]) => [kind, epoch, space, 1, 'x'])), [
        409,
        'HISTORY_CHANGED',
      ]);
      assert.deepEqual(await ask(await forge(([kind, , ...rest]) => [kind, 'another', ...rest])), [
        409,
        'EPOCH_CHANGED',
      ]);
      const future = await forge(([kind, epoch, space]) => [kind, epoch, space, 99, 'x']);
      const ahead = await ann.send([toChange({ entityId: 't2' })], future);
      assert.deepEqual(
        [ahead.status, (ahead.body as { error: { code: string } }).error.code],
        [409, 'HISTORY_CHANGED'],
      );
      const { epoch } = await ann.info();
      for (const [place, status, code] of [
        [['p', 'another', ann.space, 1, 'x', 1, 'Task', 't1'], 409, 'EPOCH_CHANGED'],
        [['p', epoch, ann.space, 99, 'x', 1, 'Task', 't1'], 409, 'HISTORY_CHANGED'],
        [['p', epoch, other.space, 1, 'x', 1, 'Task', 't1'], 400, 'INVALID_REQUEST'],
      ] as const) {
        const page = Buffer.from(JSON.stringify(place)).toString('base64url');
        const { status: got, body } = await bob.request(`/snapshot?page=${page}`);
        assert.deepEqual([got, (body as { error: { code: string } }).error.code], [status, code]);
      }
      assert.equal((await ann.info()).version, 1);
      const wrong = await ann.send([], null, 'another');
      assert.equal(wrong.status, 400);
      const pushed = await ann.send([{}], null, 'another');
      assert.deepEqual(
        [pushed.status, (pushed.body as { error: { code: string } }).error.code],
        [409, 'EPOCH_CHANGED'],
      );
    });
  });
}
