// Entry of the engine's thread (`dist/worker.js`): opens the database that it was started with and serves it.
import { workerData } from 'node:worker_threads';
import { openLocalData } from '../engine/open-local-data.ts';
import { serveThread } from './serve-thread.ts';
import { engineOptionsSchema } from './engine-options.ts';

await serveThread(({ reportTrouble, openTransport }) => {
  const options = engineOptionsSchema.parse(workerData);
  return openLocalData({
    ...withoutUndefined(options),
    onBackgroundError: reportTrouble,
    openOtherTransport: openTransport,
  });
});

/** Absent and undefined differ to whoever spreads defaults under these options. */
function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
