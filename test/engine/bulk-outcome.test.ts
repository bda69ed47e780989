// The promise of bulk apply: whatever the batch boundaries, the outcome is that of one by one.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ChangeInput, JsonObject } from '../../src/protocol/changes.ts';
import { type LocalDataEngine, openTemporary } from '../support/engine.ts';

const SCHEMA = `
  CREATE TABLE owners (id TEXT PRIMARY KEY, name TEXT);
  CREATE TABLE things (
    id TEXT PRIMARY KEY,
    label TEXT UNIQUE,
    size INTEGER DEFAULT 1 CHECK (size < 8),
    owner_id TEXT REFERENCES owners (id),
    double_size INTEGER GENERATED ALWAYS AS (size * 2) STORED
  );
  CREATE TABLE notes (id TEXT PRIMARY KEY, thing_id TEXT REFERENCES things (id) ON DELETE CASCADE, body TEXT);`;

const id = fc.constantFrom('1', '2', '3');
const absentOr = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(values, { nil: undefined });

const thing = fc.record({
  label: absentOr(fc.constantFrom('x', 'y', 'z', null)),
  size: absentOr(fc.integer({ min: 1, max: 9 })),
  owner_id: absentOr(fc.constantFrom('1', '2', '3', null)),
});
const owner = fc.record({ name: absentOr(fc.constantFrom('n', 'm', null)) });
const note = fc.record({
  thing_id: absentOr(fc.constantFrom('1', '2', '3', null)),
  body: absentOr(fc.constantFrom('b', 'c')),
});

const change = fc
  .tuple(
    fc.oneof(
      fc.tuple(fc.constant('Thing'), thing),
      fc.tuple(fc.constant('Owner'), owner),
      fc.tuple(fc.constant('Note'), note),
    ),
    id,
    fc.constantFrom('insert' as const, 'insert' as const, 'update' as const, 'update' as const, 'delete' as const),
  )
  .map(([[entityType, data], entityId, operation]): ChangeInput => {
    const present: JsonObject = {};
    for (const [name, value] of Object.entries(data)) if (value !== undefined) present[name] = value;
    return operation === 'delete'
      ? { entityType, entityId, operation }
      : { entityType, entityId, operation, data: present };
  });

describe('Bulk apply', () => {
  let bulk: LocalDataEngine;
  let single: LocalDataEngine;

  before(async () => {
    [bulk, single] = await Promise.all([open(1_000), open(1)]);
  });

  after(() => Promise.all([bulk.close(), single.close()]));

  it('has the outcome of one by one, for any changes', async function () {
    this.timeout(300_000);
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 25 }), async (changes) => {
        const [atOnce, oneByOne] = [await outcome(bulk, changes), await outcome(single, changes)];
        assert.deepEqual(atOnce, oneByOne);
      }),
      { numRuns: 100, seed: 20_261_123 },
    );
  });
});

async function open(batchSize: number): Promise<LocalDataEngine> {
  const data = await openTemporary({ batchSize, startProcessor: false });
  await data.exec(SCHEMA);
  await data.registerEntityType({ entityType: 'Owner', table: 'owners' });
  await data.registerEntityType({ entityType: 'Thing', table: 'things' });
  await data.registerEntityType({ entityType: 'Note', table: 'notes' });
  return data;
}

async function outcome(data: LocalDataEngine, changes: readonly ChangeInput[]): Promise<unknown> {
  await data.exec('TRUNCATE owners, things, notes CASCADE; TRUNCATE local_changes RESTART IDENTITY;');
  await data.recordChanges(changes);
  await data.processNow();
  const tables = [];
  for (const table of ['owners', 'things', 'notes'])
    tables.push((await data.query(`SELECT * FROM ${table} ORDER BY id`)).rows);
  const recorded = await data.query(
    `SELECT entity_type, entity_id, operation, status, failure->>'code' AS code FROM local_changes WHERE origin = 'local' ORDER BY seq`,
  );
  const captured = await data.query(
    `SELECT entity_type, entity_id, operation, previous FROM local_changes WHERE origin = 'sql' ORDER BY entity_type, entity_id, seq`,
  );
  const { pending, failed, blocked, retrying } = data.stores.changes.getState().counts;
  const stores = { pending, failed, blocked, retrying, types: data.stores.entities.getState().types };
  const counts = Object.fromEntries([...stores.types].map(([name, window]) => [name, window.count]));
  const real = Object.fromEntries(tables.map((rows, n) => [['Owner', 'Thing', 'Note'][n] ?? '', rows.length]));
  assert.deepEqual(counts, real);
  return { tables, recorded: recorded.rows, captured: captured.rows, pending, failed, blocked, retrying };
}
