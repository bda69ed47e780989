// Transports that are registered in one thread and used by the engine in another: the shipped worker, the example's transport.
import assert from 'node:assert/strict';
import type { PushedChange } from '../../src/protocol/sync.ts';
import type { SyncState } from '../../src/protocol/sync-state.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import { openInWorker } from '../../src/worker/open-in-worker.ts';
import type { SupervisedEngine } from '../../src/worker/supervised-engine.ts';
import { TransportRegistry } from '../../src/worker/transport-registry.ts';
import { Shelf } from '../fixtures/example-transport/shelf.cjs';
import { workerFile } from './worker-file.ts';

const TOKEN = 'secret-token-of-this-test';

describe('A registered transport', function () {
  this.timeout(60_000);
  let registry: TransportRegistry;
  let shelf: Shelf;
  const engines: SupervisedEngine[] = [];

  beforeEach(() => {
    registry = new TransportRegistry();
    shelf = new Shelf();
  });

  afterEach(() => Promise.all(engines.splice(0).map((engine) => engine.close())));

  async function open(): Promise<SupervisedEngine> {
    const engine = await openInWorker({ workerFile: workerFile(), engine: { memory: true }, transports: registry });
    engines.push(engine);
    return engine;
  }

  const connect = ({ data }: SupervisedEngine, url = 'shelf:here'): Promise<SyncState> => {
    return data.sync.connect({ url, token: TOKEN, space: 'team' });
  };

  /** The example's transport with other behaviour in places. */
  const shelfWith = (other: Partial<SyncTransport>): OpenTransport => {
    return (options) => ({ ...shelf.open(options), ...other });
  };

  async function refusalOf(connecting: Promise<unknown>): Promise<LocalDataError> {
    const error: unknown = await connecting.then(
      () => assert.fail('should have been refused'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof LocalDataError, String(error));
    assert.ok(!JSON.stringify([error.message, error.details]).includes(TOKEN), error.message);
    return error;
  }

  it('brings the changes of one database to another', async () => {
    registry.register('shelf', (options) => shelf.open(options));
    const [here, there] = [await open(), await open()];
    for (const { data } of [here, there]) await data.registerEntityType({ entityType: 'Note' });
    await connect(here);
    await connect(there);
    await here.data.upsertEntity('Note', 'n1', { text: 'Remember the milk' });
    await here.data.sync.whenSynced();
    await there.data.sync.whenSynced();
    assert.equal((await there.data.getEntity('Note', 'n1'))?.text, 'Remember the milk');
    assert.deepEqual((await there.data.sync.verify()).differences, []);
  });

  it('as the example makes one, holds a transaction back as a whole, and what stands behind it', async () => {
    const transport = shelf.open({ url: 'shelf:here', token: TOKEN, space: 'team' });
    const call = { signal: new AbortController().signal, timeoutMs: 1_000 };
    const { epoch } = await transport.info(call);
    const push = async (clientId: string, changes: readonly [string, string, string | null][]) => {
      const { results } = await transport.push(
        {
          clientId,
          epoch,
          cursor: null,
          changes: changes.map(([id, entityId, transactionId]) => insert(id, entityId, transactionId)),
        },
        call,
      );
      return results.map((result) => (result.outcome === 'held' ? `held by ${result.by}` : result.outcome));
    };
    assert.deepEqual(await push('ann', [['a1', 'x', null]]), ['applied']);
    const changes: [string, string, string | null][] = [
      ['b1', 'y', 't'],
      ['b2', 'x', 't'],
      ['b3', 'y', null],
      ['b4', 'z', null],
    ];
    assert.deepEqual(await push('ben', changes), ['held by b2', 'conflict', 'held by b1', 'applied']);
    assert.deepEqual(await push('ben', [['b4', 'z', null]]), ['duplicate']);
  });

  it('is told to be missing where nobody registered the scheme', async () => {
    const engine = await open();
    const error = await refusalOf(connect(engine));
    assert.equal(error.code, 'SYNC_UNREACHABLE');
    assert.equal(error.details.code, 'NO_TRANSPORT');
    assert.match(error.message, /"shelf:"/);
  });

  it('that is taken back leaves the database offline, and it goes on once one is registered again', async () => {
    const unregister = registry.register('shelf', (options) => shelf.open(options));
    const engine = await open();
    await engine.data.registerEntityType({ entityType: 'Note' });
    await connect(engine);
    await engine.data.sync.whenSynced();
    unregister();
    await engine.data.upsertEntity('Note', 'n1', { text: 'later' });
    await stateWhere(engine, ({ status }) => status === 'offline');
    assert.match((await engine.data.sync.state()).reason ?? '', /"shelf:"/);
    registry.register('shelf', (options) => shelf.open(options));
    await engine.data.sync.whenSynced();
    assert.equal((await engine.data.sync.state()).waiting, 0);
  });

  it('asks for another token by throwing what says so', async () => {
    registry.register('shelf', (options) => shelf.open(options));
    const engine = await open();
    const connecting = engine.data.sync.connect({ url: 'shelf:here', token: 'wrong', space: 'team' });
    assert.equal((await refusalOf(connecting)).code, 'SYNC_SIGN_IN_NEEDED');
  });

  it('that fails in a way of its own, the token in its words, counts as a server that cannot be reached', async () => {
    const fail = (): Promise<never> => Promise.reject(new TypeError(`bad token ${TOKEN}`));
    registry.register('shelf', shelfWith({ info: fail }));
    const error = await refusalOf(connect(await open()));
    assert.deepEqual([error.code, error.details.code], ['SYNC_UNREACHABLE', 'TRANSPORT_FAILED']);
  });

  it('is not believed when it answers nothing, what the protocol does not know, or what is no plain data', async () => {
    const engine = await open();
    for (const answer of [undefined, { epoch: 5 }, { epoch: 1n }]) {
      const unregister = registry.register('shelf', shelfWith({ info: () => Promise.resolve(answer as never) }));
      const error = await refusalOf(connect(engine));
      assert.equal(error.details.kind, 'not-understood');
      unregister();
    }
  });

  it('that lacks a method is refused by its name', async () => {
    registry.register('shelf', (options) => ({ ...shelf.open(options), digest: undefined as never }));
    const error = await refusalOf(connect(await open()));
    assert.match(error.message, /no method digest/);
  });

  it('is told by its signal when the database disconnects, and need not heed it', async () => {
    const pulling = Promise.withResolvers<AbortSignal>();
    const closed = Promise.withResolvers<void>();
    const pull: SyncTransport['pull'] = (query, call) => {
      if (query.wait === 0) return shelf.open({ url: 'shelf:here', token: TOKEN, space: 'team' }).pull(query, call);
      pulling.resolve(call.signal);
      return new Promise(() => undefined);
    };
    registry.register('shelf', shelfWith({ pull, close: () => closed.resolve() }));
    const engine = await open();
    await connect(engine);
    const signal = await pulling.promise;
    const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
    await engine.data.sync.disconnect();
    await Promise.all([aborted, closed.promise]);
  });

  it('is refused for schemes that are built in, taken or none', () => {
    registry.register('shelf', (options) => shelf.open(options));
    for (const scheme of ['http', 'https', 'shelf', '', 'Shelf', 'sh elf', 'shelf:', 5 as never]) {
      assert.throws(
        () => registry.register(scheme, (options) => shelf.open(options)),
        (error) => LocalDataError.isCode(error, 'INVALID_ARGUMENT'),
        String(scheme),
      );
    }
  });
});

function insert(id: string, entityId: string, transactionId: string | null): PushedChange {
  const data = { by: id };
  return { id, entityType: 'Note', entityId, operation: 'insert', data, baseVersion: 0, timestamp: 1, transactionId };
}

function stateWhere({ data }: SupervisedEngine, holds: (state: SyncState) => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = (state: SyncState): void => {
      if (!holds(state)) return;
      stop();
      resolve();
    };
    const stop = data.stores.sync.subscribe(look);
    look(data.stores.sync.getState());
  });
}
