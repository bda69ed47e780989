import assert from 'node:assert/strict';
import { type ReceiptView, receiptOf } from '../../src/host/sync/receipt-steps.ts';
import type { Change, Failure } from '../../src/protocol/changes.ts';
import type { Receipt } from '../../src/protocol/sync-state.ts';
import { APPLIED, CONFLICT } from './a-change.ts';

const SAVED: Receipt = { savedAt: 10, appliedAt: 11, acceptedAt: null, acceptedVersion: null, seenInFeedAt: null };
const failure: Failure = { stage: 'push', kind: 'permanent', code: 'REFUSED', message: 'no such owner', at: 12 };
const kinds = ({ steps }: ReceiptView) => steps.map(({ kind }) => kind);
const labels = ({ steps }: ReceiptView) => steps.map(({ label }) => label);
const view = (change: Partial<Change>, receipt: Partial<Receipt> = {}, hasServer = true) =>
  receiptOf({ ...APPLIED, ...change }, { ...SAVED, ...receipt }, hasServer);

describe('the receipt of a change', () => {
  it('is whole once every client can see it', () => {
    const whole = view(
      { status: 'synced', processedSync: true, acceptedAt: 12, acceptedVersion: 7 },
      { acceptedAt: 12, acceptedVersion: 7, seenInFeedAt: 13 },
    );
    assert.deepEqual(kinds(whole), ['done', 'done', 'done', 'done']);
    assert.match(labels(whole).join(), /Accepted by the server as version 7/);
    assert.deepEqual(
      whole.steps.map(({ at }) => at),
      [10, 11, 12, 13],
    );
  });

  it('says what the rest of its way waits for', () => {
    const offline = view({});
    assert.deepEqual(kinds(offline), ['done', 'done', 'waiting', 'waiting']);
    assert.equal(offline.steps[2]?.detail, 'offline');
    assert.match(view({ awaiting: null, reason: null }, {}, false).steps[2]?.detail ?? '', /no server/);
    assert.match(view({ awaiting: null, reason: null }).steps[2]?.detail ?? '', /its type stays here/);
  });

  it('does not take a page of the feed from before it was accepted for having been seen there', () => {
    assert.deepEqual(kinds(view({}, { seenInFeedAt: 9 })), ['done', 'done', 'waiting', 'waiting']);
  });

  it('of a remote change says who wrote it and when it came', () => {
    const remote = view(
      { origin: 'remote', status: 'synced', clientId: 'client-b', acceptedVersion: 7, acceptedAt: 20, appliedAt: 20 },
      { seenInFeedAt: 20 },
    );
    assert.match(remote.summary, /came from the server/);
    assert.deepEqual(kinds(remote), ['done', 'done', 'done', 'done']);
    assert.equal(remote.steps[0]?.detail, 'by client client-b, as its clock says');
    assert.doesNotMatch(labels(remote).join(), /Saved in the changes table/);
  });

  it('of a remote change that cannot be applied says that it is set aside, and why', () => {
    const error = 'It breaks tasks_priority_check.';
    const aside = view({ origin: 'remote', status: 'failed', processedLocal: false, error, failure });
    assert.match(aside.summary, /set aside/);
    assert.deepEqual(kinds(aside), ['done', 'done', 'done', 'failed']);
    assert.equal(aside.steps.at(-1)?.detail, error);
  });

  it('of a discarded change says that it was taken back and never goes further', () => {
    const discarded = view({ status: 'discarded', discardedAt: 15 });
    assert.match(discarded.summary, /^Discarded: its effect here was taken back/);
    assert.deepEqual(kinds(discarded), ['done', 'done', 'never', 'never', 'done']);
    assert.equal(discarded.steps.at(-1)?.at, 15);
    assert.deepEqual(kinds(view({ status: 'discarded', discardedAt: 15, processedLocal: false })).slice(0, 2), [
      'done',
      'never',
    ]);
  });

  it('of a change that cancelled out says that it was never sent', () => {
    const cancelled = view({ status: 'synced', processedSync: true, note: 'cancelled out: it was never sent' });
    assert.equal(cancelled.summary, 'Cancelled out: it was never sent');
    assert.deepEqual(kinds(cancelled), ['done', 'done', 'never', 'never']);
  });

  it('of one given up in a conflict says so, with what was given up', () => {
    const lost = { mine: { title: 'Mine' }, theirs: {} };
    const resolution = { by: 'policy', outcome: 'theirs', at: 13, lost } as const;
    const given = view({ status: 'synced', processedSync: true, conflict: { ...CONFLICT, resolution } });
    assert.match(given.summary, /^Given up in a conflict/);
    assert.deepEqual(kinds(given), ['done', 'done', 'conflict', 'never', 'never']);
    assert.match(given.steps[2]?.label ?? '', /by its policy, remote-wins: theirs was taken/);
    assert.equal(given.steps[2]?.detail, 'Given up of mine: title “Mine”.');
  });

  it('of one in conflict, refused, or failed here says that it waits for a person', () => {
    const waiting = view({ status: 'conflicted', conflict: CONFLICT });
    assert.match(waiting.summary, /waits for you/);
    assert.deepEqual(kinds(waiting), ['done', 'done', 'conflict', 'waiting', 'waiting']);
    const refused = view({ status: 'failed', failure, error: 'no such owner' });
    assert.match(refused.summary, /^Refused by the server/);
    assert.deepEqual(kinds(refused), ['done', 'done', 'failed', 'waiting']);
    const local = view({
      status: 'failed',
      processedLocal: false,
      failure: { ...failure, stage: 'local' },
      error: 'x',
    });
    assert.deepEqual(kinds(local), ['done', 'failed', 'waiting', 'waiting']);
  });
});
