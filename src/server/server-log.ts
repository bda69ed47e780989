// What the server tells its log: names, counts and times. Never a payload, an id of an entity, a token or a cursor; so errors
// of the database go in by their code alone, for their texts quote values.

/** A pino logger is one. */
export interface ServerLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export const silentLogger: ServerLogger = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** What may be said of an error: its kind, its code, and where in the program it came from. */
export function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { kind: typeof error };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const stack = error.stack?.split('\n').filter((line) => /^\s+at /.test(line));
  return {
    kind: error.name,
    ...(code === undefined ? {} : { code }),
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
    stack: stack?.slice(0, 8).map((line) => line.trim()),
  };
}
