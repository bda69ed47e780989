// What a transaction has sent so far. Each failure is heard here, so that none is left without a listener while others are
// waited for; the transaction may end well only when all have.

export class SentStatements {
  readonly #sent: Promise<unknown>[] = [];

  add<T>(statement: Promise<T>): Promise<T> {
    this.#sent.push(statement);
    statement.catch(() => undefined);
    return statement;
  }

  /** Throws what failed first. */
  async done(): Promise<void> {
    await Promise.all(this.#sent);
  }

  /** Waits for the last of them, whatever became of it. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#sent);
  }
}
