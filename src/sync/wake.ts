// A wait that is ended by a wake, by time or by a signal. A wake that comes before the wait is not lost.
import type { Clock } from '../db/clock.ts';

export class Wake {
  readonly #clock: Clock;
  readonly #waiting = new Set<() => void>();
  #count = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Wakes so far; give it to {@link waitBeyond} to miss none. */
  get count(): number {
    return this.#count;
  }

  wake(): void {
    this.#count += 1;
    for (const end of this.#waiting) end();
  }

  wait(signal: AbortSignal, milliseconds?: number): Promise<void> {
    return this.waitBeyond(this.#count, signal, milliseconds);
  }

  /** Returns at once when a wake came since `count`. Without `milliseconds` it waits for a wake alone. */
  async waitBeyond(count: number, signal: AbortSignal, milliseconds?: number): Promise<void> {
    if (this.#count > count || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const cancelTimer = milliseconds === undefined ? undefined : this.#clock.setTimer(() => end(), milliseconds);
      const end = (): void => {
        this.#waiting.delete(end);
        cancelTimer?.();
        signal.removeEventListener('abort', end);
        resolve();
      };
      this.#waiting.add(end);
      signal.addEventListener('abort', end, { once: true });
    });
  }
}
