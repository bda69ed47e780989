// Pushes of one space follow each other within this server before they ask for a connection: the database's lock on the space
// would make them wait as well, each holding a connection that another space could use. Between servers only that lock counts.

export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs when all that came before it under this name have ended, however they ended. */
  async take<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(name);
    const turn = before === undefined ? work() : before.then(work, work);
    this.#last.set(name, turn);
    try {
      return await turn;
    } finally {
      if (this.#last.get(name) === turn) this.#last.delete(name);
    }
  }
}
