// Readers who wait for something new. They hold no connection; a wake reads the feed once for all who stand at one place,
// and not at all for those who stood where pushes of this very server began: they are given what those wrote. A reader who
// comes back to where the feed was just seen to end waits without another read. A wake that is lost must cost a
// delay, never a change: all spaces with readers are looked at every few seconds.
import { type Position, encodeCursor } from './cursor.ts';
import { GrownFeeds } from './grown-feeds.ts';
import { type FeedPage, type GrownFeed, type Standing, pageOfGrown } from './read-feed.ts';
import type { ServerClock } from './server-clock.ts';
import type { FeedListener, Store } from './store.ts';

export interface WaitingReadersOptions {
  readonly store: Store;
  readonly clock: ServerClock;
  readonly read: (space: string, standing: Standing, limit: number) => Promise<FeedPage>;
  readonly onReadFailed: (error: unknown) => void;
  readonly sweepMs?: number;
}

interface Waiting {
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
  /** Counts what was heard: a read says where the feed ends only if nothing was heard since it began. */
  wakes: number;
  /** The cursor at which the feed ends, as far as was heard; null when that must be read. */
  end: string | null;
  /** The last page with something new, for those who come late to it. */
  last: { readonly after: string; readonly page: FeedPage } | null;
  /** A read that is under way, for whoever asks the same before anything is heard. */
  shared: { readonly key: string; readonly wakes: number; readonly page: Promise<FeedPage> } | null;
  /** Looked at by a sweep without readers: the next one lets it go. */
  isIdle: boolean;
}

const SWEEP_MS = 5_000;
const SWEEP_AT_ONCE = 4;
/** Between two notices to other servers: each wakes the database and all of them. */
const NOTICE_GAP_MS = 20;

export class WaitingReaders {
  readonly #options: WaitingReadersOptions;
  readonly #places = new Map<string, Place>();
  #count = 0;
  #isDraining = false;
  #cancelSweep: () => void = () => undefined;
  readonly #grown = new GrownFeeds((grown) => this.#give(grown));
  readonly #listener: FeedListener = {
    onSpaces: (spaces) => {
      for (const space of spaces) void this.#wake(space);
    },
    onGap: () => void this.#sweep(),
  };
  readonly #unsent = new Set<string>();
  #sending: Promise<void> | null = null;
  #cancelGap: (() => void) | null = null;

  constructor(options: WaitingReadersOptions) {
    this.#options = options;
    options.store.listen(this.#listener);
    this.#planSweep();
  }

  get count(): number {
    return this.#count;
  }

  /**
   * Answers at once where something is there, else when something comes, or with nothing when the time is up. Registers
   * before it reads, so that nothing falls in between.
   */
  async next(
    space: string,
    standing: Standing,
    limit: number,
    milliseconds: number,
    signal: AbortSignal,
  ): Promise<FeedPage> {
    const waiting = this.#enter(space, standing, limit, milliseconds);
    signal.addEventListener('abort', waiting.leave, { once: true });
    try {
      const now = await this.#look(space, standing, limit);
      return now.count > 0 ? now : ((await waiting.page) ?? now);
    } finally {
      signal.removeEventListener('abort', waiting.leave);
      waiting.leave();
    }
  }

  /** Without a read where the reader stands at the feed's end, or comes late to what others were just given. */
  async #look(space: string, standing: Standing, limit: number): Promise<FeedPage> {
    const place = this.#placeOf(space);
    const { last } = place;
    if (last !== null && last.page.count <= limit && last.after === placeOf(standing)) return last.page;
    if (standing !== null && place.end === encodeCursor(space, standing)) return emptyPage(standing, place.end);
    return this.#readShared(space, place, standing, limit);
  }

  #readShared(space: string, place: Place, standing: Standing, limit: number): Promise<FeedPage> {
    const key = keyOf(standing, limit);
    if (place.shared?.key === key && place.shared.wakes === place.wakes) return place.shared.page;
    const { wakes } = place;
    const page = this.#options.read(space, standing, limit).then((page) => {
      if (place.wakes === wakes && !page.more) place.end = page.cursor;
      if (page.count > 0) place.last = { after: placeOf(standing), page };
      return page;
    });
    const shared = { key, wakes, page };
    place.shared = shared;
    const forget = (): void => {
      if (place.shared === shared) place.shared = null;
    };
    page.then(forget, forget);
    return page;
  }

  #placeOf(space: string): Place {
    const place = this.#places.get(space) ?? {
      readers: new Set<Reader>(),
      isReading: false,
      isStale: false,
      wakes: 0,
      end: null,
      last: null,
      shared: null,
      isIdle: false,
    };
    place.isIdle = false;
    this.#places.set(space, place);
    return place;
  }

  #enter(space: string, standing: Standing, limit: number, milliseconds: number): Waiting {
    const place = this.#placeOf(space);
    let leave: () => void = () => undefined;
    const page = new Promise<FeedPage | null>((resolve, reject) => {
      const cancelTimer = this.#options.clock.setTimer(() => reader.settle(null), milliseconds);
      leave = () => {
        cancelTimer();
        if (!place.readers.delete(reader)) return;
        this.#count -= 1;
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

  /** Something was committed here: for the readers of this server from memory, for those of others by one notice for many. */
  committed(grown: GrownFeed): void {
    if (!this.#grown.add(grown)) void this.#wake(grown.space);
    this.#unsent.add(grown.space);
    if (this.#sending === null && this.#cancelGap === null) this.#send();
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
    this.#cancelGap?.();
    if (this.#unsent.size > 0) this.#send();
    await this.#sending;
    this.#cancelGap?.();
  }

  /** At once where nothing was told for a while; then not before the gap is over, with all that has come meanwhile. */
  #send(): void {
    const spaces = [...this.#unsent];
    this.#unsent.clear();
    const { store, clock, onReadFailed } = this.#options;
    this.#sending = store
      .notify(spaces, this.#listener)
      // The others' sweep finds it.
      .catch((error: unknown) => onReadFailed(error))
      .finally(() => {
        this.#sending = null;
        this.#cancelGap = clock.setTimer(() => {
          this.#cancelGap = null;
          if (this.#unsent.size > 0) this.#send();
        }, NOTICE_GAP_MS);
      });
  }

  /** To those who stand where it begins or within it; the others, who missed something before, are woken. */
  #give(grown: GrownFeed): void {
    const { space, after } = grown;
    const place = this.#places.get(space);
    if (place === undefined) return;
    const page = place.readers.size === 0 || place.isReading ? null : pageOfGrown(grown, after);
    if (page === null) {
      void this.#wake(space);
      return;
    }
    heard(place);
    for (const readers of groupsOf(place.readers).values()) {
      const [{ standing, limit }] = readers;
      const rest = placeOf(standing) === placeOf(after) ? page : pageOfGrown(grown, standing);
      if (rest !== null && rest.count <= limit) for (const reader of readers) reader.settle(rest);
    }
    place.end = page.cursor;
    place.last = { after: placeOf(after), page };
    const isAtEnd = ({ standing }: Reader): boolean =>
      standing !== null && encodeCursor(space, standing) === page.cursor;
    if (![...place.readers].every(isAtEnd)) void this.#readFor(space, place);
  }

  async #wake(space: string): Promise<void> {
    const place = this.#places.get(space);
    if (place === undefined) return;
    this.#grown.forget(space);
    heard(place);
    if (place.isReading) place.isStale = true;
    else await this.#readFor(space, place);
  }

  async #readFor(space: string, place: Place): Promise<void> {
    place.isReading = true;
    try {
      do {
        place.isStale = false;
        await Promise.all(
          [...groupsOf(place.readers).values()].map((readers) => this.#readOnce(space, place, readers)),
        );
      } while (place.isStale && place.readers.size > 0);
    } finally {
      place.isReading = false;
    }
  }

  async #readOnce(space: string, place: Place, readers: readonly [Reader, ...Reader[]]): Promise<void> {
    const [{ standing, limit }] = readers;
    try {
      const page = await this.#readShared(space, place, standing, limit);
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
        if (place.readers.size === 0 && place.isIdle) this.#places.delete(space);
        place.isIdle = place.readers.size === 0;
        await this.#wake(space);
      }
    };
    await Promise.all(Array.from({ length: SWEEP_AT_ONCE }, next));
  }
}

function groupsOf(readers: Iterable<Reader>): ReadonlyMap<string, [Reader, ...Reader[]]> {
  const groups = new Map<string, [Reader, ...Reader[]]>();
  for (const reader of readers) {
    const key = keyOf(reader.standing, reader.limit);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [reader]);
    else group.push(reader);
  }
  return groups;
}

function emptyPage({ epoch, version }: Position, cursor: string): FeedPage {
  return { epoch, changes: '[]', count: 0, cursor, version, more: false };
}

function keyOf(standing: Standing, limit: number): string {
  return `${limit} ${placeOf(standing)}`;
}

function placeOf(standing: Standing): string {
  return standing === null ? '' : `${standing.epoch} ${standing.version} ${standing.id}`;
}

/** Something may have come: what was seen of the feed's end no longer holds. */
function heard(place: Place): void {
  place.wakes += 1;
  place.end = null;
  place.last = null;
}
