// Opens a database in a thread of its own, under supervision: what the extension and the benchmarks use.
import type { EngineOptions } from './engine-options.ts';
import { type SupervisedEngine, type SupervisedEngineOptions, startSupervisedEngine } from './supervised-engine.ts';

export interface OpenInWorkerOptions extends Omit<
  SupervisedEngineOptions,
  'workerData' | 'dataDir' | 'startProcessor'
> {
  readonly engine: EngineOptions;
}

export function openInWorker({ engine, ...options }: OpenInWorkerOptions): Promise<SupervisedEngine> {
  const dataDir = engine.memory === true ? undefined : engine.dataDir;
  const workerData: EngineOptions = { ...engine, startProcessor: false };
  return startSupervisedEngine({ ...options, workerData, dataDir, startProcessor: engine.startProcessor ?? true });
}
