// When a failed attempt is tried again: exponential backoff with jitter and a cap, up to a limit of attempts.

export interface RetryLimits {
  /** Attempts of a transient failure before it is failed for good. */
  readonly attempts: number;
  /** Milliseconds before the second attempt. */
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
}

export const DEFAULT_RETRY_LIMITS: RetryLimits = { attempts: 8, baseDelayMs: 1_000, maxDelayMs: 300_000 };

export class RetrySchedule {
  readonly limits: RetryLimits;
  readonly #random: () => number;

  /** `random` gives numbers from 0 to 1. */
  constructor(limits: RetryLimits, random: () => number) {
    this.limits = limits;
    this.#random = random;
  }

  /** Milliseconds since epoch of the next attempt; null when the limit is reached. */
  nextAttemptAt(attempts: number, now: number): number | null {
    if (attempts >= this.limits.attempts) return null;
    return now + this.delay(attempts);
  }

  /** Half of the step is certain and half is jitter, so that many failures do not come back together. */
  delay(attempts: number): number {
    const step = Math.min(this.limits.maxDelayMs, this.limits.baseDelayMs * 2 ** Math.max(0, attempts - 1));
    return Math.round(step / 2 + (this.#random() * step) / 2);
  }
}
