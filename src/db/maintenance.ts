// What Postgres leaves to background processes that PGlite does not have: checkpoints, so that the WAL stays short, and
// vacuum, so that applied changes do not leave ten times their size behind. Done when nothing else is to do.
import type { Clock } from './clock.ts';
import type { Database } from './database.ts';

const IDLE_MS = 2_000;
const CHECKPOINT_WAL_BYTES = 16 * 1024 * 1024;
/** Row versions left behind before a vacuum pays. */
const VACUUM_AFTER_CHANGES = 5_000;

export class Maintenance {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #isIdle: () => boolean;
  readonly #onError: (error: unknown) => void;
  #changesSinceVacuum = 0;
  #cancelTimer: (() => void) | undefined;

  constructor(database: Database, clock: Clock, isIdle: () => boolean, onError: (error: unknown) => void) {
    this.#database = database;
    this.#clock = clock;
    this.#isIdle = isIdle;
    this.#onError = onError;
  }

  /** Something was written; work is done once nothing has been for a while. */
  written(changes: number): void {
    this.#changesSinceVacuum += changes;
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.setTimer(() => void this.#runWhenIdle(), IDLE_MS);
  }

  dispose(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  async #runWhenIdle(): Promise<void> {
    this.#cancelTimer = undefined;
    if (!this.#isIdle()) return;
    try {
      await this.#run();
    } catch (error) {
      this.#onError(error);
    }
  }

  async #run(): Promise<void> {
    await this.#database.exclusive(async (session) => {
      if (this.#changesSinceVacuum >= VACUUM_AFTER_CHANGES) {
        this.#changesSinceVacuum = 0;
        await session.script('VACUUM (ANALYZE) local_changes');
      }
      const [row] = await session.run<{ bytes: number }>(
        `SELECT (pg_current_wal_insert_lsn() - redo_lsn)::int8 AS bytes FROM pg_control_checkpoint()`,
      );
      if ((row?.bytes ?? 0) > CHECKPOINT_WAL_BYTES) await session.script('CHECKPOINT');
    });
  }
}
