// Network Conditions over a real server: what is lost, late or refused on its way, and what the server had of it.
import assert from 'node:assert/strict';
import { SYNC_ERROR_CODES, SYNC_ERROR_STATUS } from '../../src/protocol/sync.ts';
import type { NetworkConditions } from '../../src/protocol/sync-state.ts';
import { httpTransport } from '../../src/sync/http-transport.ts';
import { underConditions } from '../../src/sync/network-conditions.ts';
import { type SyncTransport, TransportError, type TransportErrorKind } from '../../src/sync/transport.ts';
import { VirtualClock, seededRandom } from '../support/virtual-clock.ts';
import { type Script, ScriptedServer, answerJson } from './scripted-server.ts';

const DIGEST = { epoch: 'e1', version: 0, buckets: [] };
const CHANGE = { id: 'c1', entityType: 'Task', entityId: 't1', operation: 'delete', data: null } as const;
const PUSH = {
  clientId: 'client',
  epoch: 'e1',
  cursor: null,
  changes: [{ ...CHANGE, baseVersion: 0, timestamp: 1, transactionId: null }],
};

describe('Network Conditions', () => {
  let server: ScriptedServer;
  let transport: SyncTransport;
  let clock: VirtualClock;
  let conditions: NetworkConditions | null;
  let script: Script;

  beforeEach(async () => {
    clock = new VirtualClock();
    conditions = null;
    script = (_, response) => answerJson(response, DIGEST);
    server = await ScriptedServer.start((asked, response) => script(asked, response));
    const real = httpTransport({ url: server.url, token: 'token', space: 'team' });
    transport = underConditions(real, { conditions: () => conditions, clock, random: seededRandom(7) });
  });

  afterEach(() => server[Symbol.asyncDispose]());

  const ask = (signal = new AbortController().signal) => transport.digest({ signal, timeoutMs: 10_000 });

  const push = () => transport.push(PUSH, { signal: new AbortController().signal, timeoutMs: 10_000 });

  async function failureOf(request: Promise<unknown>): Promise<TransportError> {
    const error: unknown = await request.then(
      () => assert.fail('should have failed'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof TransportError, String(error));
    return error;
  }

  async function fails(kind: TransportErrorKind, request: Promise<unknown> = ask()): Promise<TransportError> {
    const error = await failureOf(request);
    assert.equal(error.kind, kind, String(error));
    return error;
  }

  it('are not noticed where there are none, or all are nothing', async () => {
    for (conditions of [null, {}, { latencyMs: 0, lostRequests: 0, lostAnswers: 0, errorStatus: 500, errors: 0 }]) {
      assert.deepEqual(await ask(), DIGEST);
    }
  });

  it('let nothing through when stopped, and tell that nothing was done', async () => {
    conditions = { stopped: true };
    assert.equal((await fails('unreachable', push())).mayHaveTakenEffect, false);
    assert.equal(server.asked.length, 0);
  });

  it('let no answer through either, once stopped', async () => {
    conditions = {};
    script = (_, response) => {
      conditions = { stopped: true };
      answerJson(response, DIGEST);
    };
    assert.equal((await fails('unreachable')).mayHaveTakenEffect, false);
  });

  it('lose requests before the server has them, which nobody who sends can know', async () => {
    conditions = { lostRequests: 1 };
    assert.equal((await fails('unreachable', push())).mayHaveTakenEffect, true);
    assert.equal(server.asked.length, 0);
  });

  it('lose answers after the server did its work', async () => {
    script = (_, response) => {
      answerJson(response, {
        epoch: 'e1',
        serverTime: 1,
        results: [{ outcome: 'applied', id: 'c1', version: 1 }],
      });
    };
    conditions = { lostAnswers: 1 };
    assert.equal((await fails('unreachable', push())).mayHaveTakenEffect, true);
    assert.equal(server.asked.length, 1);
  });

  it('lose about the share that is asked for, the same ones with the same seed', async () => {
    conditions = { lostRequests: 0.3 };
    const came = await Promise.allSettled(Array.from({ length: 100 }, () => ask()));
    const lost = came.filter(({ status }) => status === 'rejected').length;
    assert.equal(server.asked.length, 100 - lost);
    assert.ok(lost >= 15 && lost <= 45, `${lost} of 100`);
    const random = seededRandom(7);
    assert.equal(lost, Array.from({ length: 100 }, random).filter((number) => number < 0.3).length);
  });

  it('answer with a status instead of the server', async () => {
    const kinds: readonly [NetworkConditions, TransportErrorKind][] = [
      [{ errorStatus: 401 }, 'unauthorized'],
      [{ errorStatus: 403 }, 'forbidden'],
      [{ errorStatus: 409 }, 'epoch-changed'],
      [{ errorStatus: 409, errorCode: 'EPOCH_CHANGED' }, 'epoch-changed'],
      [{ errorStatus: 409, errorCode: 'HISTORY_CHANGED' }, 'history-changed'],
      [{ errorStatus: 410 }, 'cursor-expired'],
      [{ errorStatus: 413 }, 'too-large'],
      [{ errorStatus: 418 }, 'refused'],
      [{ errorStatus: 426 }, 'unsupported'],
      [{ errorStatus: 429 }, 'overloaded'],
      [{ errorStatus: 503 }, 'overloaded'],
      [{ errorStatus: 503, errorCode: 'HISTORY_CHANGED' }, 'overloaded'],
    ];
    for (const [given, kind] of kinds) {
      conditions = given;
      assert.equal((await fails(kind)).details.status, given.errorStatus);
    }
    assert.equal(server.asked.length, 0);
  });

  it('answer as the server itself would with each of its statuses and those of a proxy', async () => {
    const codes = SYNC_ERROR_CODES.filter((code) => code !== 'TOKEN_EXPIRED');
    const answers = codes.map((code) => [SYNC_ERROR_STATUS[code], code] as const);
    for (const [status, code] of [...answers, [418, undefined] as const, [502, undefined] as const]) {
      const body = code === undefined ? 'nothing of the protocol' : { error: { code, message: 'so it is' } };
      script = (_, response) => answerJson(response, body, status);
      conditions = null;
      const meant = await failureOf(push());
      conditions = { errorStatus: status, ...(code === 'HISTORY_CHANGED' ? { errorCode: code } : {}) };
      const played = await failureOf(push());
      assert.deepEqual([played.kind, played.details], [meant.kind, meant.details], `${status} ${code}`);
    }
  });

  it('hold a request back for the latency, by the clock that is passed in', async () => {
    conditions = { latencyMs: 5_000 };
    const asked = ask();
    assert.deepEqual(clock.waits, [5_000]);
    clock.advance(4_999);
    assert.equal(server.asked.length, 0);
    clock.advance(1);
    assert.deepEqual(await asked, DIGEST);
  });

  it('let go of a request that is cancelled while it is held back', async () => {
    conditions = { latencyMs: 5_000 };
    const controller = new AbortController();
    const asked = ask(controller.signal);
    controller.abort();
    await assert.rejects(asked, (error) => error instanceof TransportError && error.kind === 'cancelled');
    assert.deepEqual(clock.waits, []);
    assert.equal(server.asked.length, 0);
  });
});
