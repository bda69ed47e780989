// Readers who wait for something new. They hold no connection; a wake reads the feed once for all who stand at one place.
// A wake that is lost must cost a delay, never a change: all spaces with readers are looked at every few seconds.
import type { FeedPage, Standing } from './read-feed.ts';
import type { ServerClock } from './server-clock.ts';
import type { Store } from './store.ts';

export interface WaitingReadersOptions {
  readonly store: Store;
  readonly clock: ServerClock;
  readonly read: (space: string, standing: Standing, limit: number) => Promise<FeedPage>;
  readonly onReadFailed: (error: unknown) => void;
  readonly sweepMs?: number;
}

export interface Waiting {
  /** A page with something new, or null when the time is up or the server drains. */
  readonly page: Promise<FeedPage | null>;
  /** The reader has gone, or has what it needs. */
  leave(): void;
}

interface Reader {
  readonly standing: Standing;
  readonly limit: number;
  settle(page: FeedPage | null): void;
  fail(error: unknown): void;
}

interface Place {
  readonly readers: Set<Reader>;
  isReading: boolean;
  /** Woken while reading: read again. */
  isStale: boolean;
}

const SWEEP_MS = 5_000;
const SWEEP_AT_ONCE = 4;

export class WaitingReaders {
  readonly #options: WaitingReadersOptions;
  readonly #places = new Map<string, Place>();
  #count = 0;
  #isDraining = false;
  #cancelSweep: () => void = () => undefined;
  readonly #unsent = new Set<string>();
  #sending: Promise<void> | null = null;

  constructor(options: WaitingReadersOptions) {
    this.#options = options;
    options.store.listen({
      onSpaces: (spaces) => {
        for (const space of spaces) this.#wake(space);
      },
      onGap: () => void this.#sweep(),
    });
    this.#planSweep();
  }

  get count(): number {
    return this.#count;
  }

  /** Registers first; the caller reads once after that, so that nothing falls in between. */
  enter(space: string, standing: Standing, limit: number, milliseconds: number): Waiting {
    const place = this.#places.get(space) ?? { readers: new Set<Reader>(), isReading: false, isStale: false };
    this.#places.set(space, place);
    let leave: () => void = () => undefined;
    const page = new Promise<FeedPage | null>((resolve, reject) => {
      const cancelTimer = this.#options.clock.setTimer(() => reader.settle(null), milliseconds);
      leave = () => {
        cancelTimer();
        if (!place.readers.delete(reader)) return;
        this.#count -= 1;
        if (place.readers.size === 0 && this.#places.get(space) === place) this.#places.delete(space);
      };
      const reader: Reader = {
        standing,
        limit,
        settle: (page) => {
          leave();
          resolve(page);
        },
        fail: (error) => {
          leave();
          // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- handed on as it came
          reject(error);
        },
      };
      place.readers.add(reader);
      this.#count += 1;
      if (this.#isDraining) reader.settle(null);
    });
    // Whoever has left does not hear how the wait ends.
    page.catch(() => undefined);
    return { page, leave: () => leave() };
  }

  /** Something was committed here: for the readers of this server at once, for those of others by one notice for many. */
  committed(space: string): void {
    this.#wake(space);
    this.#unsent.add(space);
    this.#sending ??= this.#send().finally(() => {
      this.#sending = null;
    });
  }

  /** Answers everyone who waits, and from now on everyone who comes. */
  drain(): void {
    this.#isDraining = true;
    this.#cancelSweep();
    for (const { readers } of this.#places.values()) for (const reader of readers) reader.settle(null);
  }

  async close(): Promise<void> {
    this.drain();
    await this.#sending;
  }

  async #send(): Promise<void> {
    while (this.#unsent.size > 0) {
      const spaces = [...this.#unsent];
      this.#unsent.clear();
      try {
        await this.#options.store.notify(spaces);
      } catch (error) {
        // The others' sweep finds it.
        this.#options.onReadFailed(error);
      }
    }
  }

  #wake(space: string): void {
    const place = this.#places.get(space);
    if (place === undefined) return;
    if (place.isReading) place.isStale = true;
    else void this.#readFor(space, place);
  }

  async #readFor(space: string, place: Place): Promise<void> {
    place.isReading = true;
    try {
      do {
        place.isStale = false;
        await Promise.all([...groupsOf(place.readers).values()].map((readers) => this.#readOnce(space, readers)));
      } while (place.isStale && place.readers.size > 0);
    } finally {
      place.isReading = false;
    }
  }

  async #readOnce(space: string, readers: readonly Reader[]): Promise<void> {
    const [first] = readers;
    if (first === undefined) return;
    try {
      const page = await this.#options.read(space, first.standing, first.limit);
      if (page.count > 0) for (const reader of readers) reader.settle(page);
    } catch (error) {
      // While the database is away they go on waiting: the next sweep tries again.
      if (this.#options.store.isPassing(error)) this.#options.onReadFailed(error);
      else for (const reader of readers) reader.fail(error);
    }
  }

  #planSweep(): void {
    if (this.#isDraining) return;
    this.#cancelSweep = this.#options.clock.setTimer(() => {
      void this.#sweep().finally(() => this.#planSweep());
    }, this.#options.sweepMs ?? SWEEP_MS);
  }

  async #sweep(): Promise<void> {
    const waiting = [...this.#places];
    const next = async (): Promise<void> => {
      for (let entry = waiting.pop(); entry !== undefined; entry = waiting.pop()) {
        const [space, place] = entry;
        if (place.isReading) place.isStale = true;
        else await this.#readFor(space, place);
      }
    };
    await Promise.all(Array.from({ length: SWEEP_AT_ONCE }, next));
  }
}

function groupsOf(readers: Iterable<Reader>): ReadonlyMap<string, Reader[]> {
  const groups = new Map<string, Reader[]>();
  for (const reader of readers) {
    const { standing, limit } = reader;
    const key = standing === null ? `${limit}` : `${limit} ${standing.epoch} ${standing.version} ${standing.id}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [reader]);
    else group.push(reader);
  }
  return groups;
}
