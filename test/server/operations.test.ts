// What somebody who runs the server relies on: the program itself, its health and counts, a database that goes away, and that
// it stops without leaving anybody behind.
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { healthSchema, syncErrorSchema } from '../../src/protocol/sync.ts';
import {
  ProtocolClient,
  SECRET,
  createServerApp,
  openServerStore,
  sharedPostgres,
  signToken,
  startForTest,
  toChange,
} from '../support/server.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PROGRAM = join(ROOT, 'src/server/main.ts');

describe('a server that is watched', () => {
  it('tells its health, its counts without a name in them, and the protocol that it speaks', async () => {
    const server = await startForTest({ memory: true });
    try {
      const client = await ProtocolClient.enter(server.url, 'secret-space', 'secret-client');
      await client.push({ id: 'secret-id', entityId: 'secret-entity', data: { secret: 1 } }, { entityId: 'two' });
      await client.push({ entityId: 'none', operation: 'update' });
      const health = await fetch(`${server.url}/healthz`);
      assert.deepEqual([health.status, await health.json()], [200, { status: 'ok', protocols: [1] }]);
      const metrics = await (await fetch(`${server.url}/metrics`)).text();
      assert.match(metrics, /^local_data_changes_total\{outcome="applied"\} 2$/m);
      assert.match(metrics, /^local_data_changes_total\{outcome="rejected"\} 1$/m);
      assert.match(metrics, /^local_data_requests_total\{method="POST",route="changes",status="200"\} 2$/m);
      assert.match(metrics, /^local_data_request_seconds_count \d+$/m);
      assert.doesNotMatch(metrics, /secret/);
      const described: unknown = await (await fetch(`${server.url}/openapi.json`)).json();
      assert.deepEqual(described, JSON.parse(readFileSync(join(ROOT, 'docs/openapi.json'), 'utf8')));
    } finally {
      await server.close();
    }
  });

  it('sends everybody away while it drains, with the time to come again', async () => {
    const store = await openServerStore({ memory: true });
    const app = createServerApp({ store, secret: SECRET });
    try {
      const authorization = `Bearer ${await signToken({ space: 'mine', secret: SECRET })}`;
      const ask = (path: string) => app.fetch(new Request(`http://server${path}`, { headers: { authorization } }));
      assert.equal((await ask('/v1/spaces/mine')).status, 200);
      app.drain();
      const health = await ask('/healthz');
      assert.deepEqual([health.status, healthSchema.parse(await health.json()).status], [503, 'draining']);
      const refused = await ask('/v1/spaces/mine');
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '1']);
      assert.equal(syncErrorSchema.parse(await refused.json()).error.code, 'UNAVAILABLE');
    } finally {
      await app.close();
      await store.close();
    }
  });

  it('says that its database is away, applies nothing by halves, and goes on by itself when it is back', async () => {
    const postgres = await sharedPostgres();
    const databaseUrl = await postgres.createDatabase();
    const name = new URL(databaseUrl).pathname.slice(1);
    const admin = new pg.Client(postgres.url);
    await admin.connect();
    const server = await startForTest({ databaseUrl });
    try {
      const client = await ProtocolClient.enter(server.url, 'mine');
      await client.push({ entityId: 't1' });
      await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
      await admin.query(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1`, [name]);
      const health = await fetch(`${server.url}/healthz`);
      assert.deepEqual([health.status, healthSchema.parse(await health.json()).status], [503, 'unavailable']);
      const { status, headers, body } = await client.send([{ id: 'x' }]);
      assert.deepEqual([status, headers.get('retry-after')], [503, '1']);
      assert.equal(syncErrorSchema.parse(body).error.code, 'UNAVAILABLE');
      await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
      assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
      assert.equal((await client.push({ entityId: 't2' }))[0]?.outcome, 'applied');
      assert.equal((await client.info()).version, 2);
    } finally {
      await server.close();
      await admin.end();
    }
  });
});

describe('a server whose database is slow', () => {
  it('gives up on a push that would wait too long for its space, and keeps no other space waiting', async () => {
    const databaseUrl = await (await sharedPostgres()).createDatabase();
    const server = await startForTest({ databaseUrl, statementMs: 300, connections: 2 });
    const blocker = new pg.Client(databaseUrl);
    await blocker.connect();
    try {
      const [held, free] = await Promise.all(['held', 'free'].map((space) => ProtocolClient.enter(server.url, space)));
      assert.ok(held !== undefined && free !== undefined);
      await Promise.all([held.epoch(), free.epoch()]);
      await blocker.query('BEGIN');
      await blocker.query(`SELECT 1 FROM local_data_sync.spaces WHERE space = 'held' FOR UPDATE`);
      const waiting = Array.from({ length: 3 }, (_, index) =>
        held.send([toChange({ id: `c${index}`, entityId: 'x' })]),
      );
      assert.equal((await free.push({ entityId: 't1' }))[0]?.outcome, 'applied');
      for (const { status, headers } of await Promise.all(waiting)) {
        assert.deepEqual([status, headers.get('retry-after')], [503, '1']);
      }
      await blocker.query('ROLLBACK');
      assert.equal((await held.push({ id: 'c0', entityId: 'x' }))[0]?.outcome, 'applied');
      assert.equal((await held.info()).version, 1);
    } finally {
      await blocker.end();
      await server.close();
    }
  });
});

describe('npm run server', function () {
  // A directory is made by initdb, in a process that has just begun.
  this.timeout(180_000);
  let directory: string;
  const children: Child[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'local-data-server-'));
  });
  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmSync(directory, { recursive: true, force: true });
  });

  function run(words: readonly string[] = [], environment: Readonly<Record<string, string>> = {}): Child {
    const { PATH = '' } = process.env;
    const env = { PATH, PORT: '0', DATA_DIR: join(directory, 'data'), ...environment };
    const child = spawn(process.execPath, [PROGRAM, ...words], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    return child;
  }

  it('serves from a directory, signs tokens for it, and answers who waits before it stops', async () => {
    const first = run();
    const { url, lines } = await started(first);
    const [token = ''] = (await outcomeOf(run(['token', '--space', 'team', '--subject', 'ann']))).out;
    const client = new ProtocolClient(url, 'team', token);
    const { epoch } = await client.info();
    await client.push({ entityId: 'secret-entity', data: { note: 'secret-note' } });
    const { cursor } = await client.pull();
    const waiting = client.pull(cursor, { wait: 50 });
    const other = await outcomeOf(run());
    assert.equal(other.code, 1, 'a second server on the same directory is refused');
    assert.match(other.errors, /in use|another process|owns/i);
    first.kill('SIGTERM');
    assert.deepEqual((await waiting).changes, []);
    assert.equal((await exitOf(first))[0], 0);
    const log = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.ok(log.some(({ route, status, requestId }) => route === 'changes' && status === 200 && requestId !== ''));
    assert.doesNotMatch(lines.join('\n'), /secret-|eyJ/);
    const again = new ProtocolClient((await started(run())).url, 'team', token);
    const info = await again.info();
    assert.deepEqual([info.epoch, info.version], [epoch, 1]);
  });

  it('says what is wrong with what it was given, and ends', async () => {
    const wrong: readonly (readonly [Readonly<Record<string, string>>, RegExp])[] = [
      [{ PORT: 'eighty' }, /PORT is "eighty"/],
      [{ DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' }, /two places/],
      [{ DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', DATA_DIR: '' }, /LOCAL_DATA_SECRET/],
    ];
    const ended = await Promise.all(wrong.map(([environment]) => outcomeOf(run([], environment))));
    for (const [index, { code, errors }] of ended.entries()) {
      assert.equal(code, 1);
      assert.match(errors, wrong[index]?.[1] ?? /never/);
    }
    const { code, errors } = await outcomeOf(run(['token']));
    assert.equal(code, 1);
    assert.match(errors, /--space NAME/);
  });
});

type Child = ChildProcessByStdio<null, Readable, Readable>;

/** Resolves when it says where it is; `lines` goes on to grow. */
async function started(child: Child): Promise<{ readonly url: string; readonly lines: readonly string[] }> {
  const lines: string[] = [];
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const url = Promise.withResolvers<string>();
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    const found = parts.map((line) => / is at (http:\S+)$/.exec(line)?.[1]).find((place) => place !== undefined);
    if (found !== undefined) url.resolve(found);
  });
  child.once('exit', (code) => url.reject(new Error(`The server ended with ${code}: ${errors}`)));
  return { url: await url.promise, lines };
}

async function outcomeOf(child: Child) {
  let out = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const [code] = await exitOf(child);
  return { code, out: out.trim().split('\n'), errors };
}

async function exitOf(child: Child): Promise<readonly unknown[]> {
  if (child.exitCode !== null) return [child.exitCode];
  return once(child, 'close');
}
