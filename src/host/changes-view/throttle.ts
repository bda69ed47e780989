// Runs a piece of work at once, and again at most once per interval however often it is asked for. Never loses the last call.
// An interval that is a function is asked for each time, so that work that has become dear can be done less often.

export class Throttle {
  readonly #everyMs: () => number;
  readonly #work: () => void;
  #timer: NodeJS.Timeout | undefined;
  #again = false;

  constructor(everyMs: number | (() => number), work: () => void) {
    this.#everyMs = typeof everyMs === 'number' ? () => everyMs : everyMs;
    this.#work = work;
  }

  call(): void {
    if (this.#timer !== undefined) {
      this.#again = true;
      return;
    }
    this.#work();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.call();
    }, this.#everyMs());
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#again = false;
  }
}
