// Opens a database in a worker and prints how long this process's main thread stood still meanwhile, as one line of
// JSON. Argument: data directory.
import { startBuiltWorker } from './built-worker.ts';
import { longestStall, pause } from './measure.ts';
import type { SupervisedEngine } from '../../src/worker/supervised-engine.ts';

const [dataDir = ''] = process.argv.slice(2);
await pause(300);
let engine: SupervisedEngine | undefined;
const stallMs = await longestStall(async () => {
  engine = await startBuiltWorker({ dataDir });
});
await engine?.close();
console.log(JSON.stringify({ stallMs }));
