// Clears spaces up as time goes by: the feed's far end, ids that nobody can send again, and the marks of deleted entities.
// Whoever needs what is gone is told so (CURSOR_EXPIRED) and starts from a snapshot; never is a reader left with a gap. A space
// is cleared when somebody has used it, so that nothing here has to look at all spaces together.
import { SYNC_LIMITS } from '../protocol/sync.ts';
import type { Metrics } from './metrics.ts';
import type { ServerClock } from './server-clock.ts';
import { type ServerLogger, describeError } from './server-log.ts';
import { STATEMENTS } from './statements.ts';
import type { Store } from './store.ts';

const DAY = 86_400_000;
const FEWEST_ID_DAYS = SYNC_LIMITS.idDays;

export interface RetentionOptions {
  /** Days that the feed reaches back. Default 30. */
  readonly feedDays: number;
  /** Changes that a space's feed keeps at most. Default 1,000,000. */
  readonly feedRows: number;
  /** Days that ids of applied changes are known, and deleted entities remembered; 180 at least, and that is the default. */
  readonly idDays: number;
  /** Milliseconds between two clearings of one space. Default an hour. */
  readonly everyMs: number;
}

export interface RetentionParts extends Partial<RetentionOptions> {
  readonly store: Store;
  readonly clock: ServerClock;
  readonly logger: ServerLogger;
  readonly metrics: Metrics;
}

const DEFAULTS: RetentionOptions = { feedDays: 30, feedRows: 1_000_000, idDays: FEWEST_ID_DAYS, everyMs: 3_600_000 };
/** Rows that one statement takes: no push waits long for a space that is being cleared. */
const STEP = 5_000;

export class Retention {
  readonly #parts: RetentionParts;
  readonly #options: RetentionOptions;
  #cancelTimer: () => void = () => undefined;
  #isClosed = false;
  readonly #used = new Set<string>();
  #running: Promise<void> | null = null;

  constructor(parts: RetentionParts) {
    const { feedDays, feedRows, idDays, everyMs } = { ...DEFAULTS, ...parts };
    if (!(idDays >= FEWEST_ID_DAYS)) {
      throw new TypeError(`retention.idDays is ${idDays}; ids are known for ${FEWEST_ID_DAYS} days at least.`);
    }
    // Whoever is too old for the ids must be too old for the feed as well, or a change could take effect twice.
    if (feedDays > idDays) {
      throw new TypeError(`retention.feedDays is ${feedDays} and more than idDays, which is ${idDays}; raise idDays.`);
    }
    if (!(feedDays > 0 && feedRows > 0 && everyMs > 0)) {
      throw new TypeError('retention.feedDays, feedRows and everyMs must be more than 0.');
    }
    this.#parts = parts;
    this.#options = { feedDays, feedRows, idDays, everyMs };
    this.#plan();
  }

  use(space: string): void {
    this.#used.add(space);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTimer();
    await this.#running;
  }

  #plan(): void {
    if (this.#isClosed) return;
    this.#cancelTimer = this.#parts.clock.setTimer(() => {
      this.#running = this.#clearAll().finally(() => this.#plan());
    }, this.#options.everyMs);
  }

  async #clearAll(): Promise<void> {
    const { store, logger } = this.#parts;
    const used = [...this.#used];
    this.#used.clear();
    try {
      for (const space of used) if (!this.#isClosed) await this.#clear(space);
      if (!this.#isClosed) await store.maintain();
    } catch (error) {
      // The next turn goes on; nothing depends on when this happens.
      logger.warn({ error: describeError(error) }, 'retention did not come to its end');
    }
  }

  async #clear(space: string): Promise<void> {
    const { store, clock, metrics } = this.#parts;
    // Of several servers one does it: the time of the last clearing is taken up with a lock.
    const due = clock.now() - this.#options.everyMs / 2;
    const [mine] = await store.run(STATEMENTS.takeRetentionTurn, [space, clock.now(), due]);
    if (mine === undefined) return;
    const oldest = clock.now() - this.#options.idDays * DAY;
    while (await this.#clearFeed(space)) if (this.#isClosed) return;
    const ids = await this.#forget(STATEMENTS.forgetIds, space, oldest);
    const tombstones = await this.#forget(STATEMENTS.forgetTombstones, space, oldest);
    const help = 'Rows that retention took.';
    metrics.count('local_data_retained_total', help, 'what="ids"', ids);
    metrics.count('local_data_retained_total', help, 'what="tombstones"', tombstones);
  }

  /** The start moves with the rows in one transaction, under the lock that pushes take. */
  async #clearFeed(space: string): Promise<boolean> {
    const { store, clock } = this.#parts;
    return store.transaction(async (session) => {
      const [row] = await session.run<{ version: number }>(STATEMENTS.lockSpace, [space]);
      if (row === undefined) return false;
      const values = [space, clock.now() - this.#options.feedDays * DAY, row.version - this.#options.feedRows, STEP];
      const [cut] = await session.run<{ version: number; id: string }>(STATEMENTS.findFeedCut, values);
      if (cut === undefined) return false;
      await session.run(STATEMENTS.moveFeedStart, [space, cut.version, cut.id]);
      await session.run(STATEMENTS.deleteFeed, [space, cut.version]);
      return true;
    });
  }

  async #forget(
    statement: (typeof STATEMENTS)['forgetIds' | 'forgetTombstones'],
    space: string,
    before: number,
  ): Promise<number> {
    let total = 0;
    for (;;) {
      const { length } = await this.#parts.store.run(statement, [space, before, STEP]);
      total += length;
      if (length < STEP || this.#isClosed) return total;
    }
  }
}
