// The HTTP transport against servers that behave badly in every way that was thought of, each one real and on 127.0.0.1.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, type Server, type Socket, createServer, connect as connectTo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { LocalDataError } from '../../src/protocol/errors.ts';
import { SYNC_LIMITS, type PushRequest } from '../../src/protocol/sync.ts';
import { httpTransport } from '../../src/sync/http-transport.ts';
import { spaceOfToken } from '../../src/sync/bind-server.ts';
import { type SyncTransport, TransportError, type TransportErrorKind } from '../../src/sync/transport.ts';
import { type Script, ScriptedServer, answerJson } from './scripted-server.ts';

const SELF_SIGNED = fileURLToPath(new URL('../fixtures/self-signed', import.meta.url));
const TOKEN = 'secret-token-of-this-test';
const PULLED = { epoch: 'e1', serverTime: 1, changes: [], cursor: 'c1', version: 0, more: false };
const INFO = {
  epoch: 'e1',
  space: 'team',
  version: 0,
  protocols: [1],
  serverTime: 1,
  rights: ['read', 'write'],
  limits: { changes: 1000, bodyBytes: 1000, changeBytes: 1000, waitSeconds: 55 },
};
const PUSH: PushRequest = {
  clientId: 'client',
  epoch: 'e1',
  cursor: null,
  changes: [
    {
      id: 'change-1',
      entityType: 'User',
      entityId: 'user-1',
      operation: 'insert',
      data: { name: 'Anna' },
      baseVersion: 0,
      timestamp: 1,
      transactionId: null,
    },
  ],
};

const call = (timeoutMs = 10_000) => ({ signal: new AbortController().signal, timeoutMs });
const connect = (url: string) => httpTransport({ url, token: TOKEN, space: 'team' });
const pull = (transport: SyncTransport, timeoutMs?: number) => {
  return transport.pull({ after: null, limit: 10, wait: 0 }, call(timeoutMs));
};

/** Fails unless the request failed in this way. */
async function failureOf(request: Promise<unknown>, kind: TransportErrorKind): Promise<TransportError> {
  const error = await failed(request);
  assert.equal(error.kind, kind, error.message);
  return error;
}

/** No failure may repeat the token. */
async function failed(request: Promise<unknown>): Promise<TransportError> {
  const error: unknown = await request.then(
    () => assert.fail('should have failed'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof TransportError, String(error));
  assert.ok(!`${error.message} ${String(error.stack)} ${String(error.cause)}`.includes(TOKEN), error.message);
  return error;
}

/** How a pull and a push fail at a server that answers so. */
async function failuresAt(
  script: Script,
  kind: TransportErrorKind,
): Promise<{ pull: TransportError; push: TransportError }> {
  await using server = await ScriptedServer.start(script);
  const transport = connect(server.url);
  return {
    pull: await failureOf(pull(transport), kind),
    push: await failureOf(transport.push(PUSH, call()), kind),
  };
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const answering = (status: number, code: string, headers: object = {}, more: object = {}): Script => {
  return (_, response) =>
    answerJson(response, { error: { code, message: 'said the server', ...more } }, status, headers);
};

describe('The HTTP transport', () => {
  it('asks as the protocol says, below a path prefix too', async () => {
    await using server = await ScriptedServer.start(({ url, method }, response) => {
      if (method === 'POST') {
        const results = [{ outcome: 'applied', id: 'change-1', version: 1 }];
        return answerJson(response, { epoch: 'e1', serverTime: 1, results });
      }
      if (url?.includes('/snapshot')) {
        return answerJson(response, {
          epoch: 'e1',
          serverTime: 1,
          entities: [],
          total: 0,
          next: null,
          cursor: 'c',
          version: 0,
        });
      }
      if (url?.includes('/digest/')) return answerJson(response, { epoch: 'e1', version: 0, entities: [], next: null });
      if (url?.includes('/digest')) return answerJson(response, { epoch: 'e1', version: 0, buckets: [] });
      return answerJson(response, url?.includes('/changes') ? PULLED : INFO);
    });
    const transport = connect(`${server.url}/prefix/`);
    assert.deepEqual(await transport.info(call()), INFO);
    assert.equal((await transport.push(PUSH, call())).results[0]?.outcome, 'applied');
    await transport.pull({ after: 'a b&c', limit: 7, wait: 3 }, call());
    await transport.snapshot({ page: 'p/1', limit: 9 }, call());
    await transport.digest(call());
    await transport.bucket({ bucket: 255, page: null }, call());
    assert.deepEqual(
      server.asked.map(({ method, url }) => `${method} ${url}`),
      [
        'GET /prefix/v1/spaces/team',
        'POST /prefix/v1/spaces/team/changes',
        'GET /prefix/v1/spaces/team/changes?after=a+b%26c&limit=7&wait=3',
        'GET /prefix/v1/spaces/team/snapshot?page=p%2F1&limit=9',
        'GET /prefix/v1/spaces/team/digest',
        'GET /prefix/v1/spaces/team/digest/255',
      ],
    );
    for (const { headers } of server.asked) {
      assert.equal(headers.authorization, `Bearer ${TOKEN}`);
      assert.equal(headers['local-data-protocol'], '1');
    }
    assert.deepEqual(JSON.parse(server.asked[1]?.body ?? ''), PUSH);
  });

  it('uses connections again, and has no push wait for a pull that waits', async () => {
    const waiting: ServerResponse[] = [];
    await using server = await ScriptedServer.start(({ method }, response) => {
      if (method === 'GET') return waiting.push(response);
      const results = [{ outcome: 'applied', id: 'change-1', version: 1 }];
      return answerJson(response, { epoch: 'e1', serverTime: 1, results });
    });
    const transport = connect(server.url);
    const pulled = pull(transport);
    for (let pushed = 0; pushed < 5; pushed += 1) await transport.push(PUSH, call());
    const posts = server.asked.filter(({ method }) => method === 'POST');
    assert.equal(posts.length, 5);
    // A connection is free again only a moment after its answer was read, so that there may be two.
    assert.ok(new Set(posts.map(({ port }) => port)).size <= 2, 'pushes one after another share connections');
    for (const response of waiting) answerJson(response, PULLED);
    assert.deepEqual(await pulled, PULLED);
  });

  describe('tells by status and code', () => {
    const statuses: readonly [number, string, TransportErrorKind, boolean][] = [
      [400, 'INVALID_REQUEST', 'refused', false],
      [401, 'TOKEN_EXPIRED', 'unauthorized', false],
      [403, 'FORBIDDEN', 'forbidden', false],
      [404, 'NOT_FOUND', 'refused', false],
      [408, 'REQUEST_TIMEOUT', 'overloaded', false],
      [409, 'EPOCH_CHANGED', 'epoch-changed', false],
      [409, 'HISTORY_CHANGED', 'history-changed', false],
      [409, 'INVALID_REQUEST', 'refused', false],
      [410, 'CURSOR_EXPIRED', 'cursor-expired', false],
      [413, 'PAYLOAD_TOO_LARGE', 'too-large', false],
      [426, 'UNSUPPORTED_PROTOCOL', 'unsupported', false],
      [429, 'TOO_MANY_REQUESTS', 'overloaded', false],
      [500, 'INTERNAL', 'overloaded', true],
      [503, 'UNAVAILABLE', 'overloaded', true],
    ];
    for (const [status, code, kind, inDoubt] of statuses) {
      it(`${status} ${code} as ${kind}, ${inDoubt ? 'with a push in doubt' : 'with a push that had no effect'}`, async () => {
        const failures = await failuresAt(answering(status, code), kind);
        for (const { details } of Object.values(failures))
          assert.deepEqual([details.status, details.code], [status, code]);
        assert.equal(failures.push.mayHaveTakenEffect, inDoubt);
        assert.equal(failures.pull.mayHaveTakenEffect, false);
      });
    }

    const passing = new Set([408, 429, 502, 503, 504]);
    for (const status of [400, 401, 403, 408, 413, 422, 429, 502, 503, 504]) {
      it(`a ${status} of a proxy, with a push in doubt, because it knows nothing of the server behind it`, async () => {
        await using server = await ScriptedServer.start((_, response) => answerJson(response, '<html>', status));
        const failure = await failed(connect(server.url).push(PUSH, call()));
        assert.equal(failure.mayHaveTakenEffect, true);
        assert.equal(failure.kind === 'overloaded', passing.has(status), failure.kind);
        assert.deepEqual([failure.details.status, failure.details.code], [status, undefined]);
      });
    }

    it('a refusal in other words than the protocol’s, with a push in doubt', async () => {
      const script: Script = (_, response) => answerJson(response, { error: { code: 'QUOTA', message: 'no' } }, 403);
      assert.equal((await failuresAt(script, 'forbidden')).push.mayHaveTakenEffect, true);
    });

    it('a 422 in the protocol’s words, with a push that had no effect', async () => {
      const failures = await failuresAt(answering(422, 'INVALID_REQUEST'), 'refused');
      assert.equal(failures.push.mayHaveTakenEffect, false);
    });

    it('a 410 that is not of the protocol as no expired cursor', async () => {
      await failuresAt((_, response) => answerJson(response, 'gone', 410), 'refused');
    });

    it('how long to wait, in seconds and as a date by the server’s own clock', async () => {
      const inSeconds = await failuresAt(answering(429, 'TOO_MANY_REQUESTS', { 'retry-after': '7' }), 'overloaded');
      assert.equal(inSeconds.pull.details.retryAfterMs, 7_000);
      const date = 'Mon, 02 Jan 2040 10:00:00 GMT';
      const until = { date, 'retry-after': 'Mon, 02 Jan 2040 10:01:30 GMT' };
      const asDate = await failuresAt(answering(503, 'UNAVAILABLE', until), 'overloaded');
      assert.equal(asDate.pull.details.retryAfterMs, 90_000);
      const nonsense = await failuresAt(answering(503, 'UNAVAILABLE', { 'retry-after': 'soon' }), 'overloaded');
      assert.equal(nonsense.pull.details.retryAfterMs, undefined);
    });

    it('which versions a server speaks that does not speak this one', async () => {
      const { pull: failure } = await failuresAt(
        answering(426, 'UNSUPPORTED_PROTOCOL', {}, { protocols: [2, 3] }),
        'unsupported',
      );
      assert.match(failure.message, /version 2, 3/);
    });

    it('what the server says, without the token it sends back', async () => {
      const script: Script = (_, response) =>
        answerJson(response, { error: { code: 'UNAUTHENTICATED', message: `no \n good: ${TOKEN}` } }, 401);
      const { pull: failure } = await failuresAt(script, 'unauthorized');
      assert.match(failure.message, /no good: \(token\)/);
    });
  });

  describe('does not understand', () => {
    const answers: readonly [string, unknown, string][] = [
      ['what is no JSON', '{"epoch": ', 'NOT_JSON'],
      ['an empty answer', '', 'NOT_JSON'],
      ['a list', '[]', 'NOT_PROTOCOL'],
      ['a cursor of another type', { ...PULLED, cursor: 5 }, 'NOT_PROTOCOL'],
      ['an answer without its changes', { ...PULLED, changes: undefined }, 'NOT_PROTOCOL'],
      ['a version below nothing', { ...PULLED, version: -1 }, 'NOT_PROTOCOL'],
    ];
    for (const [what, answer, code] of answers) {
      it(what, async () => {
        const failures = await failuresAt((_, response) => answerJson(response, answer), 'not-understood');
        assert.equal(failures.pull.details.code, code);
        assert.equal(failures.push.mayHaveTakenEffect, true);
      });
    }

    it('bytes that are no UTF-8', async () => {
      const bytes = Buffer.concat([Buffer.from('{"epoch":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
      await failuresAt((_, response) => void response.end(bytes), 'not-understood');
    });

    it('results that are not those of the changes', async () => {
      const result = { outcome: 'applied', id: 'another', version: 1 };
      for (const results of [[], [result], [result, result]]) {
        await using server = await ScriptedServer.start((_, response) => {
          answerJson(response, { epoch: 'e1', serverTime: 1, results });
        });
        const failure = await failureOf(connect(server.url).push(PUSH, call()), 'not-understood');
        assert.equal(failure.mayHaveTakenEffect, true);
      }
    });

    it('an answer that is cut in the middle', async () => {
      const cut: Script = async (_, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1_000 });
        await new Promise((resolve) => response.write('{"epoch": "e1"', resolve));
        response.destroy();
      };
      const failures = await failuresAt(cut, 'not-understood');
      assert.equal(failures.pull.details.code, 'ANSWER_CUT');
      assert.equal(failures.push.mayHaveTakenEffect, true);
    });

    it('an answer without end, and reads no more of it than the limit', async () => {
      let sent = 0;
      const spaces = async function* () {
        for (const block = Buffer.alloc(1024 * 1024, ' '); ; sent += block.byteLength) yield block;
      };
      await using server = await ScriptedServer.start((_, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        return pipeline(spaces, response).catch(() => undefined);
      });
      const failure = await failureOf(pull(connect(server.url)), 'too-large');
      assert.equal(failure.details.code, 'ANSWER_TOO_LARGE');
      assert.ok(sent < 8 * SYNC_LIMITS.bodyBytes, `${sent} bytes`);
    });

    it('a small answer that unpacks into a large one', async () => {
      const packed = gzipSync(Buffer.alloc(5 * SYNC_LIMITS.bodyBytes, ' '));
      const script: Script = (_, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
        response.end(packed);
      };
      assert.equal((await failuresAt(script, 'too-large')).pull.details.code, 'ANSWER_TOO_LARGE');
    });
  });

  describe('gives up in time', () => {
    it('on a server that never answers', async () => {
      await using server = await ScriptedServer.start(() => undefined);
      const transport = connect(server.url);
      await failureOf(pull(transport, 100), 'timed-out');
      const failure = await failureOf(transport.push(PUSH, call(100)), 'timed-out');
      assert.equal(failure.mayHaveTakenEffect, true);
    });

    it('on an answer that comes byte by byte', async () => {
      await using server = await ScriptedServer.start((_, response) => {
        response.writeHead(200, { 'content-type': 'application/json' });
        const timer = setInterval(() => response.write(' '), 10);
        response.on('close', () => clearInterval(timer));
      });
      const started = performance.now();
      await failureOf(pull(connect(server.url), 200), 'timed-out');
      assert.ok(performance.now() - started < 5_000);
    });

    it('on a refusal whose body never ends', async () => {
      await using server = await ScriptedServer.start((_, response) => void response.writeHead(500).write('{'));
      await failureOf(pull(connect(server.url), 100), 'timed-out');
    });
  });

  describe('can be stopped', () => {
    it('by the signal, before and while it waits', async () => {
      const arrived = Promise.withResolvers<void>();
      await using server = await ScriptedServer.start(() => arrived.resolve());
      const transport = connect(server.url);
      const early = await failureOf(
        transport.push(PUSH, { signal: AbortSignal.abort(), timeoutMs: 1_000 }),
        'cancelled',
      );
      assert.equal(early.mayHaveTakenEffect, false);
      assert.equal(server.asked.length, 0);
      const controller = new AbortController();
      const pushed = transport.push(PUSH, { signal: controller.signal, timeoutMs: 10_000 });
      await arrived.promise;
      controller.abort();
      assert.equal((await failureOf(pushed, 'cancelled')).mayHaveTakenEffect, true);
    });

    it('by closing it', async () => {
      const arrived = Promise.withResolvers<void>();
      await using server = await ScriptedServer.start(() => arrived.resolve());
      const transport = connect(server.url);
      const pulled = pull(transport);
      await arrived.promise;
      transport.close?.();
      await failureOf(pulled, 'cancelled');
      await failureOf(pull(transport), 'cancelled');
    });
  });

  describe('keeps the token', () => {
    it('from the server that a redirect names', async () => {
      await using elsewhere = await ScriptedServer.start((_, response) => answerJson(response, PULLED));
      for (const status of [301, 302, 303, 307, 308]) {
        const location = `${elsewhere.url}/there?and=more`;
        const failures = await failuresAt((_, response) => answerJson(response, '', status, { location }), 'refused');
        assert.equal(failures.pull.details.code, 'REDIRECTED');
        assert.ok(failures.pull.message.includes(`${elsewhere.url}/there`), failures.pull.message);
        assert.equal(failures.push.mayHaveTakenEffect, true, 'what sends on may have done its work before');
      }
      assert.equal(elsewhere.asked.length, 0);
    });

    it('from a server whose certificate is self-signed, and says how it can be trusted', async () => {
      await using server = await ScriptedServer.startSelfSigned(SELF_SIGNED, (_, response) =>
        answerJson(response, PULLED),
      );
      const transport = connect(server.url);
      const failure = await failureOf(pull(transport), 'unreachable');
      assert.equal(failure.details.code, 'DEPTH_ZERO_SELF_SIGNED_CERT');
      assert.match(failure.message, /NODE_EXTRA_CA_CERTS/);
      const pushed = await failureOf(transport.push(PUSH, call()), 'unreachable');
      assert.equal(pushed.mayHaveTakenEffect, false);
      assert.equal(server.asked.length, 0);
    });

    it('out of the errors of tokens that no header can carry', () => {
      for (const token of ['', `${TOKEN}\n`, `${TOKEN} more`, `${TOKEN}ä`, 'x'.repeat(20_000)]) {
        assert.throws(
          () => httpTransport({ url: 'http://127.0.0.1', token, space: 'team' }),
          (error) => LocalDataError.isCode(error, 'INVALID_ARGUMENT') && !error.message.includes(TOKEN),
        );
      }
    });
  });

  describe('cannot reach', () => {
    it('a port where nothing listens, and knows that nothing was done', async () => {
      const free = createServer();
      const port = await listening(free);
      free.close();
      await once(free, 'close');
      const failure = await failureOf(connect(`http://127.0.0.1:${port}`).push(PUSH, call()), 'unreachable');
      assert.equal(failure.details.code, 'ECONNREFUSED');
      assert.equal(failure.mayHaveTakenEffect, false);
    });

    it('a name that does not exist, and knows that nothing was done', async () => {
      const failure = await failureOf(connect('http://no-such-host.invalid').push(PUSH, call()), 'unreachable');
      assert.equal(failure.mayHaveTakenEffect, false);
    });

    it('a server that hangs up when it has the request, and leaves a push in doubt', async () => {
      const { push } = await failuresAt((_, response) => response.destroy(), 'unreachable');
      assert.equal(push.mayHaveTakenEffect, true);
    });

    it('a server whose connection is reset, and leaves a push in doubt', async () => {
      const reset: Script = (_, response) => (response.socket as Socket).resetAndDestroy();
      const { push } = await failuresAt(reset, 'unreachable');
      assert.equal(push.details.code, 'ECONNRESET');
      assert.equal(push.mayHaveTakenEffect, true);
    });

    it('a server that closes a connection just when it is used again, and leaves a push in doubt', async () => {
      let answered = 0;
      await using server = await ScriptedServer.start((_, response) => {
        answered += 1;
        if (answered > 1) response.destroy();
        else answerJson(response, INFO);
      });
      const transport = connect(server.url);
      await transport.info(call());
      assert.equal((await failureOf(transport.push(PUSH, call()), 'unreachable')).mayHaveTakenEffect, true);
      assert.equal(server.asked.length, 2, 'it is sent once, whatever becomes of it');
    });

    it('a port that speaks no TLS, and takes nothing for granted', async () => {
      await using server = await ScriptedServer.start((_, response) => answerJson(response, PULLED));
      const transport = connect(server.url.replace('http:', 'https:'));
      assert.match((await failureOf(pull(transport), 'unreachable')).message, /no TLS/);
      assert.equal((await failureOf(transport.push(PUSH, call()), 'unreachable')).mayHaveTakenEffect, true);
    });

    it('a server whose TLS breaks after it has the request, and leaves a push in doubt', async () => {
      const trusted = getCACertificates('default');
      const arrived = Promise.withResolvers<void>();
      await using server = await ScriptedServer.startSelfSigned(SELF_SIGNED, () => arrived.resolve());
      const way = createServer((client) => {
        const onwards = connectTo(Number(new URL(server.url).port), '127.0.0.1');
        client.pipe(onwards).pipe(client);
        for (const socket of [client, onwards]) socket.on('error', () => onwards.destroy());
        void arrived.promise.then(() => client.write('from here on this is no TLS'));
      });
      const port = await listening(way);
      try {
        setDefaultCACertificates([...trusted, readFileSync(join(SELF_SIGNED, 'certificate.pem'), 'utf8')]);
        const transport = connect(`https://127.0.0.1:${port}`);
        const failure = await failureOf(transport.push(PUSH, call()), 'unreachable');
        assert.equal(failure.mayHaveTakenEffect, true);
        assert.equal(server.asked.length, 1);
      } finally {
        setDefaultCACertificates(trusted);
        way.close();
      }
    });
  });

  it('sends no push above the protocol’s limit', async () => {
    await using server = await ScriptedServer.start((_, response) => answerJson(response, {}));
    const [change] = PUSH.changes;
    assert.ok(change !== undefined);
    const data = { text: 'x'.repeat(SYNC_LIMITS.bodyBytes) };
    const pushed = connect(server.url).push({ ...PUSH, changes: [{ ...change, data }] }, call());
    assert.equal((await failureOf(pushed, 'too-large')).mayHaveTakenEffect, false);
    assert.equal(server.asked.length, 0);
  });

  it('refuses addresses and spaces that cannot be right, without repeating a password', () => {
    const wrong: readonly [string, string, string][] = [
      ['', 'team', 'url'],
      ['sync.example.org', 'team', 'url'],
      ['ftp://sync.example.org', 'team', 'url'],
      ['https://anna:pass-word@sync.example.org', 'team', 'url'],
      ['https://sync.example.org?token=pass-word', 'team', 'url'],
      ['https://sync.example.org/#pass-word', 'team', 'url'],
      ['https://sync.example.org', '', 'space'],
      ['https://sync.example.org', '../other', 'space'],
    ];
    for (const [url, space, field] of wrong) {
      assert.throws(
        () => httpTransport({ url, token: TOKEN, space }),
        (error) =>
          LocalDataError.isCode(error, 'INVALID_ARGUMENT') &&
          error.details.field === field &&
          !error.message.includes('pass-word'),
        url,
      );
    }
  });

  it('reads the space out of a token, and nothing out of what is none', () => {
    const token = (payload: unknown) => {
      return `e30.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.signature`;
    };
    assert.equal(spaceOfToken(token({ space: 'team' })), 'team');
    const none = [{}, null, 'team', { space: 5 }, { space: '' }].map(token);
    for (const text of [...none, '', 'a', 'a.b', 'a.%%%.c']) {
      assert.throws(
        () => spaceOfToken(text),
        (error) => LocalDataError.isCode(error, 'INVALID_ARGUMENT'),
      );
    }
  });
});
