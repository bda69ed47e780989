// Keeps Postgres from ever meeting a full disk. When a page of its log finds no room, Postgres panics, and in PGlite a
// panic never returns (measured: the thread spins for good); so room is looked for before each write, and kept back.
import { statfsSync } from 'node:fs';
import { LocalDataError } from '../protocol/errors.ts';

/** What the writes between two looks, a checkpoint and the log of one batch may take. */
const RESERVE_BYTES = 24 * 1024 * 1024;
const LOOK_EVERY_MS = 50;

export class DiskSpace {
  readonly #directory: string | null;
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `null` for a database in memory, which has no disk. */
  constructor(directory: string | null) {
    this.#directory = directory;
  }

  /** Throws DISK_FULL when there is no room for a write of this size. */
  requireRoom(bytes = 0): void {
    if (this.#directory === null) return;
    // The clock of the process, not of the engine: disks do not run on a test's time.
    const now = performance.now();
    if (bytes < RESERVE_BYTES / 8 && now - this.#lookedAt < LOOK_EVERY_MS) return;
    const { bavail, bsize } = statfsSync(this.#directory);
    const free = bavail * bsize;
    const needed = RESERVE_BYTES + 3 * bytes;
    if (free < needed) throw this.#full(this.#directory, free, needed);
    this.#lookedAt = now;
  }

  #full(directory: string, free: number, needed: number): LocalDataError {
    const megabytes = (count: number): string => `${Math.ceil(count / 1024 / 1024)} MB`;
    return new LocalDataError(
      'DISK_FULL',
      `The disk of "${directory}" is full: ${megabytes(free)} are free and a write needs ${megabytes(needed)}. Free some space, then try again; nothing was written.`,
      { directory, freeBytes: free, neededBytes: needed },
    );
  }
}
