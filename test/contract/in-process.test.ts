// The contract suite on the engine as it ships, in this very thread.
import { openLocalData } from '../support/engine.ts';
import { describeLocalData } from './local-data-contract.ts';

describeLocalData('in process', openLocalData);
