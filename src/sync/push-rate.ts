// How many changes a second the server has accepted over the last seconds.
const WINDOW_MS = 5_000;

export class PushRate {
  readonly #accepted: { readonly at: number; readonly count: number }[] = [];

  /** Milliseconds after which what was accepted now no longer counts. */
  static readonly windowMs = WINDOW_MS;

  add(now: number, count: number): void {
    if (count > 0) this.#accepted.push({ at: now, count });
  }

  perSecond(now: number): number {
    while ((this.#accepted[0]?.at ?? Infinity) <= now - WINDOW_MS) this.#accepted.shift();
    const [first] = this.#accepted;
    if (first === undefined) return 0;
    const total = this.#accepted.reduce((sum, { count }) => sum + count, 0);
    return Math.round((total * 1_000) / Math.max(1_000, now - first.at));
  }
}
