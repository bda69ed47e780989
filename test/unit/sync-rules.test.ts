import assert from 'node:assert/strict';
import { joinRules, readRules, unreadable } from '../../src/host/sync/sync-rules.ts';

describe('rules of synchronisation', () => {
  it('keep a type on this machine when its rule cannot be understood, and say so', () => {
    const { rules, problems } = readRules({ Draft: { sync: 'no' }, Task: { conflicts: 'manual' } }, 'the setting');
    assert.deepEqual(rules, { Draft: { sync: false }, Task: { conflicts: 'manual' } });
    assert.match(problems.join(), /the setting: "Draft" has a "sync" that is neither true nor false/);
  });

  it('keep everything on this machine when they cannot be read at all', () => {
    assert.deepEqual(readRules(['Task'], 'the setting').rules, { '*': { sync: false } });
    assert.deepEqual(unreadable('The file is no JSON object.').rules, { '*': { sync: false } });
  });

  it('are joined field by field, so that a type kept here by one stays here under the other', () => {
    const setting = readRules({ Draft: { sync: false } }, 'the setting');
    const file = readRules({ Draft: { conflicts: 'manual' } }, 'the file');
    assert.deepEqual(joinRules(setting, file).rules, { Draft: { sync: false, conflicts: 'manual' } });
  });

  it('name a policy that there is not, with those that there are', () => {
    const { problems } = readRules({ Task: { conflicts: 'newest' } }, 'the file');
    assert.match(problems.join(), /"newest"; it can be merge, last-write-wins/);
  });
});
