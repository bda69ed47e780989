// Whoever has no right gets nothing, and whatever is no request of the protocol gets a clear answer in JSON: over real sockets.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair } from 'jose';
import { z } from 'zod';
import { syncErrorSchema } from '../../src/protocol/sync.ts';
import type { RunningServer } from '../../src/server/start-server.ts';
import {
  type Draft,
  ProtocolClient,
  SECRET,
  type Sending,
  signToken,
  startForTest,
  toChange,
} from '../support/server.ts';

const lines: object[] = [];
const write = (fields: object, message: string): void => void lines.push({ ...fields, message });
const logger = { info: write, warn: write, error: write };
const PRIVATE = 'a-payload-that-no-log-may-have';

describe('a bad request', () => {
  let server: RunningServer;
  let good: ProtocolClient;
  before(async () => {
    server = await startForTest({
      memory: true,
      logger,
      limits: { bodyBytes: 200_000, entityBytes: 50_000, transactionBytes: 80_000, requestMs: 400, validateMs: 200 },
      rules: {
        Short: { schema: z.object({ title: z.string().max(5) }) },
        Json: { schema: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } },
        Log: { operations: ['insert'] },
        Small: { maxBytes: 50 },
      },
      validate: async ({ change, after, subject }) => {
        if (change.entityType === 'Broken') throw new Error(`the hook saw ${PRIVATE}`);
        if (change.entityType === 'Slow') await new Promise(() => undefined);
        if (change.entityType === 'Slowish') await new Promise((resolve) => setTimeout(resolve, 120));
        if (after?.['title'] === 'forbidden') return { reason: `not for ${subject ?? 'nobody'}`, field: 'title' };
        return null;
      },
    });
    good = await ProtocolClient.enter(server.url, 'mine');
  });
  after(() => server.close());

  const ask = async (path: string, init: Sending = {}): Promise<readonly [number, string, Headers]> => {
    const response = await fetch(`${server.url}${path}`, init);
    assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
    return [response.status, syncErrorSchema.parse(await response.json()).error.code, response.headers];
  };
  const askWith = (token: string, path = '/v1/spaces/mine') =>
    ask(path, { headers: { authorization: `Bearer ${token}` } });
  const first = ([status, code]: readonly [number, string, Headers]) => [status, code];
  const post = (body: RequestInit['body'], headers: Readonly<Record<string, string>> = {}) =>
    ask('/v1/spaces/mine/changes', {
      method: 'POST',
      headers: { authorization: `Bearer ${good.token}`, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body }),
      ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
    });

  it('without a token that fits learns nothing, not even whether the space is there', async () => {
    const sign = (claims: Record<string, unknown>, secret = SECRET, alg = 'HS256') =>
      new SignJWT(claims).setProtectedHeader({ alg }).sign(new TextEncoder().encode(secret));
    const soon = Math.floor(Date.now() / 1_000) + 600;
    const claims = { space: 'mine', rights: ['read', 'write'], exp: soon };
    const token = await sign(claims);
    const [header = '', payload = '', signature = ''] = token.split('.');
    const changed = Buffer.from(JSON.stringify({ ...claims, space: 'other' })).toString('base64url');
    const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
    const refused = {
      'of another secret': await sign(claims, 'another secret that has more than 32 characters'),
      'with another payload': `${header}.${changed}.${signature}`,
      'with alg none': new UnsecuredJWT(claims).encode(),
      'with alg none and a signature': `${Buffer.from('{"alg":"none"}').toString('base64url')}.${payload}.${signature}`,
      'of another algorithm of the secret': await sign(claims, SECRET, 'HS512'),
      'of a key nobody named': await new SignJWT(claims).setProtectedHeader({ alg: 'RS256' }).sign(privateKey),
      'signed with a public key as secret': await sign(claims, JSON.stringify(await exportJWK(publicKey))),
      'that never expires': await sign({ space: 'mine', rights: ['read'] }),
      'without rights': await sign({ space: 'mine', exp: soon }),
      'without a space': await sign({ rights: ['read'], exp: soon }),
      'for a space that is no name': await sign({ ...claims, space: '../mine' }),
      'that is garbage': 'a.b.c',
    };
    for (const [what, bad] of Object.entries(refused)) {
      assert.deepEqual(first(await askWith(bad)), [401, 'UNAUTHENTICATED'], `a token ${what}`);
    }
    assert.deepEqual(first(await ask('/v1/spaces/mine')), [401, 'UNAUTHENTICATED']);
    const expired = await signToken({ space: 'mine', secret: SECRET, expiresIn: 5, now: Date.now() - 60_000 });
    assert.deepEqual(first(await askWith(expired)), [401, 'TOKEN_EXPIRED']);
    assert.deepEqual(first(await askWith(token, '/v1/spaces/never-there')), [403, 'FORBIDDEN']);
    await ProtocolClient.enter(server.url, 'theirs').then((theirs) => theirs.push({ entityId: 't1' }));
    assert.deepEqual(first(await askWith(token, '/v1/spaces/theirs')), [403, 'FORBIDDEN']);
    assert.deepEqual(first(await askWith(token, '/v1/spaces/theirs/snapshot')), [403, 'FORBIDDEN']);
  });

  it('beyond the rights of its token is refused', async () => {
    const reading = await signToken({ space: 'mine', secret: SECRET, rights: ['read'] });
    const writing = await signToken({ space: 'mine', secret: SECRET, rights: ['write'] });
    const pushed = await new ProtocolClient(server.url, 'mine', reading).send([toChange({ entityId: 't1' })]);
    assert.equal(pushed.status, 403);
    for (const path of ['/changes', '/snapshot', '/digest', '/digest/0']) {
      assert.deepEqual(first(await askWith(writing, `/v1/spaces/mine${path}`)), [403, 'FORBIDDEN']);
    }
  });

  it('of another address, method, protocol or query is told so', async () => {
    const headers = { authorization: `Bearer ${good.token}` };
    assert.deepEqual(first(await ask('/nowhere')), [404, 'NOT_FOUND']);
    assert.deepEqual(first(await ask('/v1/spaces/mine/nothing', { headers })), [404, 'NOT_FOUND']);
    const [status, code, answered] = await ask('/v1/spaces/mine/changes', { method: 'DELETE', headers });
    assert.deepEqual([status, code, answered.get('allow')], [405, 'METHOD_NOT_ALLOWED', 'GET, HEAD, POST']);
    const old = { ...headers, 'local-data-protocol': '99' };
    assert.deepEqual(first(await ask('/v1/spaces/mine', { headers: old })), [426, 'UNSUPPORTED_PROTOCOL']);
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'wait=56', 'wait=-1', 'unknown=1', 'after=%00']) {
      assert.deepEqual(
        first(await ask(`/v1/spaces/mine/changes?${query}`, { headers })),
        [400, 'INVALID_REQUEST'],
        query,
      );
    }
    for (const bucket of ['256', '-1', 'x', '1.5']) {
      assert.deepEqual(first(await ask(`/v1/spaces/mine/digest/${bucket}`, { headers })), [400, 'INVALID_REQUEST']);
    }
  });

  it('with a body that is no push is told what is wrong', async () => {
    const epoch = await good.epoch();
    const push = { clientId: 'c', epoch, cursor: null, changes: [toChange({ entityId: 't1' })] };
    const bodies: readonly (readonly [string, number, string])[] = [
      ['{"clientId": ', 400, 'INVALID_REQUEST'],
      ['', 400, 'INVALID_REQUEST'],
      ['null', 400, 'INVALID_REQUEST'],
      ['[]', 400, 'INVALID_REQUEST'],
      [JSON.stringify({ ...push, changes: [] }), 400, 'INVALID_REQUEST'],
      [JSON.stringify({ ...push, changes: {} }), 400, 'INVALID_REQUEST'],
      [JSON.stringify({ ...push, unknown: 1 }), 400, 'INVALID_REQUEST'],
      [JSON.stringify({ ...push, clientId: 'x'.repeat(10_000) }), 400, 'INVALID_REQUEST'],
      [JSON.stringify({ ...push, clientId: 'a\u0000' }), 400, 'INVALID_REQUEST'],
      [JSON.stringify({ ...push, cursor: 7 }), 400, 'INVALID_REQUEST'],
      [JSON.stringify({ ...push, changes: Array.from({ length: 1_001 }, () => 1) }), 400, 'INVALID_REQUEST'],
      ['['.repeat(100_000), 400, 'INVALID_REQUEST'],
    ];
    for (const [body, status, code] of bodies) {
      assert.deepEqual(first(await post(body)), [status, code], body.slice(0, 60));
    }
    assert.deepEqual(first(await post('{}', { 'content-type': 'text/plain' })), [415, 'UNSUPPORTED_MEDIA_TYPE']);
    assert.deepEqual(first(await post('{}', { 'content-encoding': 'gzip' })), [415, 'UNSUPPORTED_MEDIA_TYPE']);
    assert.deepEqual(first(await post(new Uint8Array([0x22, 0xff, 0x22]))), [400, 'INVALID_REQUEST']);
  });

  it('that is too large is refused, also when it does not say how large it is', async () => {
    assert.deepEqual(first(await post('x'.repeat(200_001))), [413, 'PAYLOAD_TOO_LARGE']);
    let pulled = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new TextEncoder().encode(' '.repeat(10_000)));
      },
    });
    // The server may hang up on what still comes before its answer is read.
    const answer = await post(endless).catch(() => null);
    if (answer !== null) assert.deepEqual(first(answer), [413, 'PAYLOAD_TOO_LARGE']);
    assert.ok(pulled < 1_000, 'it read on without an end');
  });

  it('that arrives drop by drop is let go', async () => {
    const head = `POST /v1/spaces/mine/changes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${good.token}\r\ncontent-type: application/json\r\n`;
    const slowHead = await sendRaw(server.port, `${head}x-slow: `);
    assert.match(slowHead, /^HTTP\/1\.1 408 /);
    assert.match(slowHead, /"code":"REQUEST_TIMEOUT"/);
    const slowBody = await sendRaw(server.port, `${head}content-length: 100\r\n\r\n{"clientId"`);
    assert.match(slowBody, /^HTTP\/1\.1 408 /);
    assert.match(slowBody, /"code":"REQUEST_TIMEOUT"/);
    const noHttp = await sendRaw(server.port, 'this is no HTTP\r\n\r\n');
    assert.match(noHttp, /^HTTP\/1\.1 400 /);
    assert.match(noHttp, /"code":"INVALID_REQUEST"/);
  });

  it('that arrives drop by drop from many at once keeps nobody else waiting', async () => {
    const head = `POST /v1/spaces/mine/changes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${good.token}\r\n`;
    const dripping = Array.from({ length: 150 }, (_, index) => drip(server.port, `${head}x-slow-${index}: `));
    await Promise.all(dripping.map(({ connected }) => connected));
    for (let asked = 0; asked < 5; asked += 1) assert.equal((await good.request('')).status, 200);
    const answers = await Promise.all(dripping.map(({ answer }) => answer));
    for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 408 /);
  });

  it('with names and tokens of 10 kB and more is refused in every place', async () => {
    const headers = { authorization: `Bearer ${good.token}` };
    const long = 'x'.repeat(10_000);
    for (const path of [`changes?after=${long}`, `snapshot?page=${long}`, `digest/0?page=${long}`, `digest/${long}`]) {
      assert.deepEqual(first(await ask(`/v1/spaces/mine/${path}`, { headers })), [400, 'INVALID_REQUEST']);
    }
    assert.deepEqual(first(await ask(`/v1/spaces/${long}`, { headers })), [403, 'FORBIDDEN']);
    assert.deepEqual(first(await ask(`/${long}`, { headers })), [404, 'NOT_FOUND']);
    assert.deepEqual(first(await ask(`/${'x'.repeat(20_000)}`, { headers })), [400, 'INVALID_REQUEST']);
    assert.deepEqual(first(await askWith(long)), [401, 'UNAUTHENTICATED']);
    for (const over of [{ clientId: long }, { epoch: long }, { cursor: long }]) {
      const body = { clientId: 'c', epoch: 'e', cursor: null, changes: [1], ...over };
      assert.deepEqual(first(await post(JSON.stringify(body))), [400, 'INVALID_REQUEST'], Object.keys(over).join());
    }
  });

  it('that makes an entity or a transaction too large is refused, though each change is small', async () => {
    const data = (name: string) => ({ [name]: 'x'.repeat(30_000) });
    const outcomes = async (...drafts: readonly Draft[]) => {
      return (await good.push(...drafts)).map((result) =>
        result.outcome === 'rejected' ? result.code : result.outcome,
      );
    };
    const grown = { entityId: 'grows', operation: 'update', data: data('b'), baseVersion: 1 } as const;
    assert.deepEqual(await outcomes({ entityId: 'grows', data: data('a') }), ['applied']);
    assert.deepEqual(await outcomes(grown), ['ENTITY_TOO_LARGE']);
    const members = ['m1', 'm2'].map((entityId) => ({ entityId, data: data('a'), transactionId: 'large' }));
    assert.deepEqual(await outcomes(...members), ['held', 'TRANSACTION_TOO_LARGE']);
    assert.deepEqual(await outcomes(...members.map((member) => ({ ...member, transactionId: null }))), [
      'applied',
      'applied',
    ]);
  });

  it('of which a rule or the hook does not allow a change has that change rejected, with the reason', async () => {
    const results = await good.push(
      { entityId: 's1', entityType: 'Short', data: { title: 'much too long' } },
      { entityId: 's2', entityType: 'Short', data: { title: 'ok' } },
      { entityId: 'j1', entityType: 'Json', data: { n: 'no' } },
      { entityId: 'j2', entityType: 'Json', data: { n: 1 } },
      { entityId: 'l1', entityType: 'Log' },
      { entityId: 'l1', entityType: 'Log', operation: 'delete' },
      { entityId: 'm1', entityType: 'Small', data: { text: 'x'.repeat(60) } },
      { entityId: 'f1', data: { title: 'forbidden' } },
      { entityId: 'f2', data: { title: 'fine' } },
    );
    assert.deepEqual(
      results.map((result) => (result.outcome === 'rejected' ? result.code : result.outcome)),
      [
        'INVALID_ENTITY',
        'applied',
        'INVALID_ENTITY',
        'applied',
        'applied',
        'OPERATION_NOT_ALLOWED',
        'ENTITY_TOO_LARGE',
        'REFUSED',
        'applied',
      ],
    );
    const hook = results.at(-2);
    assert.ok(hook?.outcome === 'rejected');
    assert.deepEqual([hook.message, hook.field], ['not for nobody', 'title']);
  });

  it('whose hook fails or gives no answer is applied in no part, and can be sent again', async () => {
    const { version } = await good.info();
    for (const entityType of ['Broken', 'Slow']) {
      const { status, headers } = await good.send([
        toChange({ entityId: 'x' }),
        toChange({ entityId: 'y', entityType }),
      ]);
      assert.deepEqual([status, headers.get('retry-after')], [503, '2']);
    }
    assert.equal((await good.info()).version, version);
  });

  it('that takes too long to check as a whole is to be sent in parts, and is applied in no part', async () => {
    const { version } = await good.info();
    const changes = Array.from({ length: 9 }, (_, index) => toChange({ entityId: `s${index}`, entityType: 'Slowish' }));
    const { status, body } = await good.send(changes);
    assert.deepEqual([status, syncErrorSchema.parse(body).error.code], [413, 'PAYLOAD_TOO_LARGE']);
    assert.equal((await good.info()).version, version);
    assert.equal((await good.send(changes.slice(0, 3))).status, 200);
  });

  it('leaves no payload, no id and no token in the log', async () => {
    await good.push({ id: `${PRIVATE}-id`, entityId: `${PRIVATE}-entity`, data: { [PRIVATE]: PRIVATE } });
    await good.send([{ [PRIVATE]: PRIVATE }]);
    await post(`{"${PRIVATE}":`);
    await ask(`/v1/spaces/mine/changes?after=${PRIVATE}&${PRIVATE}=1`, {
      headers: { authorization: `Bearer ${good.token}` },
    });
    await ask(`/${PRIVATE}`);
    const text = JSON.stringify(lines);
    assert.ok(lines.length > 20);
    assert.doesNotMatch(text, new RegExp(PRIVATE));
    assert.ok(!text.includes(good.token));
  });

  it('in too great a number is told when to come again', async () => {
    const limited = await startForTest({ memory: true, limits: { requestsPerSecond: 1, requestsAtOnce: 3 } });
    try {
      const client = await ProtocolClient.enter(limited.url, 'mine');
      const answers = await Promise.all(Array.from({ length: 6 }, () => client.request('')));
      const refused = answers.filter(({ status }) => status === 429);
      assert.equal(refused.length, 3);
      assert.equal(refused[0]?.headers.get('retry-after'), '1');
      const other = await ProtocolClient.enter(limited.url, 'another');
      assert.equal((await other.request('')).status, 200);
    } finally {
      await limited.close();
    }
  });
});

describe('a server that has too many who wait', () => {
  it('sends the next one away with the time to come again, and takes it once there is room', async () => {
    const server = await startForTest({ memory: true, limits: { waitingReaders: 1 } });
    try {
      const client = await ProtocolClient.enter(server.url, 'mine');
      const { cursor } = await client.pull();
      const waiting = client.pull(cursor, { wait: 30 });
      await readersWait(server.url, 1);
      const { status, headers } = await client.request(`/changes?after=${cursor}&wait=30`);
      assert.deepEqual([status, headers.get('retry-after')], [429, '5']);
      await client.push({ entityId: 't1' });
      assert.equal((await waiting).changes.length, 1);
      assert.deepEqual((await client.pull((await waiting).cursor, { wait: 1 })).changes, []);
    } finally {
      await server.close();
    }
  });
});

describe('a server that closes', () => {
  it('lets a push that is running come to its end, and answers it', async () => {
    const entered = Promise.withResolvers<void>();
    const go = Promise.withResolvers<null>();
    const validate = () => {
      entered.resolve();
      return go.promise;
    };
    const server = await startForTest({ memory: true, validate });
    const client = await ProtocolClient.enter(server.url, 'mine');
    const pushed = client.push({ entityId: 't1' });
    await entered.promise;
    const closed = server.close();
    await assert.rejects(fetch(`${server.url}/healthz`), 'it takes no new connection');
    go.resolve(null);
    assert.equal((await pushed)[0]?.outcome, 'applied');
    await closed;
  });

  it('answers those who wait, and does not wait long for one who never ends', async () => {
    const server = await startForTest({ memory: true, closeMs: 300 });
    const client = await ProtocolClient.enter(server.url, 'mine');
    const { cursor } = await client.pull();
    const waiting = client.pull(cursor, { wait: 50 });
    const stuck = sendRaw(
      server.port,
      `POST /v1/spaces/mine/changes HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${client.token}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{`,
    );
    await client.info();
    const started = performance.now();
    await server.close();
    assert.ok(performance.now() - started < 5_000);
    assert.deepEqual((await waiting).changes, []);
    await stuck;
    await assert.rejects(fetch(`${server.url}/healthz`));
  });

  it('that cannot start says why and leaves nothing running', async () => {
    await assert.rejects(startForTest({}), /one of databaseUrl, dataDir and memory/);
    await assert.rejects(startForTest({ memory: true, limits: { changes: 5_000 } }), /limits\.changes/);
    await assert.rejects(startForTest({ memory: true, retention: { idDays: 7 } }), /180 days/);
    await assert.rejects(startForTest({ memory: true, retention: { feedDays: 365 } }), /raise idDays/);
    await assert.rejects(startForTest({ databaseUrl: 'postgres://nobody:x@127.0.0.1:1/none' }));
  });
});

/** Sends a byte now and then for as long as it is let. */
function drip(port: number, text: string): { readonly connected: Promise<void>; readonly answer: Promise<string> } {
  const connected = Promise.withResolvers<void>();
  const answer = new Promise<string>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => connected.resolve());
    socket.write(text);
    const timer = setInterval(() => socket.write('x'), 50);
    let answered = '';
    socket.on('data', (chunk: Buffer) => (answered += chunk.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(timer);
      resolve(answered);
    });
  });
  return { connected: connected.promise, answer };
}

async function readersWait(url: string, count: number): Promise<void> {
  const end = performance.now() + 5_000;
  for (;;) {
    const text = await (await fetch(`${url}/metrics`)).text();
    if (text.includes(`\nlocal_data_waiting_readers ${count}\n`)) return;
    assert.ok(performance.now() < end, `${count} readers do not wait`);
  }
}

/** What the server answers until it hangs up. */
function sendRaw(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
  });
}
