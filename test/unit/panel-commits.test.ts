// What the Entities panel is told when several commits are made one message.
import assert from 'node:assert/strict';
import { mergeCommits } from '../../src/host/entities-panel/merge-commits.ts';
import { noChanges } from '../../src/protocol/changes.ts';
import type { CommitEvent, EntityDelta } from '../../src/protocol/engine.ts';

const keyOf = (): string => 'id';

function commit(delta: Partial<EntityDelta>, pending = 0): CommitEvent {
  const entity = { entityType: 'Task', upserted: [], deleted: [], count: 0, ...delta };
  return { changes: [], entities: [entity], counts: { ...noChanges(), pending }, processor: 'idle' };
}

describe('commits told to the panel together', () => {
  it('carry an entity as it was last, with the last counts', () => {
    const first = commit({ upserted: [{ id: 'a', title: 'old' }], count: 1 }, 5);
    const second = commit({ upserted: [{ id: 'a', title: 'new' }], count: 2 }, 3);
    const { entities, counts } = mergeCommits([first, second], keyOf);
    const expected = { entityType: 'Task', upserted: [{ id: 'a', title: 'new' }], deleted: [], count: 2 };
    assert.deepEqual(entities, [expected]);
    assert.equal(counts.pending, 3);
  });

  it('keep the order of a deletion and an insertion of one entity', () => {
    const written = commit({ upserted: [{ id: 'a' }], count: 1 });
    const deleted = commit({ deleted: ['a'], count: 0 });
    const [gone] = mergeCommits([written, deleted], keyOf).entities;
    assert.deepEqual([gone?.upserted, gone?.deleted], [[], ['a']]);
    const [back] = mergeCommits([deleted, written], keyOf).entities;
    assert.deepEqual([back?.upserted, back?.deleted], [[{ id: 'a' }], []]);
  });

  it('ask for a reload once one of them does', () => {
    const [delta] = mergeCommits(
      [commit({ reload: true }), commit({ upserted: [{ id: 'a' }], count: 1 })],
      keyOf,
    ).entities;
    assert.deepEqual(delta, { entityType: 'Task', upserted: [], deleted: [], count: 1, reload: true });
  });

  it('ask for a reload instead of carrying more than 128 KiB', () => {
    const large = commit({ upserted: [{ id: 'a', text: 'x'.repeat(140_000) }], count: 1 });
    const [delta] = mergeCommits([large], keyOf).entities;
    assert.deepEqual(delta, { entityType: 'Task', upserted: [], deleted: [], count: 1, reload: true });
  });
});
