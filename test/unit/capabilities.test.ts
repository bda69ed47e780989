// What can be done with a change as it is now; menus offer nothing else.
import assert from 'node:assert/strict';
import { capabilitiesOf } from '../../src/host/changes-view/elements.ts';
import type { Change } from '../../src/protocol/changes.ts';
import { APPLIED, CONFLICT } from './a-change.ts';

const of = (change: Partial<Change>) =>
  capabilitiesOf({ ...APPLIED, ...change }).filter((one) => !['error', 'compare', 'entity'].includes(one));

describe('what a change offers', () => {
  it('is to retry, edit or discard one that failed here', () => {
    assert.deepEqual(of({ status: 'failed', processedLocal: false }), ['retry', 'edit', 'discard']);
    assert.deepEqual(of({ status: 'failed', operation: 'delete' }), ['retry', 'discard']);
    assert.deepEqual(of({ status: 'blocked' }), ['edit', 'discard']);
  });

  it('is to retry one that the server sent and cannot be applied here, which is not ours to edit or discard', () => {
    assert.deepEqual(of({ status: 'failed', origin: 'remote', processedLocal: false }), ['retry']);
  });

  it('is to undo what has taken effect, whoever made it', () => {
    assert.deepEqual(of({ status: 'applied' }), ['undo']);
    assert.deepEqual(of({ status: 'synced', origin: 'remote' }), ['undo']);
    assert.deepEqual(of({ status: 'synced', acceptedAt: 12 }), ['undo']);
  });

  it('is not to undo what was given up in a conflict or taken back already', () => {
    const lost = { mine: {}, theirs: {} };
    const conflict = { ...CONFLICT, resolution: { by: 'policy', outcome: 'theirs', at: 13, lost } as const };
    assert.deepEqual(of({ status: 'synced', processedSync: true, conflict }), []);
    assert.deepEqual(of({ status: 'discarded' }), ['restore']);
  });

  it('is to resolve one in conflict', () => {
    assert.deepEqual(of({ status: 'conflicted', conflict: CONFLICT }), ['resolve']);
  });
});
