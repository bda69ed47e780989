// The HTTP transport against the real server, embedded: what each side says of tokens, cursors, limits and waiting, as the
// other understands it.
import assert from 'node:assert/strict';
import type { PullResponse, PushedChange } from '../../src/protocol/sync.ts';
import { type RunningServer, signToken, startServer } from '../../src/server/start-server.ts';
import { httpTransport } from '../../src/sync/http-transport.ts';
import { type SyncTransport, TransportError, type TransportErrorKind } from '../../src/sync/transport.ts';

const SECRET = 'a-secret-for-tests-of-at-least-32-bytes';
const MISTAKEN = 'another-secret-for-tests-of-32-bytes-too';

describe('The HTTP transport at the real server', function () {
  this.timeout(60_000);
  let server: RunningServer;
  let spaces = 0;
  let space: string;
  let transport: SyncTransport;

  before(async () => {
    server = await startServer({ memory: true, secret: SECRET });
  });

  after(() => server.close());

  beforeEach(async () => {
    spaces += 1;
    space = `space-${spaces}`;
    transport = httpTransport({ url: server.url, token: await signToken({ space, secret: SECRET }), space });
  });

  const call = (signal = new AbortController().signal) => ({ signal, timeoutMs: 20_000 });
  const pull = (after: string | null, wait = 0) => transport.pull({ after, limit: 100, wait }, call());

  async function push(changes: readonly PushedChange[], cursor: string | null = null) {
    const { epoch } = await transport.info(call());
    return transport.push({ clientId: 'client', epoch, cursor, changes }, call());
  }

  async function failure(request: Promise<unknown>, kind: TransportErrorKind): Promise<TransportError> {
    const error: unknown = await request.then(
      () => assert.fail(`should have failed as ${kind}`),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof TransportError, String(error));
    assert.equal(error.kind, kind, error.message);
    return error;
  }

  it('pushes, pulls, takes a snapshot and compares', async () => {
    const info = await transport.info(call());
    assert.deepEqual([info.space, info.version, info.protocols], [space, 0, [1]]);
    const { results } = await push([insert('c1', 'u1'), insert('c2', 'u2')]);
    assert.deepEqual(
      results.map(({ outcome }) => outcome),
      ['applied', 'applied'],
    );
    assert.equal((await pull(null)).changes.length, 2);
    assert.equal((await transport.snapshot({ page: null, limit: 100 }, call())).entities.length, 2);
    const { buckets } = await transport.digest(call());
    for (const { bucket, count } of buckets) {
      assert.equal((await transport.bucket({ bucket, page: null }, call())).entities.length, count);
    }
  });

  it('pushes while a pull waits, which then has the change', async () => {
    const { cursor } = await pull(null);
    const waiting: Promise<PullResponse> = pull(cursor, 30);
    await push([insert('c1', 'u1')]);
    assert.equal((await waiting).changes.length, 1);
  });

  it('carries a change with whatever texts', async () => {
    const name = `'; DROP TABLE entities; -- \u2028 😀 \ud83d\ude00 "\\ </script>`;
    await push([insert(name, name, { name, [name]: name })]);
    const [entity] = (await transport.snapshot({ page: null, limit: 1 }, call())).entities;
    assert.deepEqual((entity as { entity: unknown }).entity, { name, [name]: name });
  });

  it('is unauthorized with a token that is expired, of another secret, tampered with, or none at all', async () => {
    const now = Date.now() - 3_600_000;
    const expired = await signToken({ space, secret: SECRET, now, expiresIn: 60 });
    const good = await signToken({ space, secret: SECRET });
    const [head = '', claims = '', signature = ''] = good.split('.');
    const unsigned = Buffer.from(JSON.stringify({ alg: 'none', typ: 'JWT' })).toString('base64url');
    const tokens = [
      expired,
      await signToken({ space, secret: MISTAKEN }),
      `${unsigned}.${claims}.`,
      `${head}.${Buffer.from(JSON.stringify({ space: 'elsewhere', rights: ['write'] })).toString('base64url')}.${signature}`,
      'no-token',
    ];
    for (const token of tokens) {
      const other = httpTransport({ url: server.url, token, space });
      const error = await failure(other.info(call()), 'unauthorized');
      assert.ok(!error.message.includes(token));
    }
  });

  it('is forbidden with a token of another space', async () => {
    const token = await signToken({ space: 'elsewhere', secret: SECRET });
    await failure(httpTransport({ url: server.url, token, space }).info(call()), 'forbidden');
  });

  it('is told of another history, on push and on pull', async () => {
    const request = { clientId: 'client', epoch: 'another', cursor: null, changes: [insert('c1', 'u1')] };
    await failure(transport.push(request, call()), 'epoch-changed');
    const { cursor } = await pull(null);
    const other = await startServer({ memory: true, secret: SECRET });
    try {
      const token = await signToken({ space, secret: SECRET });
      const elsewhere = httpTransport({ url: other.url, token, space });
      await failure(elsewhere.pull({ after: cursor, limit: 1, wait: 0 }, call()), 'epoch-changed');
    } finally {
      await other.close();
    }
  });

  it('is refused with a cursor that is none', async () => {
    await failure(pull('not-a-cursor'), 'refused');
  });

  it('goes on with the others where one change is wrong', async () => {
    const wrong = { ...insert('c2', 'u2'), operation: 'replace' } as unknown as PushedChange;
    const { results } = await push([insert('c1', 'u1'), wrong, insert('c3', 'u3')]);
    assert.deepEqual(
      results.map(({ outcome }) => outcome),
      ['applied', 'rejected', 'applied'],
    );
  });

  it('ends a pull that waits when it is cancelled, and the server goes on', async () => {
    const { cursor } = await pull(null);
    const controller = new AbortController();
    const waiting = transport.pull({ after: cursor, limit: 1, wait: 30 }, call(controller.signal));
    controller.abort();
    await failure(waiting, 'cancelled');
    await transport.info(call());
  });
});

function insert(id: string, entityId: string, data: PushedChange['data'] = { name: entityId }): PushedChange {
  return {
    id,
    entityType: 'User',
    entityId,
    operation: 'insert',
    data,
    baseVersion: 0,
    timestamp: 1,
    transactionId: null,
  };
}
