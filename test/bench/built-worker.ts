// The built engine as the extension runs it: `dist/worker.js` in a thread of its own, and its stores in this one.
import type { OpenLocalDataOptions } from '../../src/engine/open-local-data.ts';
import { type SupervisedEngine, startSupervisedEngine } from '../../src/worker/supervised-engine.ts';
import { built } from './built-engine.ts';

export function startBuiltWorker(options: OpenLocalDataOptions): Promise<SupervisedEngine> {
  return startSupervisedEngine({ workerFile: built('worker.js'), workerData: options, dataDir: options.dataDir });
}
