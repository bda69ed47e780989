// The sample data can be created again without harm, and never in tables that are somebody's own.
import assert from 'node:assert/strict';
import { WAITING_STATUSES } from '../../src/protocol/changes.ts';
import { type LocalDataEngine, openTemporary } from '../support/engine.ts';
import { refusalOf } from './refusal.ts';

describe('Sample data', () => {
  let data: LocalDataEngine;
  beforeEach(async () => {
    data = await openTemporary();
  });
  afterEach(() => data.close());

  it('has three troubles, each repaired by one corrected value', async () => {
    await data.createSampleData();
    await data.whenIdle();
    const { changes } = await data.listChanges({ status: WAITING_STATUSES });
    assert.deepEqual(
      changes.map(({ entityId, status, failure }) => [entityId, status, failure?.code]),
      [
        ['task-041', 'failed', '23503'],
        ['task-007', 'failed', '23514'],
        ['task-007', 'blocked', undefined],
      ],
    );
    const [orphan, outOfRange] = changes;
    assert.ok(orphan !== undefined && outOfRange !== undefined);
    await data.editChange(orphan.id, { ...orphan.data, project_id: 'website' });
    await data.editChange(outOfRange.id, { ...outOfRange.data, priority: 4 });
    await data.whenIdle();
    assert.deepEqual((await data.listChanges({ status: WAITING_STATUSES })).changes, []);
    assert.equal(await data.countEntities('Task'), 41);
  });

  it('created again brings back what was deleted, and nothing else', async () => {
    await data.createSampleData();
    await data.whenIdle();
    await data.deleteEntity('Task', 'task-001');
    const before = data.stores.changes.getState().counts;
    await data.createSampleData();
    await data.whenIdle();
    assert.ok((await data.getEntity('Task', 'task-001')) !== undefined);
    assert.deepEqual(data.stores.changes.getState().counts, { ...before, applied: before.applied + 1 });
  });

  it('is refused where a table of that name is another, and then changes nothing', async () => {
    await data.exec('CREATE TABLE users (number INTEGER PRIMARY KEY, nickname TEXT)');
    const refusal = await refusalOf(() => data.createSampleData());
    assert.equal(refusal.code, 'INVALID_ARGUMENT');
    assert.match(refusal.message, /table "users" already.*no column "id".*Rename it/);
    assert.deepEqual(await data.listEntityTypes(), []);
  });
});
