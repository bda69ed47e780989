// The contract suite on the engine in this very thread.
import { openLocalData } from '../../src/engine/open-local-data.ts';
import { describeLocalData } from './local-data-contract.ts';

describeLocalData('in process', openLocalData);
