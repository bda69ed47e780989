// How many changes stand in the way of synchronisation, counted by the database and only after something may have moved.
import type { Clock } from '../db/clock.ts';
import { isLocalStage, isPushStage } from '../db/change-row.ts';
import type { Session } from '../db/database.ts';

export interface TroubleCounts {
  /** Refused by the server, without conflicts. */
  readonly refused: number;
  readonly conflicts: number;
  /** Remote changes that could not be put in place here. */
  readonly setAside: number;
  /** All that the server did not take and what waits behind it. */
  readonly stuck: number;
}

/** Milliseconds. */
const RECOUNT_AFTER = 50;

export interface TroublesParts {
  readonly clock: Clock;
  readonly read: <T>(work: (session: Session) => Promise<T>) => Promise<T>;
  readonly onError: (error: unknown) => void;
  readonly onCounted: () => void;
}

export class Troubles {
  readonly #parts: TroublesParts;
  #counts: TroubleCounts = { refused: 0, conflicts: 0, setAside: 0, stuck: 0 };
  #isStale = true;
  #isClosed = false;
  #cancelTimer: (() => void) | undefined;

  constructor(parts: TroublesParts) {
    this.#parts = parts;
  }

  get counts(): TroubleCounts {
    return this.#counts;
  }

  get isAny(): boolean {
    const { refused, conflicts, setAside, stuck } = this.#counts;
    return refused + conflicts + setAside + stuck > 0;
  }

  /** Counted before the next write, or by {@link countSoon}. */
  markStale(): void {
    this.#isStale = true;
  }

  async refresh(session: Session): Promise<void> {
    if (!this.#isStale) return;
    this.#isStale = false;
    const [row] = await session.run<{ refused: number; conflicts: number; aside: number; stuck: number }>(
      `SELECT count(*) FILTER (WHERE c.status = 'failed' AND ${isPushStage('c')}) AS refused,
         count(*) FILTER (WHERE c.status = 'conflicted') AS conflicts,
         count(*) FILTER (WHERE c.status = 'failed' AND c.origin = 'remote') AS aside,
         count(*) FILTER (WHERE ${isPushStage('c')}) AS stuck
       FROM local_changes c WHERE c.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND NOT (${isLocalStage('c')})`,
    );
    this.#counts = {
      refused: row?.refused ?? 0,
      conflicts: row?.conflicts ?? 0,
      setAside: row?.aside ?? 0,
      stuck: row?.stuck ?? 0,
    };
    this.#parts.onCounted();
  }

  /** Also where nothing else is written: what a person has just taken away must not be shown on. */
  countSoon(): void {
    this.#isStale = true;
    if (this.#isClosed) return;
    this.#cancelTimer ??= this.#parts.clock.setTimer(() => {
      this.#cancelTimer = undefined;
      if (!this.#isClosed) this.#parts.read((session) => this.refresh(session)).catch(this.#parts.onError);
    }, RECOUNT_AFTER);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer?.();
  }
}
