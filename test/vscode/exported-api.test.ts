import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { Change, LocalDataApi } from '../../src/api.ts';
import { activated, openDatabase, whenChange } from './open-database.ts';

interface ExampleExports {
  readonly localData: LocalDataApi;
  readonly seen: readonly Change[];
}

describe('the exported API', () => {
  let api: LocalDataApi;

  before(async () => {
    api = await openDatabase();
  });

  it('lets another extension keep its entities and see its changes go through', async () => {
    const example = vscode.extensions.getExtension<ExampleExports>('example.example-notes');
    assert.ok(example, 'the example extension is installed');
    const { seen } = await example.activate();
    await vscode.commands.executeCommand('exampleNotes.add', 'n1', 'Remember the milk');
    assert.equal((await api.getEntity('Note', 'n1'))?.text, 'Remember the milk');
    assert.ok(seen.some(({ entityType, entityId }) => entityType === 'Note' && entityId === 'n1'));
  });

  it('records, applies, queries, deletes, and lists what was done', async () => {
    await api.registerEntityType({ entityType: 'Fruit' });
    const change = await api.recordChange('Fruit', 'apple', 'insert', { colour: 'red', none: undefined as never });
    await whenChange(api, change.id, ({ status }) => status === 'applied');
    assert.deepEqual((await api.queryEntities('Fruit', { where: { colour: 'red' } })).rows, [
      { id: 'apple', colour: 'red' },
    ]);
    assert.equal(await api.deleteEntity('Fruit', 'apple'), true);
    const { changes } = await api.listChanges({ entityType: 'Fruit', entityId: 'apple' });
    assert.deepEqual(
      changes.map(({ operation }) => operation),
      ['insert', 'delete'],
    );
  });

  it('tells a watcher of what matches its filter and of nothing else', async () => {
    await api.registerEntityType({ entityType: 'Fruit' });
    const seen: string[] = [];
    const watching = await api.watchChanges({ entityType: 'Fruit', entityId: 'pear' }, (changes) =>
      seen.push(...changes.map(({ entityId }) => entityId)),
    );
    await api.upsertEntity('Fruit', 'plum', { colour: 'blue' });
    await api.upsertEntity('Fruit', 'pear', { colour: 'green' });
    watching.dispose();
    assert.deepEqual([...new Set(seen)], ['pear']);
  });

  it('refuses bad arguments with an error that names them, and changes nothing', async () => {
    const before = await api.listChanges({ limit: 1, order: 'desc' });
    const wrong = [
      api.recordChange('Fruit', 'x', 'replace' as never, {}),
      api.recordChange(7 as never, 'x', 'insert', {}),
      api.upsertEntity('Fruit', 'x', 'text' as never),
      api.listChanges({ limit: 1_000_000 }),
      api.queryEntities('Fruit', { unknown: true } as never),
    ];
    for (const call of wrong) await assert.rejects(call, { code: 'INVALID_ARGUMENT', message: /argument \d/ });
    assert.deepEqual(await api.listChanges({ limit: 1, order: 'desc' }), before);
  });

  it('offers version 1 and refuses others by name', async () => {
    const exports = await activated();
    assert.equal(exports.apiVersion, 1);
    assert.throws(() => exports.getApi(2 as never), { code: 'INVALID_ARGUMENT', message: /version 2/ });
  });
});
