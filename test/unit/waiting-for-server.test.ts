// When changes are shown as waiting for the server, which group lists which of them, and what their rows say.
import assert from 'node:assert/strict';
import { type Tally, countOf, groupsOf, listingOf } from '../../src/host/changes-view/elements.ts';
import { WaitingForServer } from '../../src/host/changes-view/waiting-for-server.ts';
import { waitOf } from '../../src/host/sync/sync-words.ts';
import { type Change, noChanges } from '../../src/protocol/changes.ts';
import { NO_SYNC, type SyncStatus } from '../../src/protocol/sync-state.ts';
import { APPLIED } from './a-change.ts';

describe('changes that wait for the server', () => {
  let due: { readonly work: () => void; readonly milliseconds: number }[] = [];
  let shown = 0;
  let waiting: WaitingForServer;

  beforeEach(() => {
    due = [];
    shown = 0;
    waiting = new WaitingForServer(
      () => shown++,
      (work, milliseconds) => {
        const timer = { work, milliseconds };
        due.push(timer);
        return () => void (due = due.filter((other) => other !== timer));
      },
    );
  });

  const note = (status: SyncStatus, count: number) => waiting.note({ status, waiting: count });
  const timeIsUp = () => {
    for (const { work } of due.splice(0)) work();
  };

  it('are shown at once where there is no contact', () => {
    for (const status of ['offline', 'paused', 'sign-in-needed', 'needs-decision', 'stopped'] as const) {
      note(status, 3);
      assert.equal(waiting.count, 3, status);
      note('synced', 0);
      assert.equal(waiting.count, 0, 'gone when nothing waits any more');
    }
    assert.deepEqual([due.length, shown], [0, 0]);
  });

  it('are not shown while they go through within a second', () => {
    note('syncing', 1);
    assert.deepEqual([waiting.count, due.map(({ milliseconds }) => milliseconds)], [0, [1_000]]);
    note('synced', 0);
    assert.deepEqual([waiting.count, due.length], [0, 0], 'and nothing is left to show them later');
  });

  it('are shown once they have waited for a second, and until none waits', () => {
    note('connecting', 5);
    note('syncing', 4);
    assert.equal(due.length, 1, 'the second is counted from the first');
    timeIsUp();
    assert.deepEqual([waiting.count, shown], [4, 1]);
    note('syncing', 2);
    assert.equal(waiting.count, 2);
    note('synced', 0);
    note('syncing', 1);
    assert.equal(waiting.count, 0, 'the next has a second again');
  });

  it('stay shown when contact is made again', () => {
    note('offline', 2);
    note('connecting', 2);
    note('syncing', 1);
    assert.deepEqual([waiting.count, due.length], [1, 0]);
  });

  it('show nothing after the view is gone', () => {
    note('syncing', 1);
    waiting.dispose();
    assert.equal(due.length, 0);
  });

  it('are counted in a group of their own, and under Finished where there is no server', () => {
    const counts = { ...noChanges(), applied: 10, synced: 5, discarded: 1 };
    const both = (held: number) => [
      countOf('waiting', { counts, waiting: held }),
      countOf('finished', { counts, waiting: held }),
    ];
    assert.deepEqual(both(0), [0, 16]);
    assert.deepEqual(both(7), [7, 9]);
    assert.deepEqual(both(11), [10, 6], 'never more than there are');
    assert.deepEqual(groupsOf('applied'), ['waiting', 'finished']);
    assert.deepEqual(groupsOf('synced'), ['finished']);
  });

  it('are listed in that group alone; what stays on this machine is finished', () => {
    const counts = { ...noChanges(), applied: 10, synced: 5 };
    const here: Change = { ...APPLIED, awaiting: null };
    const isIn = (group: 'waiting' | 'finished', tally: Tally, change: Change) => {
      const { statuses, holds } = listingOf(group, tally);
      return statuses.includes(change.status) && holds(change);
    };
    const some = { counts, waiting: 7 };
    assert.deepEqual([isIn('waiting', some, APPLIED), isIn('finished', some, APPLIED)], [true, false]);
    assert.deepEqual([isIn('waiting', some, here), isIn('finished', some, here)], [false, true]);
    const none = { counts, waiting: 0 };
    assert.deepEqual([isIn('finished', none, APPLIED), isIn('finished', none, here)], [true, true]);
    const all = { counts, waiting: 10 };
    assert.deepEqual(listingOf('finished', all).statuses, ['synced', 'discarded'], 'none of them is read through');
  });

  it('say in a few words for what', () => {
    const words = (status: SyncStatus) => waitOf({ ...NO_SYNC, status });
    assert.equal(words('syncing'), 'waits for the server');
    assert.equal(words('offline'), 'waits: offline');
    assert.equal(words('paused'), 'waits: offline');
    assert.equal(words('sign-in-needed'), 'waits: sign-in needed');
    assert.equal(words('needs-decision'), 'waits for your decision');
  });
});
