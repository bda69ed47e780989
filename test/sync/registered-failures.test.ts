// What a transport of another extension says of its own failures, as it reaches the engine's side: above all whether a push
// may have taken effect, which must never be taken for certain where nobody said so.
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import {
  type MessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
  createMessageConnection,
} from 'vscode-jsonrpc/node';
import type { PushRequest } from '../../src/protocol/sync.ts';
import { type SyncTransport, TransportError } from '../../src/sync/transport.ts';
import { remoteTransports } from '../../src/worker/remote-transport.ts';
import { serveTransports } from '../../src/worker/serve-transports.ts';
import { TransportRegistry } from '../../src/worker/transport-registry.ts';

const PUSH: PushRequest = { clientId: 'client', epoch: 'e1', cursor: null, changes: [] };
const call = (timeoutMs = 10_000) => ({ signal: new AbortController().signal, timeoutMs });

describe('A registered transport that fails', () => {
  const connections: MessageConnection[] = [];
  let registry: TransportRegistry;
  let transport: SyncTransport;

  beforeEach(() => {
    const [there, back] = [new PassThrough(), new PassThrough()];
    const connection = (from: PassThrough, to: PassThrough): MessageConnection => {
      const made = createMessageConnection(new StreamMessageReader(from), new StreamMessageWriter(to));
      made.listen();
      connections.push(made);
      return made;
    };
    registry = new TransportRegistry();
    serveTransports(connection(there, back), registry);
    transport = remoteTransports(connection(back, there))({ url: 'shelf:here', token: 'token', space: 'team' });
  });

  afterEach(() => {
    for (const connection of connections.splice(0)) connection.dispose();
  });

  /** How a push fails whose transport throws this. */
  async function failureOfPush(thrown: unknown): Promise<TransportError> {
    // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- other people's code throws what it likes
    const fail = (): Promise<never> => Promise.reject(thrown);
    const methods = { info: fail, push: fail, pull: fail, snapshot: fail, digest: fail, bucket: fail };
    const unregister = registry.register('shelf', () => methods);
    try {
      return await failed(transport.push(PUSH, call()));
    } finally {
      unregister();
    }
  }

  async function failed(request: Promise<unknown>): Promise<TransportError> {
    const error: unknown = await request.then(
      () => assert.fail('should have failed'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof TransportError, String(error));
    return error;
  }

  it('says itself whether a push may have taken effect', async () => {
    for (const mayHaveTakenEffect of [true, false]) {
      const details = { status: 503, retryAfterMs: 60_000, mayHaveTakenEffect };
      const failure = await failureOfPush(Object.assign(new Error('Paused.'), { kind: 'overloaded', details }));
      assert.deepEqual([failure.kind, failure.details.retryAfterMs], ['overloaded', 60_000]);
      assert.equal(failure.mayHaveTakenEffect, mayHaveTakenEffect);
    }
  });

  it('leaves a push in doubt where it says nothing of it, whatever its kind', async () => {
    const kinds = ['unauthorized', 'unreachable', 'refused', 'cancelled'];
    const errors = kinds.map((kind) => Object.assign(new Error('no'), { kind }));
    for (const thrown of [...errors, new Error('of another kind'), 'no error', undefined]) {
      assert.equal((await failureOfPush(thrown)).mayHaveTakenEffect, true);
    }
  });

  it('leaves a push in doubt when it gives no answer in time, or one that is not the protocol’s', async () => {
    const never = (): Promise<never> => new Promise(() => undefined);
    const strange = () => Promise.resolve({ epoch: 'e1' } as never);
    for (const push of [never, strange]) {
      const methods = { info: never, pull: never, snapshot: never, digest: never, bucket: never };
      const unregister = registry.register('shelf', () => ({ ...methods, push }));
      const failure = await failed(transport.push(PUSH, call(50)));
      assert.equal(failure.kind, push === never ? 'timed-out' : 'not-understood');
      assert.equal(failure.mayHaveTakenEffect, true);
      unregister();
    }
  });

  it('that nobody has registered is known to have done nothing', async () => {
    assert.equal((await failed(transport.push(PUSH, call()))).mayHaveTakenEffect, false);
  });
});
