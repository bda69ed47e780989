// Importing into an open database: rows become applied changes at once where nothing waits, and go through the queue
// where something does or where one of them is refused; either way each is a change, and the import can be undone.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type LocalDataEngine, openTemporary, temporaryDirectory } from '../support/engine.ts';

describe('Importing', () => {
  const folder = temporaryDirectory();
  let data: LocalDataEngine;
  beforeEach(async () => {
    data = await openTemporary();
    await data.exec(`CREATE TABLE tasks (
      id INTEGER PRIMARY KEY, title TEXT NOT NULL, priority INTEGER DEFAULT 3 CHECK (priority BETWEEN 1 AND 5),
      parent_id INTEGER REFERENCES tasks (id), double_priority INTEGER GENERATED ALWAYS AS (priority * 2) STORED)`);
    await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
  });
  afterEach(() => data.close());
  after(() => folder.remove());

  async function importLines(rows: readonly object[]) {
    const file = join(folder.path, 'rows.jsonl');
    await writeFile(file, rows.map((row) => JSON.stringify(row)).join('\n'));
    return data.importEntities({ file, entityType: 'Task' });
  }

  it('records each row as a change that has taken effect, with what the database made of it', async () => {
    const report = await importLines([
      { id: 2, title: 'child', parent_id: 1 },
      { id: '01', title: 'parent', priority: 5 },
      { id: 3, title: 'other', parent_id: null },
    ]);
    assert.deepEqual([report.rowsRecorded, report.refusedTotal], [3, 0]);
    const { changes } = await data.listChanges({ label: report.label });
    assert.deepEqual(changes.map(({ entityId, status, operation }) => [entityId, status, operation]).toSorted(byText), [
      ['1', 'applied', 'insert'],
      ['2', 'applied', 'insert'],
      ['3', 'applied', 'insert'],
    ]);
    const child = changes.find(({ entityId }) => entityId === '2');
    assert.deepEqual(child?.result, { id: 2, title: 'child', priority: 3, parent_id: 1, double_priority: 6 });
    assert.deepEqual(await data.getEntity('Task', '1'), {
      id: 1,
      title: 'parent',
      priority: 5,
      parent_id: null,
      double_priority: 10,
    });
    assert.equal(data.stores.entities.getState().types.get('Task')?.count, 3);
    const { counts } = data.stores.changes.getState();
    assert.deepEqual([counts.applied, counts.pending, counts.failed], [3, 0, 0]);
    assert.equal((await data.query(`SELECT id FROM local_changes WHERE origin = 'sql'`)).rows.length, 0);
  });

  it('shows the one row that the database refuses, and applies the others', async () => {
    const rows = Array.from({ length: 2_500 }, (_, id) => ({ id, title: `t${id}`, priority: id === 1_234 ? 9 : 1 }));
    const report = await importLines(rows);
    assert.equal(report.rowsRecorded, 2_500);
    const { changes } = await data.listChanges({ status: 'failed' });
    assert.deepEqual(
      changes.map(({ entityId, failure }) => [entityId, failure?.code]),
      [['1234', '23514']],
    );
    assert.equal(await data.countEntities('Task'), 2_499);
    assert.equal((await data.query('SELECT count(*)::int AS n FROM local_changes')).rows[0]?.['n'], 2_500);
  });

  it('keeps the order of a lane in which something waits', async () => {
    await data.recordChange('Task', '7', 'insert', { title: 'waits', priority: 9 });
    await data.whenIdle();
    await importLines([{ id: 7, title: 'imported' }]);
    const { changes } = await data.listChanges({ entityId: '7' });
    assert.deepEqual(
      changes.map(({ status }) => status),
      ['failed', 'blocked'],
    );
  });

  it('leaves rows waiting while processing is paused', async () => {
    await data.stopChangeProcessor();
    await importLines([{ id: 1, title: 'x' }]);
    assert.equal(data.stores.changes.getState().counts.pending, 1);
    assert.equal(await data.countEntities('Task'), 0);
  });

  it('is taken back by Undo Import, as a whole', async () => {
    const { label } = await importLines([
      { id: 1, title: 'a' },
      { id: 2, title: 'b', parent_id: 1 },
    ]);
    assert.equal((await data.undoImport(label)).undone, 2);
    assert.equal(await data.countEntities('Task'), 0);
    const { counts } = data.stores.changes.getState();
    assert.deepEqual([counts.discarded, counts.applied], [2, 0]);
  });
});

function byText(a: readonly string[], b: readonly string[]): number {
  return String(a).localeCompare(String(b));
}
