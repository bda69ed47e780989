// An end to waiting for what others do.
import type { ServerClock } from './server-clock.ts';

export class TimeLimitError extends Error {
  constructor(milliseconds: number) {
    super(`There was no answer within ${milliseconds} ms.`);
    this.name = 'TimeLimitError';
  }
}

/** What the work gives, or TimeLimitError; the work itself cannot be stopped, and what it gives later is let go. */
export async function withTimeLimit<T>(clock: ServerClock, milliseconds: number, work: () => Promise<T>): Promise<T> {
  let cancel: () => void = () => undefined;
  const limit = new Promise<never>((_, reject) => {
    cancel = clock.setTimer(() => reject(new TimeLimitError(milliseconds)), milliseconds);
  });
  try {
    return await Promise.race([work(), limit]);
  } finally {
    cancel();
  }
}
