import assert from 'node:assert/strict';
import { readRulesFile } from '../../src/host/sync/sync-rules.ts';
import { syncStatusText } from '../../src/host/sync/sync-status-text.ts';
import { NO_SYNC, type SyncState } from '../../src/protocol/sync-state.ts';

const AT = new Date(2026, 0, 2, 3, 4, 5);
const connected: SyncState = {
  ...NO_SYNC,
  status: 'offline',
  reason: 'The server does not answer.',
  server: { url: 'http://127.0.0.1:1234', space: 'team', epoch: 'e-1', clientId: 'client-7' },
  waiting: 1_234,
  inFlight: 12,
  conflicts: 2,
  refused: 3,
  setAside: 4,
  missing: 5,
  pushedPerSecond: 99.6,
  version: 5_678,
  lastAnswerAt: AT.getTime() - 60_000,
  lastRoundTripMs: 12.4,
  nextTryAt: AT.getTime() + 8_000,
  networkConditions: { latencyMs: 500 },
};

/** What stands behind a name. */
function fact(text: string, name: string): string {
  const start = `- ${name}: `;
  const found = text.split('\n').filter((line) => line.startsWith(start));
  assert.equal(found.length, 1, `one line of ${name} in\n${text}`);
  return found[0]?.slice(start.length) ?? '';
}

describe('the document of the state of synchronisation', () => {
  const { rules, faults } = readRulesFile({
    sync: { '*': { conflicts: 'manual' }, Draft: { sync: false }, Task: { conflicts: 'newest' }, Project: {} },
  });
  const text = syncStatusText({ state: connected, rules, faults, at: AT });

  it('says how it is and why, with which server, and up to where', () => {
    assert.match(text, /\*\*Offline\.\*\* The server does not answer\./);
    assert.equal(fact(text, 'Address'), 'http://127.0.0.1:1234');
    assert.equal(fact(text, 'Space'), 'team');
    assert.equal(fact(text, 'History (epoch)'), 'e-1');
    assert.equal(fact(text, 'This client'), 'client-7');
    assert.match(fact(text, 'Version'), /^5,678;/);
  });

  it('says when there was contact, how long a round trip takes, and when the next try is', () => {
    assert.equal(fact(text, 'Last answer'), new Date(AT.getTime() - 60_000).toLocaleString());
    assert.equal(fact(text, 'Last change sent'), 'none yet');
    assert.equal(fact(text, 'Round trip'), '12 ms');
    assert.equal(fact(text, 'Next try'), new Date(AT.getTime() + 8_000).toLocaleString());
    assert.equal(fact(text, 'Network conditions'), '500 ms more for each request');
  });

  it('counts what waits, what is on the wire and what needs somebody', () => {
    assert.match(fact(text, 'Waiting to be sent'), /^1,234 changes/);
    assert.equal(fact(text, 'On the wire'), '12');
    assert.equal(fact(text, 'Accepted a second'), '100');
    assert.match(fact(text, 'In conflict'), /^2,/);
    assert.match(fact(text, 'Refused by the server'), /^3,/);
    assert.match(fact(text, 'Set aside'), /^4 /);
    assert.match(fact(text, 'Missing on the server'), /^5 that the server had before, until you decide/);
  });

  it('lists the rules in force, what they leave to the default, and what does not fit', () => {
    assert.equal(fact(text, 'All others'), 'synchronised, conflicts: manual');
    assert.equal(fact(text, 'Draft'), 'kept on this machine');
    assert.equal(fact(text, 'Task'), 'kept on this machine');
    assert.equal(fact(text, 'Project'), 'synchronised, conflicts: manual');
    assert.match(text, /### Rules that do not fit\n\n- .*"Task" has "conflicts": "newest"/);
    const plain = syncStatusText({ state: connected, rules: {}, faults: [], at: AT });
    assert.equal(fact(plain, 'All entity types'), 'synchronised, conflicts: merge');
    assert.doesNotMatch(plain, /do not fit/);
  });

  it('reassures nobody while something needs a person', () => {
    const synced: SyncState = { ...connected, status: 'synced', reason: null, waiting: 0 };
    const said = (state: SyncState) => syncStatusText({ state, rules: {}, faults: [], at: AT });
    assert.match(said(synced), /\*\*In sync\.\*\* What can go goes; 14 wait for you, as listed under Changes\./);
    const quiet = { ...synced, conflicts: 0, refused: 0, setAside: 0, missing: 0 };
    assert.match(said(quiet), /Everything the server has is here, and nothing waits to be sent\./);
  });

  it('says that there is no server where there is none', () => {
    const none = syncStatusText({ state: NO_SYNC, rules: {}, faults: [], at: AT });
    assert.match(none, /not connected to a server\. \*\*Connect to Server…\*\*/);
  });
});
