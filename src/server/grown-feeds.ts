// What pushes have added and readers have yet to be told. One space is told in each round of the event loop, after what has
// come in meanwhile: pushes go before answers. So a server that falls behind has less to do for each change: what several
// pushes of a space have added by then goes out as one answer to each of its readers.
import type { GrownFeed, GrownRow } from './read-feed.ts';

interface Untold extends GrownFeed {
  readonly rows: GrownRow[];
}

export class GrownFeeds {
  readonly #tell: (grown: GrownFeed) => void;
  readonly #untold = new Map<string, Untold>();
  #isPlanned = false;

  constructor(tell: (grown: GrownFeed) => void) {
    this.#tell = tell;
  }

  /** False where it does not follow what is there, because another server wrote in between: then nothing is kept. */
  add({ space, after, rows }: GrownFeed): boolean {
    const untold = this.#untold.get(space);
    const last = untold?.rows.at(-1);
    if (untold === undefined) this.#untold.set(space, { space, after, rows: [...rows] });
    else if (last?.version === after.version && untold.after.epoch === after.epoch) untold.rows.push(...rows);
    else return !this.#untold.delete(space);
    this.#plan();
    return true;
  }

  /** Somebody reads the space, and so finds all that was added. */
  forget(space: string): void {
    this.#untold.delete(space);
  }

  #plan(): void {
    if (this.#isPlanned || this.#untold.size === 0) return;
    this.#isPlanned = true;
    setImmediate(() => {
      this.#isPlanned = false;
      const [grown] = this.#untold.values();
      if (grown === undefined) return;
      this.#untold.delete(grown.space);
      this.#plan();
      this.#tell(grown);
    });
  }
}
