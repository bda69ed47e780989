import assert from 'node:assert/strict';
import { isGivenUp, resolutionLines } from '../../src/host/sync/resolution-lines.ts';
import type { Conflict, ConflictResolution } from '../../src/protocol/sync-state.ts';

function resolved(resolution: Partial<ConflictResolution> | null, more: Partial<Conflict> = {}) {
  const conflict: Conflict = {
    at: 1,
    policy: 'last-write-wins',
    version: 2,
    operation: 'update',
    base: { title: 'Before' },
    mine: { title: 'Mine' },
    theirs: { title: 'Theirs' },
    fields: {},
    resolution:
      resolution === null
        ? null
        : { by: 'policy', outcome: 'theirs', at: 2, lost: { mine: {}, theirs: {} }, ...resolution },
    ...more,
  };
  return { conflict };
}

describe('what was given up in a conflict', () => {
  it('is said field by field, with who decided it and how', () => {
    const lost = { mine: { title: 'Mine', tags: ['a'] }, theirs: {} };
    assert.deepEqual(resolutionLines(resolved({ lost })), [
      'Conflict resolved by its policy, last-write-wins: theirs was taken.',
      'Given up of mine: title “Mine”, tags “["a"]”.',
    ]);
  });

  it('is said of both sides where both were merged by hand', () => {
    const lost = { mine: { title: 'Mine' }, theirs: { title: 'Theirs' } };
    assert.deepEqual(resolutionLines(resolved({ by: 'person', outcome: 'merged', lost })), [
      'Conflict resolved by hand: both were merged.',
      'Given up of mine: title “Mine”.',
      'Given up of theirs: title “Theirs”.',
    ]);
  });

  it('names a delete that was given up', () => {
    const mine = resolutionLines(resolved({ outcome: 'theirs' }, { mine: null }));
    assert.deepEqual(mine.slice(1), ['Given up of mine: the delete.']);
    const theirs = resolutionLines(resolved({ outcome: 'mine' }, { theirs: null }));
    assert.deepEqual(theirs.slice(1), ['Given up of theirs: the delete.']);
  });

  it('is not a wall of text where a whole entity was given up', () => {
    const entity = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`f${index}`, 'x'.repeat(500)]));
    const [, line = ''] = resolutionLines(resolved({ lost: { mine: entity, theirs: {} } }));
    assert.match(line, /and 28 more fields\.$/);
    assert.ok(line.length < 2_000);
  });

  it('is the whole change where nothing was left to send, however it was resolved', () => {
    const through = { processedSync: true, acceptedAt: null };
    assert.equal(isGivenUp({ ...resolved({ outcome: 'theirs' }), ...through }), true);
    assert.equal(isGivenUp({ ...resolved({ by: 'person', outcome: 'merged' }), ...through }), true);
    assert.equal(isGivenUp({ ...resolved({ outcome: 'merged' }), processedSync: true, acceptedAt: 3 }), false);
    assert.equal(isGivenUp({ ...resolved({ outcome: 'mine' }), processedSync: false, acceptedAt: null }), false);
    assert.equal(isGivenUp({ conflict: null, ...through }), false);
  });

  it('is nothing where there was no conflict or it still waits', () => {
    assert.deepEqual(resolutionLines({ conflict: null }), []);
    assert.deepEqual(resolutionLines(resolved(null)), []);
  });
});
