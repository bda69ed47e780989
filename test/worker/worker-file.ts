// Where the tests find the engine's thread: the bundle when it is built, as shipped; else its source.
import { existsSync } from 'node:fs';

export function workerFile(): URL {
  const bundled = new URL('../../dist/worker.js', import.meta.url);
  return existsSync(bundled) ? bundled : new URL('../../src/worker/thread.ts', import.meta.url);
}
