// The HTTP transport against the real server, embedded: what each side says of tokens, cursors, limits and waiting, as the
// other understands it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, type Server, type Socket, createServer, connect as connectTo } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { type PullResponse, type PushedChange, SYNC_LIMITS } from '../../src/protocol/sync.ts';
import { type RunningServer, signToken, startServer } from '../../src/server/start-server.ts';
import { httpTransport } from '../../src/sync/http-transport.ts';
import { type SyncTransport, TransportError, type TransportErrorKind } from '../../src/sync/transport.ts';
import { ScriptedServer, answerJson } from './scripted-server.ts';

const SELF_SIGNED = fileURLToPath(new URL('../fixtures/self-signed', import.meta.url));
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

  it('finds its change applied once when it sends it again after an answer that was cut in the middle', async () => {
    await using way = await Way.to(server, {
      // The answer's head and a part of its body come through.
      back: (from, client) => {
        from.on('data', (chunk: Buffer) => {
          const end = chunk.indexOf('"results"');
          client.write(end < 0 ? chunk : chunk.subarray(0, end + 12));
          if (end >= 0) client.destroy();
        });
      },
    });
    const { epoch } = await transport.info(call());
    const request = { clientId: 'client', epoch, cursor: null, changes: [insert('c1', 'u1')] };
    const cut = httpTransport({ url: way.url, token: await signToken({ space, secret: SECRET }), space });
    const error = await failure(cut.push(request, call()), 'not-understood');
    assert.deepEqual([error.details.code, error.mayHaveTakenEffect], ['ANSWER_CUT', true]);
    const { results } = await transport.push(request, call());
    assert.deepEqual(
      results.map(({ outcome }) => outcome),
      ['duplicate'],
    );
    assert.equal((await pull(null)).changes.length, 1);
  });

  it('keeps token and changes from the server that a redirect names, though it would take them', async () => {
    await using elsewhere = await ScriptedServer.start(({ url }, response) => {
      response.writeHead(307, { location: `${server.url}${url ?? ''}` }).end();
    });
    const led = httpTransport({ url: elsewhere.url, token: await signToken({ space, secret: SECRET }), space });
    const { epoch } = await transport.info(call());
    const request = { clientId: 'client', epoch, cursor: null, changes: [insert('c1', 'u1')] };
    const ways = [
      () => led.info(call()),
      () => led.push(request, call()),
      () => led.pull({ after: null, limit: 1, wait: 0 }, call()),
    ];
    for (const ask of ways) assert.equal((await failure(ask(), 'refused')).details.code, 'REDIRECTED');
    assert.equal((await transport.info(call())).version, 0);
  });

  it('sends nothing to the server behind a certificate that nobody trusts, and all of it once it is trusted', async () => {
    const read = (name: string) => readFileSync(join(SELF_SIGNED, name));
    let heard = 0;
    const tls = createTlsServer({ key: read('key.pem'), cert: read('certificate.pem') }, (client) => {
      client.on('data', () => (heard += 1)).on('error', () => undefined);
      client.pipe(connectTo(server.port, '127.0.0.1')).pipe(client);
    });
    const port = await listening(tls);
    const trusted = getCACertificates('default');
    const token = await signToken({ space, secret: SECRET });
    const behind = httpTransport({ url: `https://127.0.0.1:${port}`, token, space });
    try {
      const { epoch } = await transport.info(call());
      const request = { clientId: 'client', epoch, cursor: null, changes: [insert('c1', 'u1')] };
      const error = await failure(behind.push(request, call()), 'unreachable');
      assert.deepEqual([error.details.code, error.mayHaveTakenEffect], ['DEPTH_ZERO_SELF_SIGNED_CERT', false]);
      assert.deepEqual([heard, (await transport.info(call())).version], [0, 0]);
      setDefaultCACertificates([...trusted, read('certificate.pem').toString()]);
      assert.equal((await behind.push(request, call())).results[0]?.outcome, 'applied');
    } finally {
      setDefaultCACertificates(trusted);
      behind.close?.();
      tls.close();
    }
  });

  it('takes no more rows of one answer than the protocol allows', async () => {
    const rows = Array.from({ length: SYNC_LIMITS.answerRows + 1 }, () => 1);
    await using generous = await ScriptedServer.start(({ url }, response) => {
      const head = { epoch: 'e', serverTime: 1, version: 1, cursor: 'c' };
      if (url?.includes('/snapshot') === true) {
        return answerJson(response, { ...head, entities: rows, total: rows.length, next: null });
      }
      if (url?.includes('/digest') === true) {
        const buckets = Array.from({ length: 257 }, () => ({ bucket: 1, count: 1, digest: 'd' }));
        return answerJson(response, { ...head, buckets });
      }
      return answerJson(response, { ...head, changes: rows, more: false });
    });
    const asked = httpTransport({ url: generous.url, token: 'token', space });
    const limit = SYNC_LIMITS.changes;
    await failure(asked.pull({ after: null, limit, wait: 0 }, call()), 'not-understood');
    await failure(asked.snapshot({ page: null, limit }, call()), 'not-understood');
    await failure(asked.digest(call()), 'not-understood');
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

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Stands between a client and the server, and has a hand in what goes back. */
class Way implements AsyncDisposable {
  readonly url: string;
  readonly #server: Server;

  static async to(
    { port }: RunningServer,
    { back }: { readonly back: (from: Socket, client: Socket) => void },
  ): Promise<Way> {
    const server = createServer((client) => {
      const onwards = connectTo(port, '127.0.0.1');
      client.pipe(onwards);
      for (const socket of [client, onwards]) socket.on('error', () => undefined);
      client.on('close', () => onwards.destroy());
      back(onwards, client);
    });
    return new Way(server, await listening(server));
  }

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.url = `http://127.0.0.1:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await once(this.#server, 'close');
  }
}

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
