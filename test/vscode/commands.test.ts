// Every command as it is run, with a person answering what it asks. What is seen is the UI tests' subject.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as vscode from 'vscode';
import type { Change, LocalDataApi } from '../../src/api.ts';
import { diagnostics, openDatabase, openSampleData, whenChange } from './open-database.ts';
import { Person } from './person.ts';

const run = (id: string, ...args: unknown[]) => vscode.commands.executeCommand(`localData.${id}`, ...args);
const clipboard = () => vscode.env.clipboard.readText();

describe('commands', () => {
  let api: LocalDataApi;
  let person: Person;
  let folder: string;
  let unique = 0;

  before(async () => {
    api = await openDatabase();
    folder = await mkdtemp(join(tmpdir(), 'local-data-commands-'));
    await api.registerEntityType({ entityType: 'Memo' });
  });

  after(() => rm(folder, { recursive: true }));

  beforeEach(() => {
    person = new Person();
  });

  afterEach(async () => {
    person[Symbol.dispose]();
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  const failed = (change: Change) => whenChange(api, change.id, ({ status }) => status === 'failed');
  const applied = (change: Change) => whenChange(api, change.id, ({ status }) => status === 'applied');
  /** A change that fails until the entity type is registered. */
  const failedOf = async (entityType: string): Promise<Change> =>
    failed(await api.recordChange(entityType, `e${++unique}`, 'insert', { text: 'x' }));

  describe('Import… and Undo Import…', () => {
    const csv = async (name: string, text: string): Promise<string> => {
      const file = join(folder, name);
      await writeFile(file, text);
      return file;
    };

    it('imports a file as changes, and reports which rows were refused and why', async () => {
      const file = await csv('fruits.csv', 'id,name\napple,Apple\nkiwi\npear,Pear,extra\nplum,Plum\n');
      person
        .answers(/Entity type to import into/, '$(add) New document type…')
        .answers(/Name of the new entity type/, 'ImportedFruit')
        .answers(/Field that identifies a row/, 'id');
      await run('import', file);
      assert.deepEqual(
        (await api.queryEntities('ImportedFruit', { orderBy: 'id' })).rows.map(({ id }) => id),
        ['apple', 'plum'],
      );
      const report = vscode.window.activeTextEditor?.document.getText() ?? '';
      assert.match(report, /4 rows read, 2 recorded as changes, 2 refused/);
      assert.match(report, /\| 3 \| .+ \|/);
      assert.match(report, /\| 4 \| .+ \|/);
      assert.match(person.statusMessages.at(-1) ?? '', /2 rows imported into ImportedFruit, 2 refused/);
    });

    it('refuses a file that is no JSON, naming the place, and records nothing', async () => {
      const file = await csv('broken.json', '[{"id": "a"},\n{"id": }]');
      await run('import', file, 'ImportedFruit');
      const { kind, message } = await person.nextNotice();
      assert.equal(kind, 'error');
      assert.match(message, /broken\.json.*line 2/);
      assert.equal((await api.queryEntities('ImportedFruit')).rows.length, 2);
    });

    it('refuses to undo an import on which later changes stand, saying which, and undoes it when none does', async () => {
      const file = await csv('drinks.csv', 'id,name\ntea,Tea\ncoffee,Coffee\n');
      await api.registerEntityType({ entityType: 'Drink' });
      await run('import', file, 'Drink');
      await api.upsertEntity('Drink', 'tea', { name: 'Green tea' });
      person.answers(/Which import is to be undone/, 'drinks.csv');
      await run('undoImport');
      const refusal = await person.nextNotice();
      assert.equal(refusal.kind, 'error');
      assert.match(refusal.message, /tea/);
      assert.equal((await api.queryEntities('Drink')).rows.length, 2);
      const { changes } = await api.listChanges({ entityType: 'Drink', order: 'desc', limit: 1 });
      person.answers(/Discard the update of Drink tea/, 'Discard');
      await run('change.discard', { changeId: changes[0]?.id });
      await person.nextNotice();
      person.answers(/Which import is to be undone/, 'drinks.csv');
      await run('undoImport');
      assert.deepEqual((await api.queryEntities('Drink')).rows, []);
      assert.match(person.statusMessages.at(-1) ?? '', /2 imported changes undone/);
    });
  });

  describe('retrying', () => {
    it('retries every failed change', async () => {
      const [one, other] = [await failedOf('LateA'), await failedOf('LateB')];
      await api.registerEntityType({ entityType: 'LateA' });
      await api.registerEntityType({ entityType: 'LateB' });
      await run('retryFailed');
      await Promise.all([applied(one), applied(other)]);
      assert.match(person.statusMessages.at(-1) ?? '', /Retrying \d+/);
    });

    it('retries all of the type that is chosen and of no other', async () => {
      const [chosen, left] = [await failedOf('LateC'), await failedOf('LateD')];
      await api.registerEntityType({ entityType: 'LateC' });
      await api.registerEntityType({ entityType: 'LateD' });
      person.answers(/Entity type/, (_question, choices) => {
        assert.ok(choices.includes('LateC') && choices.includes('LateD'));
        return 'LateC';
      });
      await run('retryType');
      await applied(chosen);
      assert.equal((await currentOf(api, left)).status, 'failed');
    });

    it('retries those that are selected, and a whole group', async () => {
      const [first, second, third] = [await failedOf('LateE'), await failedOf('LateE'), await failedOf('LateE')];
      await api.registerEntityType({ entityType: 'LateE' });
      const targets = [first, second].map(({ id }) => ({ changeId: id }));
      await run('change.retry', targets[0], targets);
      await Promise.all([applied(first), applied(second)]);
      assert.equal((await currentOf(api, third)).status, 'failed');
      await run('change.retryGroup', { kind: 'group', group: 'failed' });
      await applied(third);
    });

    it('says in the status bar, and nowhere else, that what is retried has failed again', async () => {
      const change = await failedOf('Never');
      await run('change.retry', { changeId: change.id });
      assert.match(person.statusMessages.at(-1) ?? '', /Never e\d+ failed/);
      assert.deepEqual(person.notices, []);
    });
  });

  describe('processing', () => {
    it('is paused, records on meanwhile, runs once when told, and goes on when resumed', async () => {
      await run('pauseProcessing');
      const change = await api.recordChange('Memo', `m${++unique}`, 'insert', { text: 'waits' });
      const later = await api.recordChange('Memo', `m${++unique}`, 'insert', { text: 'waits too' });
      assert.equal((await currentOf(api, change)).status, 'pending');
      assert.match((await currentOf(api, change)).reason ?? '', /paused/);
      await run('processNow');
      assert.equal((await currentOf(api, later)).status, 'applied');
      const last = await api.recordChange('Memo', `m${++unique}`, 'insert', { text: 'waits again' });
      assert.equal((await currentOf(api, last)).status, 'pending');
      await run('resumeProcessing');
      await applied(last);
    });
  });

  describe('on a change', () => {
    it('copy its error, with what it was about and its code', async () => {
      const change = await failedOf('Unknown');
      await run('change.copyError', { changeId: change.id });
      assert.equal(await clipboard(), `insert Unknown ${change.entityId}: ${change.error} (UNKNOWN_ENTITY_TYPE)`);
    });

    it('copy it as JSON: one as an object, several as a list', async () => {
      const [one, other] = [await failedOf('Unknown'), await failedOf('Unknown')];
      await run('change.copyJson', { changeId: one.id });
      assert.deepEqual(JSON.parse(await clipboard()), await currentOf(api, one));
      const targets = [one, other].map(({ id }) => ({ changeId: id }));
      await run('change.copyJson', targets[0], targets);
      const copied = JSON.parse(await clipboard()) as Change[];
      assert.deepEqual(
        copied.map(({ id }) => id),
        [one.id, other.id],
      );
    });

    it('show an update as the entity before and after it in the diff editor, and others as they are', async () => {
      const id = `m${++unique}`;
      await applied(await api.recordChange('Memo', id, 'insert', { text: 'before' }));
      const update = await applied(await api.recordChange('Memo', id, 'update', { text: 'after' }));
      await run('change.show', { changeId: update.id });
      const diff = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
      assert.ok(diff instanceof vscode.TabInputTextDiff);
      assert.deepEqual(await jsonOf(diff.original), { id, text: 'before' });
      assert.deepEqual(await jsonOf(diff.modified), { id, text: 'after' });
      const failure = await failedOf('Unknown');
      await run('change.show', { changeId: failure.id });
      const shown = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
      assert.ok(shown instanceof vscode.TabInputText);
      assert.partialDeepStrictEqual(await jsonOf(shown.uri), {
        id: failure.id,
        status: 'failed',
        error: failure.error,
      });
    });

    it('open the Entities panel at its entity', async () => {
      const id = `m${++unique}`;
      const change = await applied(await api.recordChange('Memo', id, 'insert', { text: 'here' }));
      await run('change.openEntity', { changeId: change.id });
      await whenTab('Entities');
    });

    it('discard it only after saying what is undone, and restore it', async () => {
      const change = await failedOf('Unknown');
      person.answers(/Discard the insert of Unknown/, undefined);
      await run('change.discard', { changeId: change.id });
      assert.equal((await currentOf(api, change)).status, 'failed', 'Escape leaves it alone');
      await person.nextNotice();
      person.answers(/Discard the insert of Unknown/, 'Discard');
      await run('change.discard', { changeId: change.id });
      assert.match((await person.nextNotice()).detail ?? '', /is not there, and stays so/);
      assert.equal((await currentOf(api, change)).status, 'discarded');
      await run('change.restore', { changeId: change.id });
      await failed(change);
    });
  });

  describe('on entities', () => {
    it('record a change step by step', async () => {
      const id = `m${++unique}`;
      person
        .answers(/^Entity type$/, 'Memo')
        .answers(/^Operation$/, 'insert')
        .answers(/Id of the new Memo/, id)
        .answers(/Payload of Memo/, '{ "text": "step by step" }');
      await run('recordChange');
      assert.equal((await api.getEntity('Memo', id))?.['text'], 'step by step');
      assert.match(person.statusMessages.at(-1) ?? '', new RegExp(`Memo ${id} applied`));
    });

    it('upsert inserts, then updates only what is given', async () => {
      const target = { entityType: 'Memo', entityId: `m${++unique}` };
      person.answers(/Payload of Memo/, '{ "text": "a", "colour": "red" }');
      await run('upsertEntity', target);
      person.answers(/Payload of Memo/, '{ "text": "b" }');
      await run('upsertEntity', target);
      assert.partialDeepStrictEqual(await api.getEntity('Memo', target.entityId), { text: 'b', colour: 'red' });
      assert.deepEqual(
        person.statusMessages.map((text) => /inserted|updated/.exec(text)?.[0]),
        ['inserted', 'updated'],
      );
    });

    it('delete after asking, and not when the question is escaped', async () => {
      const target = { entityType: 'Memo', entityId: `m${++unique}` };
      await api.upsertEntity('Memo', target.entityId, { text: 'a' });
      person.answers(/Delete Memo/, undefined);
      await run('deleteEntity', target);
      assert.ok((await api.getEntity('Memo', target.entityId)) !== undefined);
      person.answers(/Delete Memo/, 'Delete');
      await run('deleteEntity', target);
      assert.equal(await api.getEntity('Memo', target.entityId), undefined);
      person.notices.length = 0;
    });

    it('end without a word at Escape', async () => {
      person.answers(/^Entity type$/, 'Memo').answers(/^Operation$/, undefined);
      const before = await api.listChanges({ limit: 1, order: 'desc' });
      await run('recordChange');
      assert.deepEqual(await api.listChanges({ limit: 1, order: 'desc' }), before);
      assert.deepEqual(person.notices, []);
    });

    it('register an entity type of documents', async () => {
      person
        .answers(/What are the entities kept in/, '$(json) JSON documents')
        .answers(/Name of the new entity type/, 'Poem');
      await run('registerEntityType');
      const types = await api.listEntityTypes();
      assert.partialDeepStrictEqual(
        types.find(({ entityType }) => entityType === 'Poem'),
        { kind: 'document', key: 'id' },
      );
    });
  });

  describe('on the whole', () => {
    it('create the sample data with its three repairable troubles', async () => {
      await openSampleData();
      const { changes } = await api.listChanges({ entityType: 'Task', status: ['failed', 'blocked'] });
      assert.deepEqual(changes.map(({ status }) => status).sort(), ['blocked', 'failed', 'failed']);
    });

    it('say where the data is, and copy the path', async () => {
      person.answers(/The data of workspace is in/, 'Copy Path');
      await run('showDataLocation');
      const { message, buttons } = await person.nextNotice();
      assert.deepEqual(buttons, ['Copy Path', 'Reveal']);
      assert.ok(message.endsWith(await clipboard()), message);
    });

    it('show the log', async () => {
      const shown = new Promise<void>((resolve) => {
        const look = () => {
          const isLog = ({ document }: vscode.TextEditor) =>
            document.uri.scheme === 'output' && /Local Data/.test(document.uri.path);
          if (vscode.window.visibleTextEditors.some(isLog)) resolve();
        };
        vscode.window.onDidChangeVisibleTextEditors(look);
        look();
      });
      await run('showLog');
      await shown;
      await vscode.commands.executeCommand('workbench.action.closePanel');
    });

    it('copy diagnostics without a payload or the name of an entity', async () => {
      await api.upsertEntity('Memo', 'secret-name', { text: 'secret-text' });
      assert.equal((await diagnostics()).state, 'ready');
      const text = await clipboard();
      const { engine, settings } = JSON.parse(text) as { engine: { counts: object }; settings: object };
      assert.ok('failed' in engine.counts && 'retryLimit' in settings);
      assert.doesNotMatch(text, /secret-/);
    });

    it('use no personal database beside the one of the folder', async () => {
      await run('usePersonalDatabase');
      assert.match((await person.nextNotice()).message, /this window uses the database of workspace/);
    });

    it('tell nobody of what fails in the background', async () => {
      await failedOf('Background');
      assert.deepEqual(person.notices, []);
      assert.deepEqual(person.statusMessages, []);
    });
  });
});

async function currentOf(api: LocalDataApi, { id }: Change): Promise<Change> {
  const { changes } = await api.listChanges({ limit: 1_000, order: 'desc' });
  const change = changes.find((one) => one.id === id);
  assert.ok(change);
  return change;
}

async function jsonOf(uri: vscode.Uri): Promise<unknown> {
  return JSON.parse((await vscode.workspace.openTextDocument(uri)).getText());
}

function whenTab(label: string): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!vscode.window.tabGroups.all.some(({ tabs }) => tabs.some((tab) => tab.label === label))) return;
      listening.dispose();
      resolve();
    };
    const listening = vscode.window.tabGroups.onDidChangeTabs(look);
    look();
  });
}
