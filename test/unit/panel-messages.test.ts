// What the Entities panel may say to its host; everything else is refused before it is looked at.
import assert from 'node:assert/strict';
import { checkMessage } from '../../src/host/entities-panel/panel-requests.ts';

describe('messages from the Entities panel', () => {
  it('may run the commands that are named for it, and no other', () => {
    const command = { kind: 'command', command: 'localData.change.retry', changeId: 'c1' };
    assert.deepEqual(checkMessage(command), command);
    assert.throws(() => checkMessage({ kind: 'command', command: 'workbench.action.quit' }));
    assert.throws(() => checkMessage({ kind: 'command', command: 'localData.deleteAllData' }));
  });

  it('may give up a call, and give a view to be kept', () => {
    const cancel = { kind: 'cancel', id: 7 };
    assert.deepEqual(checkMessage(cancel), cancel);
    const view = { entityType: 'Task', types: {}, drafts: {} };
    const keep = { kind: 'keep', place: '/data', kept: { revision: 3, view } };
    assert.deepEqual(checkMessage(keep), keep);
    assert.throws(() => checkMessage({ kind: 'cancel', id: 'all' }));
  });

  it('are refused when they have an unknown kind, an unknown call or a field too many', () => {
    assert.throws(() => checkMessage({ kind: 'eval', code: '1' }));
    assert.throws(() => checkMessage({ kind: 'call', id: 1, call: 'exec', query: {} }));
    assert.throws(() => checkMessage({ kind: 'ready', more: true }));
    assert.throws(() => checkMessage(null));
  });
});
