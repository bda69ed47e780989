import assert from 'node:assert/strict';
import {
  type ChosenSide,
  fieldsToChoose,
  mergedData,
  mergedTo,
  textOf,
  valueOf,
  withoutConflict,
} from '../../src/host/sync/merge-fields.ts';
import type { Entity, JsonValue } from '../../src/protocol/changes.ts';
import type { Conflict, ConflictField } from '../../src/protocol/sync-state.ts';

/** Both wrote `fields`. */
function conflictOf(base: Entity | null, mine: Entity, theirs: Entity, ...fields: string[]): Conflict {
  const side = (entity: Entity | null, field: string): JsonValue => entity?.[field] ?? null;
  const described = fields.map((field): [string, ConflictField] => [
    field,
    {
      base: side(base, field),
      mine: side(mine, field),
      theirs: side(theirs, field),
      theirClientId: 'another',
      theirTimestamp: 1,
    },
  ]);
  return {
    at: 1,
    policy: 'manual',
    version: 2,
    operation: 'update',
    base,
    mine,
    theirs,
    fields: Object.fromEntries(described),
    resolution: null,
  };
}

const choose = (conflict: Conflict, sides: Record<string, ChosenSide>) =>
  mergedData(conflict, new Map(Object.entries(sides)));

describe('a conflict resolved field by field', () => {
  const conflict = conflictOf(
    { id: 'a', title: 'Before', year: 1800 },
    { id: 'a', title: 'Mine', year: 1800, color: 'red', author: 'only mine' },
    { id: 'a', title: 'Theirs', year: 1819, color: 'blue' },
    'title',
    'color',
  );

  it('keeps what only one side wrote, and of the rest the chosen side', () => {
    assert.deepEqual(fieldsToChoose(conflict), ['color', 'title']);
    assert.deepEqual(choose(conflict, { title: 'mine', color: 'theirs' }), {
      data: { id: 'a', title: 'Mine', year: 1819, color: 'blue', author: 'only mine' },
      removed: [],
    });
  });

  it('takes a field out that was not there before, instead of writing null', () => {
    assert.equal(valueOf(conflict, 'color', 'base'), undefined);
    assert.equal(textOf(valueOf(conflict, 'color', 'base')), '(not there)');
    assert.deepEqual(choose(conflict, { title: 'base', color: 'base' }), {
      data: { id: 'a', title: 'Before', year: 1819, author: 'only mine' },
      removed: ['color'],
    });
  });

  it('writes null where null stood before', () => {
    const wasNull = conflictOf({ color: null }, { color: 'red' }, { color: 'blue' }, 'color');
    assert.deepEqual(choose(wasNull, { color: 'base' }), { data: { color: null }, removed: [] });
  });

  it('has nothing before where both made the entity', () => {
    const both = conflictOf(null, { color: 'red' }, { color: 'blue' }, 'color');
    assert.deepEqual(choose(both, { color: 'base' }), { data: {}, removed: ['color'] });
  });

  it('takes out what this side took out', () => {
    const without = conflictOf(
      { title: 'Before', note: 'x' },
      { title: 'Mine' },
      { title: 'Theirs', note: 'x' },
      'title',
    );
    assert.deepEqual(withoutConflict(without), { title: 'Theirs' });
    assert.deepEqual(choose(without, { title: 'mine' }), { data: { title: 'Mine' }, removed: ['note'] });
    const removedHere = conflictOf({ note: 'x' }, {}, { note: 'y' }, 'note');
    assert.deepEqual(choose(removedHere, { note: 'mine' }), { data: {}, removed: ['note'] });
  });

  it('takes out what a person deletes from the merged entity', () => {
    const { year, ...rest } = withoutConflict(conflict);
    assert.equal(year, 1819);
    assert.deepEqual(mergedTo(conflict, rest), { data: rest, removed: ['year'] });
  });
});
