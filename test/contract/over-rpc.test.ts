// The contract suite on the engine in a thread of its own: the bundled worker, over the wire.
import { openInWorker } from '../../src/worker/open-in-worker.ts';
import { workerFile } from '../worker/worker-file.ts';
import { describeLocalData } from './local-data-contract.ts';

describeLocalData('over RPC', async (engine) => (await openInWorker({ engine, workerFile: workerFile() })).data);
