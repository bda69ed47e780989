// The engine's thread as it ships: tests run against the bundle, so that they find what only bundling breaks.
export function workerFile(): URL {
  return new URL('../../dist/worker.js', import.meta.url);
}
