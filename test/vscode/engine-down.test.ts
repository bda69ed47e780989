import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { COMMANDS, type CommandId } from '../../src/host/contributions.ts';
import { activated, diagnostics } from './open-database.ts';
import { Person } from './person.ts';

const CREATE_IT_FIRST = /no database yet\. Create it first/;
const someChange = [{ changeId: '00000000-0000-7000-8000-000000000000' }];

/** What each command says while there is no database to act on, or that it acts all the same. */
const WHILE_DOWN: Readonly<Record<CommandId, RegExp | 'acts'>> = {
  'localData.openEntities': CREATE_IT_FIRST,
  'localData.recordChange': CREATE_IT_FIRST,
  'localData.upsertEntity': CREATE_IT_FIRST,
  'localData.deleteEntity': CREATE_IT_FIRST,
  'localData.import': CREATE_IT_FIRST,
  'localData.undoImport': CREATE_IT_FIRST,
  'localData.retryFailed': CREATE_IT_FIRST,
  'localData.retryType': CREATE_IT_FIRST,
  'localData.pauseProcessing': CREATE_IT_FIRST,
  'localData.resumeProcessing': CREATE_IT_FIRST,
  'localData.processNow': CREATE_IT_FIRST,
  'localData.registerEntityType': CREATE_IT_FIRST,
  'localData.createSampleData': CREATE_IT_FIRST,
  'localData.deleteAllData': CREATE_IT_FIRST,
  'localData.change.retry': CREATE_IT_FIRST,
  'localData.change.retryGroup': CREATE_IT_FIRST,
  'localData.change.edit': CREATE_IT_FIRST,
  'localData.change.discard': CREATE_IT_FIRST,
  'localData.change.restore': CREATE_IT_FIRST,
  'localData.change.undo': CREATE_IT_FIRST,
  'localData.change.show': CREATE_IT_FIRST,
  'localData.change.openEntity': CREATE_IT_FIRST,
  'localData.change.copyError': CREATE_IT_FIRST,
  'localData.change.copyJson': CREATE_IT_FIRST,
  'localData.change.showReceipt': CREATE_IT_FIRST,
  'localData.conflict.resolve': CREATE_IT_FIRST,
  'localData.conflict.keepMine': CREATE_IT_FIRST,
  'localData.conflict.takeTheirs': CREATE_IT_FIRST,
  'localData.sync.connect': CREATE_IT_FIRST,
  'localData.sync.disconnect': CREATE_IT_FIRST,
  'localData.sync.now': CREATE_IT_FIRST,
  'localData.sync.goOffline': CREATE_IT_FIRST,
  'localData.sync.goOnline': CREATE_IT_FIRST,
  'localData.sync.signIn': CREATE_IT_FIRST,
  'localData.sync.showStatus': CREATE_IT_FIRST,
  'localData.sync.actions': CREATE_IT_FIRST,
  'localData.sync.decideMissing': CREATE_IT_FIRST,
  'localData.sync.verify': CREATE_IT_FIRST,
  'localData.sync.networkConditions': CREATE_IT_FIRST,
  'localData.adoptDatabase': /every database here belongs to a folder that still exists/,
  'localData.showDataLocation': /The data of workspace would be kept in .*[0-9a-f]{64}/,
  'localData.showLog': 'acts',
  'localData.copyDiagnostics': 'acts',
  'localData.changes.loadMore': 'acts',
  'localData.sync.openRules': 'acts',
  // These open a database, save a document or look again; they are tested where they do.
  'localData.change.saveEdit': 'acts',
  'localData.tryAgain': 'acts',
  'localData.createDatabase': 'acts',
  'localData.usePersonalDatabase': 'acts',
};

describe('while the engine is down', () => {
  before(async () => {
    await activated();
    await vscode.commands.executeCommand('localData.tryAgain');
    assert.equal((await diagnostics()).state, 'no-database', 'this suite runs before a database is made');
  });

  it('every command exists', async () => {
    const registered = await vscode.commands.getCommands(true);
    for (const id of Object.keys(COMMANDS)) assert.ok(registered.includes(id), id);
  });

  for (const [id, expected] of Object.entries(WHILE_DOWN)) {
    if (expected === 'acts') continue;
    it(`${id} says why it cannot act, and what would help`, async () => {
      using person = new Person();
      const args = /^localData\.(change|conflict)\./.test(id) ? someChange : [];
      await vscode.commands.executeCommand(id, ...args);
      const { message, buttons } = await person.nextNotice();
      assert.match(message, expected);
      assert.ok(buttons.length > 0, `${message} offers nothing`);
      assert.deepEqual(person.notices, [], 'it is said once');
    });
  }
});
