// What the server asks of its database: one Postgres, whether behind a connection or embedded. Both run the same statements
// (statements.ts); nothing else in the server may know which one it is.

/** A statement of statements.ts; the name is what it is prepared under. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

export type SqlRow = Readonly<Record<string, unknown>>;
type Plain = string | number | boolean | null;
/** Lists go as Postgres arrays; everything structured goes as JSON text. */
export type SqlValue = Plain | readonly Plain[];

export interface SqlSession {
  /** int8 comes as number, json and jsonb as their text. The caller names the columns that its own SQL selects. */
  run<T extends SqlRow>(statement: Statement, values: readonly SqlValue[]): Promise<T[]>;
}

export interface FeedListener {
  /** These spaces have something new, says another server. */
  onSpaces(spaces: readonly string[]): void;
  /** Nothing was heard for a while: everything may have something new. */
  onGap(): void;
}

export interface SqlTransaction extends SqlSession {
  /** Not waited for: what fails here fails the transaction at its end. */
  send(statement: Statement, values: readonly SqlValue[]): void;
}

/** `run` of the store itself is one statement in its own transaction. */
export interface Store extends SqlSession {
  /**
   * READ COMMITTED; everything or nothing. Statements run one after the other in the order in which they are given, also
   * those that are given without waiting for the one before: then they go in one step to the database and back.
   */
  transaction<T>(work: (session: SqlTransaction) => Promise<T>): Promise<T>;
  /** Tells the other servers of this database; the one that listens by `sender` does not hear itself. */
  notify(spaces: readonly string[], sender: FeedListener): Promise<void>;
  /** Hears the other servers until the store is closed. */
  listen(listener: FeedListener): void;
  /** Whether a failure is the database's being away or overloaded: the same request may succeed later. */
  isPassing(error: unknown): boolean;
  /** Connections in use and waited for; null where there is no pool. */
  pool(): { readonly used: number; readonly waiting: number } | null;
  /** What the database needs now and then and does not do by itself. */
  maintain(): Promise<void>;
  close(): Promise<void>;
}
