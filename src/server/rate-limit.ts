// How many requests one holder of a token may send: a bucket that fills with time. Keeps no more buckets than are in use.
import type { ServerClock } from './server-clock.ts';
import { SyncRequestError } from './sync-request-error.ts';

interface Bucket {
  left: number;
  at: number;
}

const SWEEP_AT = 10_000;

export class RateLimit {
  readonly #clock: ServerClock;
  readonly #perSecond: number;
  readonly #atOnce: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(clock: ServerClock, perSecond: number, atOnce: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#atOnce = atOnce;
  }

  /** Takes one, or throws 429 with the seconds to wait. */
  take(holder: string): void {
    const now = this.#clock.now();
    const bucket = this.#buckets.get(holder) ?? { left: this.#atOnce, at: now };
    bucket.left = this.#filled(bucket, now);
    bucket.at = now;
    this.#buckets.set(holder, bucket);
    if (this.#buckets.size > SWEEP_AT) this.#forgetFull(now);
    if (bucket.left < 1) {
      const seconds = this.#perSecond === 0 ? 60 : Math.ceil((1 - bucket.left) / this.#perSecond);
      throw tooMany(seconds, 'Too many requests of this token.');
    }
    bucket.left -= 1;
  }

  /** A clock that was set back fills nothing. */
  #filled({ left, at }: Bucket, now: number): number {
    return Math.min(this.#atOnce, left + (Math.max(0, now - at) / 1_000) * this.#perSecond);
  }

  #forgetFull(now: number): void {
    for (const [holder, bucket] of this.#buckets) {
      if (this.#filled(bucket, now) >= this.#atOnce) this.#buckets.delete(holder);
    }
  }
}

export function tooMany(seconds: number, message: string): SyncRequestError {
  return new SyncRequestError('TOO_MANY_REQUESTS', `${message} Wait ${seconds} s.`, {
    headers: { 'retry-after': String(Math.max(1, seconds)) },
  });
}
