// A change and a conflict for tests of what is said of them; each test varies what it is about.
import type { Change } from '../../src/protocol/changes.ts';
import type { Conflict } from '../../src/protocol/sync-state.ts';

/** Applied here, and waiting to be sent. */
export const APPLIED: Change = {
  id: 'c1',
  seq: 1,
  entityType: 'Task',
  entityId: 't1',
  operation: 'update',
  data: { title: 'Mine' },
  timestamp: 10,
  processedLocal: true,
  processedSync: false,
  error: null,
  attempts: 0,
  status: 'applied',
  reason: 'offline',
  origin: 'local',
  transactionId: null,
  label: null,
  previous: { title: 'Before' },
  result: null,
  failure: null,
  blockedBy: null,
  nextAttemptAt: null,
  appliedAt: 11,
  discardedAt: null,
  awaiting: 'push',
  acceptedVersion: null,
  acceptedAt: null,
  conflict: null,
  clientId: null,
  note: null,
};

export const CONFLICT: Conflict = {
  at: 12,
  policy: 'remote-wins',
  version: 7,
  operation: 'update',
  base: { title: 'Before' },
  mine: { title: 'Mine' },
  theirs: { title: 'Theirs' },
  fields: {},
  resolution: null,
};
