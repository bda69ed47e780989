// How many changes stand in the way of synchronisation or stay on this machine, counted by the database and only after
// something may have moved.
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
  /** Entities that the server's earlier history had and its new one lacks: a person is asked. */
  readonly missing: number;
  /** Applied changes of entity types that stay on this machine: nobody waits for them. */
  readonly kept: number;
}

const NONE: TroubleCounts = { refused: 0, conflicts: 0, setAside: 0, stuck: 0, missing: 0, kept: 0 };

/** Milliseconds. */
const RECOUNT_AFTER = 50;

export interface TroublesParts {
  readonly clock: Clock;
  readonly read: <T>(work: (session: Session) => Promise<T>) => Promise<T>;
  readonly localOnlyTypes: () => readonly string[];
  readonly onError: (error: unknown) => void;
  readonly onCounted: () => void;
}

export class Troubles {
  readonly #parts: TroublesParts;
  #counts = NONE;
  #isStale = true;
  #isKeptStale = false;
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

  /** Whether it may be another number of changes by now that stays on this machine. */
  get isKeptStale(): boolean {
    return this.#isKeptStale;
  }

  /** What is taken to be so until it is counted. */
  takeKept(kept: number): void {
    this.#counts = { ...this.#counts, kept };
    if (this.#parts.localOnlyTypes().length > 0) this.countKeptSoon();
  }

  /** Some changes of types that stay here have come, gone or moved. */
  countKeptSoon(): void {
    this.#isKeptStale = true;
    this.countSoon();
  }

  async refresh(session: Session): Promise<void> {
    if (!this.#isStale && !this.#isKeptStale) return;
    const was = { isStale: this.#isStale, isKeptStale: this.#isKeptStale };
    try {
      if (was.isKeptStale) await this.#countKept(session);
      if (was.isStale) await this.#count(session);
    } catch (error) {
      this.#isStale ||= was.isStale;
      this.#isKeptStale ||= was.isKeptStale;
      throw error;
    }
    this.#parts.onCounted();
  }

  async #countKept(session: Session): Promise<void> {
    this.#isKeptStale = false;
    const types = this.#parts.localOnlyTypes();
    const [row] =
      types.length === 0
        ? []
        : await session.run<{ kept: number }>(
            `SELECT count(*) AS kept FROM local_changes c WHERE c.processed_sync = false AND c.status = 'applied'
               AND c.entity_type = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))`,
            [JSON.stringify(types)],
          );
    this.#counts = { ...this.#counts, kept: row?.kept ?? 0 };
  }

  async #count(session: Session): Promise<void> {
    this.#isStale = false;
    const [row] = await session.run<{
      refused: number;
      conflicts: number;
      aside: number;
      stuck: number;
      missing: number;
    }>(
      `SELECT count(*) FILTER (WHERE c.status = 'failed' AND ${isPushStage('c')}) AS refused,
         count(*) FILTER (WHERE c.status = 'conflicted') AS conflicts,
         count(*) FILTER (WHERE c.status = 'failed' AND c.origin = 'remote') AS aside,
         count(*) FILTER (WHERE ${isPushStage('c')}) AS stuck,
         (SELECT count(*) FROM local_data.missing_entities) AS missing
       FROM local_changes c WHERE c.status IN ('retrying', 'failed', 'conflicted', 'blocked') AND NOT (${isLocalStage('c')})`,
    );
    this.#counts = {
      ...this.#counts,
      refused: row?.refused ?? 0,
      conflicts: row?.conflicts ?? 0,
      setAside: row?.aside ?? 0,
      stuck: row?.stuck ?? 0,
      missing: row?.missing ?? 0,
    };
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
