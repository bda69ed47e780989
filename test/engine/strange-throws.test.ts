// A step of applying throws something strange: circular, huge, undefined, not an Error at all. It is stored with its
// change, trimmed, and the loop lives. Everything is real but the one statement that throws.
import assert from 'node:assert/strict';
import { systemClock } from '../../src/db/clock.ts';
import type { Database, Session } from '../../src/db/database.ts';
import { openDatabase } from '../../src/db/open-database.ts';
import { LocalDataEngine } from '../../src/engine/local-data-engine.ts';
import { httpTransport } from '../../src/sync/http-transport.ts';

const circular: Record<string, unknown> = { name: 'circular' };
circular['itself'] = circular;
const unreadable = new Proxy(
  {},
  {
    get: () => {
      throw new Error('do not look at me');
    },
  },
);

const STRANGE: Readonly<Record<string, { readonly thrown: unknown; readonly says: RegExp }>> = {
  undefined: { thrown: undefined, says: /no Error was thrown: undefined/ },
  null: { thrown: null, says: /no Error was thrown: null/ },
  'a number': { thrown: 42, says: /no Error was thrown: 42/ },
  'a text': { thrown: 'just a text', says: /^just a text$/ },
  'a circular object': { thrown: circular, says: /cannot be described/ },
  'a symbol': { thrown: Symbol('odd'), says: /odd|cannot be described/ },
  'an object that throws when looked at': { thrown: unreadable, says: /cannot be described/ },
  'an Error with a huge message': {
    thrown: new RangeError('x'.repeat(5_000_000)),
    says: /^RangeError: x+… \(5000012 characters\)$/,
  },
};

describe('a step that throws', function () {
  let data: LocalDataEngine;
  let thrown: { readonly what: unknown } | undefined;
  const background: unknown[] = [];

  before(async () => {
    const opened = await openDatabase({});
    data = await LocalDataEngine.start({
      opened: { ...opened, database: throwing(opened.database, /INSERT INTO \S*tasks/, () => thrown) },
      startedAt: performance.now(),
      clock: systemClock,
      random: undefined,
      retry: { attempts: 2, baseDelayMs: 3_600_000, maxDelayMs: 3_600_000 },
      maxPayloadBytes: 10_000,
      startProcessor: true,
      batchSize: 100,
      onBackgroundError: (error) => background.push(error),
      openTransport: httpTransport,
    });
    await data.exec('CREATE TABLE tasks (id text PRIMARY KEY, title text)');
    await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
  });

  after(() => data.close());

  for (const [name, { thrown: what, says }] of Object.entries(STRANGE)) {
    it(`${name}: it is stored with the change, trimmed, and the loop lives`, async () => {
      thrown = { what };
      const change = await data.recordChange('Task', name, 'insert', { title: name });
      await data.whenIdle();
      thrown = undefined;
      const stored = await data.getChange(change.id);
      assert.ok(stored);
      assert.deepEqual([stored.status, stored.attempts, stored.failure?.code], ['retrying', 1, 'INTERNAL']);
      assert.match(stored.error ?? '', says);
      assert.ok((stored.error ?? '').length < 2_100);
      const next = await data.recordChange('Task', `after ${name}`, 'insert', { title: 'fine' });
      await data.whenIdle();
      assert.equal((await data.getChange(next.id))?.status, 'applied');
      await data.retryChange(change.id);
      await data.whenIdle();
      assert.equal((await data.getChange(change.id))?.status, 'applied');
      assert.deepEqual(background, []);
    });
  }
});

/** The database, whose statements that match throw what `trouble` holds while it holds something. */
function throwing(
  database: Database,
  statement: RegExp,
  trouble: () => { readonly what: unknown } | undefined,
): Database {
  const session = (real: Session): Session =>
    overridden(real, (...args) => {
      const now = trouble();
      // oxlint-disable-next-line no-throw-literal -- strange throws are the subject
      if (now !== undefined && typeof args[0] === 'string' && statement.test(args[0])) throw now.what;
    });
  return new Proxy(database, {
    get: (target, name) => {
      if (name === 'exclusive')
        return <T>(work: (one: Session) => Promise<T>) => target.exclusive((one) => work(session(one)));
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Calls `before` with the arguments of every method first. */
function overridden<T extends object>(real: T, before: (...args: readonly unknown[]) => void): T {
  return new Proxy(real, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        before(...args);
        return Reflect.apply(value, target, args) as unknown;
      };
    },
  });
}
