// A PGlite that can be taken from under an engine: from then on none of its calls is answered, as if the process were gone,
// while the database stays as the last statement left it. Counts the statements under way.
import { PGlite } from '@electric-sql/pglite';
import type { World } from './virtual-world.ts';

type Callable = (...args: unknown[]) => unknown;

export class CrashingPglite {
  readonly pglite: PGlite;
  readonly #inner: PGlite;
  readonly #world: World;
  readonly #subscriptions: (() => void)[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #isGone = false;
  /** Statements until the crash; null for none planned. */
  #left: number | null = null;

  constructor(inner: PGlite, world: World) {
    this.#inner = inner;
    this.#world = world;
    this.pglite = new Proxy(inner, { get: (target, name) => this.#member(target, name) });
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Resolves once it is gone. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** The statement after so many more is not run, and nothing after it. */
  crashAfter(statements: number): void {
    this.#left = statements;
  }

  /** What is open is rolled back, and the next engine finds a session of its own. */
  async crash(): Promise<void> {
    this.#go();
    for (const unsubscribe of this.#subscriptions) unsubscribe();
    await this.#world.settle();
    if (this.#inner.isInTransaction()) await this.#inner.exec('ROLLBACK');
    await this.#inner.exec('DISCARD ALL');
  }

  #go(): void {
    this.#isGone = true;
    this.#ended.resolve();
  }

  #member(target: PGlite, name: string | symbol): unknown {
    const member: unknown = Reflect.get(target, name, target);
    if (typeof member !== 'function') return member;
    if (name === 'close') return async () => undefined;
    if (name === 'onNotification')
      return (listener: (channel: string, payload: string) => void) => this.#listen(listener);
    return (...args: unknown[]) => this.#call(target, member as Callable, args);
  }

  #listen(listener: (channel: string, payload: string) => void): () => void {
    const unsubscribe = this.#inner.onNotification((channel, payload) => {
      if (!this.#isGone) listener(channel, payload);
    });
    this.#subscriptions.push(unsubscribe);
    return unsubscribe;
  }

  #call(target: PGlite, member: Callable, args: unknown[]): unknown {
    if (this.#left !== null) {
      if (this.#left === 0) this.#go();
      else this.#left -= 1;
    }
    if (this.#isGone) return never();
    const result = member.apply(target, args);
    return result instanceof Promise ? this.#answer(result) : result;
  }

  async #answer(result: Promise<unknown>): Promise<unknown> {
    this.#world.underWay += 1;
    try {
      return await result;
    } finally {
      this.#world.underWay -= 1;
      if (this.#isGone) await never();
    }
  }
}

function never(): Promise<never> {
  return new Promise(() => undefined);
}
