// Time, chance and quiet of a simulation. Time moves only from one timer to the next, and only once everything that the last
// one caused has come to rest; so that a seed gives the same history every time.
import type { Clock } from '../../src/db/clock.ts';
import { seededRandom } from '../support/virtual-clock.ts';

interface Timer {
  readonly order: number;
  readonly owner: Machine;
  at: number;
  readonly callback: () => void;
}

/** What has a clock of its own: its wall clock may be wrong, it may sleep, and it may be gone. */
export class Machine {
  /** Milliseconds its wall clock is ahead. */
  offset = 0;
  asleepUntil = 0;
  isGone = false;
}

/** Rounds of the event loop in which nothing was under way: then nothing more comes by itself. */
const QUIET_ROUNDS = 4;
const LONGEST_ROUNDS = 200_000;

export class World {
  now = Date.UTC(2026, 0, 1);
  /** Statements and other real work under way. */
  underWay = 0;
  readonly #timers = new Set<Timer>();
  #order = 0;

  clockOf(machine: Machine): Clock {
    return {
      now: () => this.now + machine.offset,
      setTimer: (callback, milliseconds) => {
        const timer = {
          order: (this.#order += 1),
          owner: machine,
          at: this.now + Math.max(0, milliseconds),
          callback,
        };
        this.#timers.add(timer);
        return () => void this.#timers.delete(timer);
      },
    };
  }

  async counted<T>(work: () => Promise<T>): Promise<T> {
    this.underWay += 1;
    try {
      return await work();
    } finally {
      this.underWay -= 1;
    }
  }

  /** Lets everything that has begun come to where it waits for time or for the network. */
  async settle(): Promise<void> {
    let quiet = 0;
    for (let rounds = 0; quiet < QUIET_ROUNDS; rounds++) {
      if (rounds > LONGEST_ROUNDS) throw new Error('The simulation does not come to rest.');
      await new Promise((resolve) => setImmediate(resolve));
      quiet = this.underWay === 0 ? quiet + 1 : 0;
    }
  }

  async advance(milliseconds: number): Promise<void> {
    const end = this.now + milliseconds;
    for (let timer = this.#next(end); timer !== undefined; timer = this.#next(end)) {
      this.now = Math.max(this.now, timer.at);
      this.#timers.delete(timer);
      timer.callback();
      await this.settle();
    }
    this.now = end;
  }

  #next(end: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.owner.isGone) {
        this.#timers.delete(timer);
        continue;
      }
      // Who sleeps does what was due when it wakes.
      timer.at = Math.max(timer.at, timer.owner.asleepUntil);
      if (timer.at > end) continue;
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer;
    }
    return first;
  }
}

export class Chance {
  readonly next: () => number;

  constructor(seed: number) {
    this.next = seededRandom(seed);
  }

  /** True in this share of all cases. */
  happens(share: number): boolean {
    return this.next() < share;
  }

  /** A whole number from 0 up to, and without, `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<T>(list: readonly T[]): T {
    const chosen = list[this.below(list.length)];
    if (chosen === undefined) throw new Error('There is nothing to choose from.');
    return chosen;
  }
}
