// The built engine as the extension runs it: `dist/worker.js` in a thread of its own, and its stores in this one.
import { openInWorker } from '../../src/worker/open-in-worker.ts';
import type { EngineOptions } from '../../src/worker/engine-options.ts';
import type { SupervisedEngine } from '../../src/worker/supervised-engine.ts';
import { built } from './built-engine.ts';

export function startBuiltWorker(engine: EngineOptions): Promise<SupervisedEngine> {
  return openInWorker({ workerFile: built('worker.js'), engine });
}
