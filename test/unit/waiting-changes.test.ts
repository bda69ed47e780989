// The marks of what is not done, read again after commits.
import assert from 'node:assert/strict';
import type { PanelCalls } from '../../src/protocol/panel.ts';
import { WaitingChanges } from '../../src/webview/waiting-changes.ts';

type Waiting = PanelCalls['waiting'];

describe('the marks of waiting changes', () => {
  const asked: { query: Waiting['query']; answer: (answer: Partial<Waiting['answer']>) => void }[] = [];
  let waiting: (() => void)[] = [];
  const nextAsked = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));
  const start = (onChange = () => {}): WaitingChanges =>
    new WaitingChanges((query) => {
      const { promise, resolve } = Promise.withResolvers<Waiting['answer']>();
      const answer = (given: Partial<Waiting['answer']>): void =>
        resolve({ marks: [], notInserted: [], failed: {}, ...given });
      asked.push({ query, answer });
      for (const go of waiting.splice(0)) go();
      return promise;
    }, onChange);
  const mark = (entityId: string) => ({ entityId, changeId: 'c', status: 'failed', reason: 'breaks a rule' }) as const;

  beforeEach(() => {
    asked.length = 0;
    waiting = [];
  });

  it('are those of the entities in view, with the failures of all types', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const changes = start(resolve);
    changes.show({ entityType: 'Task', entityIds: ['a', 'b'] });
    assert.deepEqual(asked[0]?.query, { entityType: 'Task', entityIds: ['a', 'b'] });
    asked[0].answer({ marks: [mark('b')], notInserted: [mark('c')], failed: { Task: 2, User: 1 } });
    await promise;
    assert.deepEqual([changes.markOf('a'), changes.markOf('b')?.status], [undefined, 'failed']);
    assert.deepEqual([changes.notInserted.length, changes.failedOf('User'), changes.failedOf('Project')], [1, 1, 0]);
  });

  it('stay on entities that went out of view, and go once those are read again', async () => {
    const changes = start();
    changes.show({ entityType: 'Task', entityIds: ['a'] });
    let again = nextAsked();
    changes.show({ entityType: 'Task', entityIds: [] });
    asked[0]?.answer({ marks: [mark('a')] });
    await again;
    again = nextAsked();
    changes.show({ entityType: 'Task', entityIds: ['a'] });
    asked[1]?.answer({});
    await again;
    assert.equal(changes.markOf('a')?.status, 'failed');
    asked[2]?.answer({});
    again = nextAsked();
    changes.readSoon();
    await again;
    assert.equal(changes.markOf('a'), undefined);
    asked[3]?.answer({});
  });

  it('are read once more after many commits in a row, and not while a reading is on its way', async () => {
    const changes = start();
    changes.show({ entityType: 'Task', entityIds: ['a'] });
    for (let commit = 0; commit < 100; commit++) changes.readSoon();
    assert.equal(asked.length, 1);
    const again = nextAsked();
    asked[0]?.answer({});
    await again;
    assert.equal(asked.length, 2);
    asked[1]?.answer({});
  });

  it('of another type are not shown for this one, even when they come late', async () => {
    const changes = start();
    changes.show({ entityType: 'Task', entityIds: ['a'] });
    const again = nextAsked();
    changes.show({ entityType: 'User', entityIds: ['a'] });
    asked[0]?.answer({ marks: [mark('a')] });
    await again;
    assert.equal(changes.markOf('a'), undefined);
    assert.equal(asked[1]?.query.entityType, 'User');
    asked[1].answer({});
  });
});
