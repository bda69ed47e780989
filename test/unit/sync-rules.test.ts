import assert from 'node:assert/strict';
import {
  type RulesRead,
  joinRules,
  readRulesFile,
  readRulesSetting,
  unreadable,
} from '../../src/host/sync/sync-rules.ts';

const said = ({ faults }: RulesRead) => faults.map(({ message }) => message).join('\n');

describe('rules of synchronisation', () => {
  it('keep a type on this machine when its rule cannot be understood, and say so', () => {
    const read = readRulesSetting({ Draft: { sync: 'no' }, Task: { conflicts: 'manual' } });
    assert.deepEqual(read.rules, { Draft: { sync: false }, Task: { conflicts: 'manual' } });
    assert.match(said(read), /localData\.sync\.rules: "Draft" has a "sync" that is neither true nor false/);
  });

  it('keep everything on this machine when they cannot be read at all, whatever the other source allows', () => {
    assert.deepEqual(joinRules(readRulesSetting(['Task'])).rules, { '*': { sync: false } });
    const setting = readRulesSetting({ Task: { sync: true, conflicts: 'manual' } });
    const joined = joinRules(setting, unreadable({ message: 'The file is no JSON.', short: 'is no JSON', at: [] }));
    assert.deepEqual(joined.rules, { '*': { sync: false }, Task: { sync: false, conflicts: 'manual' } });
    assert.match(said(joined), /The file is no JSON\. Until that is corrected nothing is sent/);
  });

  it('are joined field by field, so that a type kept here by one stays here under the other', () => {
    const setting = readRulesSetting({ Draft: { sync: false } });
    const file = readRulesFile({ sync: { Draft: { conflicts: 'manual' } } });
    assert.deepEqual(joinRules(setting, file).rules, { Draft: { sync: false, conflicts: 'manual' } });
  });

  it('name a policy that there is not, with those that there are', () => {
    const read = readRulesSetting({ Task: { conflicts: 'newest' } });
    assert.match(said(read), /"newest"; it can be merge, last-write-wins/);
  });

  it('name every fault of a file with the place where it stands', () => {
    const { faults } = readRulesFile({ sync: { Task: { conflicts: 'newest', when: 1 }, Draft: null } });
    assert.deepEqual(
      faults.map(({ source, at }) => [source, at.join('.')]),
      [
        ['file', 'sync.Task.conflicts'],
        ['file', 'sync.Task.when'],
        ['file', 'sync.Draft'],
      ],
    );
  });

  it('hold everything back when the file has something else where the rules should be', () => {
    const read = readRulesFile({ snyc: { Task: { sync: false } } });
    assert.deepEqual(joinRules(read).rules, { '*': { sync: false } });
    assert.match(said(read), /localdata\.json has "snyc"; it can have "sync" and "demo"/);
    assert.deepEqual(readRulesFile({ demo: true }).faults, []);
  });
});
