// The state of synchronisation in a person's words, for the status bar, the Changes view and the document that says all of
// it. Pure; must not import `vscode`.
import type { SyncState, SyncStatus } from '../../protocol/sync-state.ts';

interface Words {
  readonly title: string;
  readonly icon: string;
}

const WORDS: Readonly<Record<SyncStatus, Words>> = {
  'not-configured': { title: 'No server', icon: 'plug' },
  connecting: { title: 'Connecting', icon: 'sync~spin' },
  snapshot: { title: 'Receiving what the server has', icon: 'sync~spin' },
  synced: { title: 'In sync', icon: 'cloud' },
  syncing: { title: 'Sending changes', icon: 'sync~spin' },
  offline: { title: 'Offline', icon: 'debug-disconnect' },
  paused: { title: 'Working offline', icon: 'debug-pause' },
  'sign-in-needed': { title: 'Sign-in needed', icon: 'key' },
  'needs-decision': { title: 'Needs your decision', icon: 'warning' },
  stopped: { title: 'Stopped', icon: 'error' },
};

const NEEDING_A_PERSON: readonly SyncStatus[] = ['sign-in-needed', 'needs-decision', 'stopped'];

export function titleOf({ status }: SyncState): string {
  return WORDS[status].title;
}

/** The reason beside the title; some say the title first. */
export function reasonOf(state: SyncState): string | null {
  const { reason } = state;
  const title = `${titleOf(state)}: `;
  return reason?.startsWith(title) === true ? reason.slice(title.length) : reason;
}

/** Of VS Code's icons. */
export function iconOf({ status }: SyncState): string {
  return WORDS[status].icon;
}

export function needsAPerson({ status, conflicts, refused, missing }: SyncState): boolean {
  return NEEDING_A_PERSON.includes(status) || conflicts > 0 || refused > 0 || missing > 0;
}

/** For what a change waits that has still to be sent; short, for its row is narrow. */
export function waitOf({ status }: SyncState): string {
  return WAITS[status];
}

const WAITS: Readonly<Record<SyncStatus, string>> = {
  'not-configured': 'waits for a server',
  connecting: 'waits: connecting',
  snapshot: 'waits: receiving comes first',
  synced: 'waits for the server',
  syncing: 'waits for the server',
  offline: 'waits: offline',
  paused: 'waits: offline',
  'sign-in-needed': 'waits: sign-in needed',
  'needs-decision': 'waits for your decision',
  stopped: 'waits: contact has stopped',
};

/** A server's changing state is one thing to look at only where there is a server. */
export function isConfigured({ status }: SyncState): boolean {
  return status !== 'not-configured';
}

export interface Fact {
  readonly name: string;
  readonly value: string;
}

/** What is asked most. */
export function factsOf(state: SyncState, now: number): Fact[] {
  const { server, snapshot } = state;
  const facts: (Fact | null)[] = [
    snapshot === null
      ? null
      : { name: 'Received', value: `${count(snapshot.received)} of ${count(snapshot.total)} entities` },
    server === null ? null : { name: 'Address', value: server.url },
    server === null ? null : { name: 'Space', value: server.space },
    { name: 'Last answer', value: agoOf(state.lastAnswerAt, now) },
    state.nextTryAt === null ? null : { name: 'Next try', value: soonOf(state.nextTryAt, now) },
    { name: 'Waiting', value: waitingOf(state) },
    state.conflicts === 0 ? null : { name: 'In conflict', value: `${count(state.conflicts)}, until you choose` },
    state.refused === 0 ? null : { name: 'Refused', value: count(state.refused) },
    state.setAside === 0
      ? null
      : { name: 'Set aside', value: `${count(state.setAside)} from the server that cannot be applied here` },
    state.missing === 0 ? null : { name: 'Missing there', value: missingOf(state) },
    { name: 'Version', value: count(state.version) },
  ];
  return facts.filter((fact) => fact !== null);
}

export function missingOf({ missing }: SyncState): string {
  return `${count(missing)} that the server had before, until you decide`;
}

export function waitingOf({ waiting, pushedPerSecond }: SyncState): string {
  if (waiting === 0) return 'nothing';
  const rate = pushedPerSecond >= 1 ? `, ${count(Math.round(pushedPerSecond))} a second` : '';
  return `${count(waiting)} ${waiting === 1 ? 'change' : 'changes'}${rate}`;
}

function count(value: number): string {
  return value.toLocaleString();
}

function agoOf(at: number | null, now: number): string {
  if (at === null) return 'none yet';
  const seconds = Math.max(0, Math.round((now - at) / 1_000));
  if (seconds < 5) return 'just now';
  return seconds < 90 ? `${seconds} s ago` : new Date(at).toLocaleString();
}

function soonOf(at: number, now: number): string {
  const seconds = Math.ceil((at - now) / 1_000);
  return seconds <= 0 ? 'now' : `in ${seconds} s`;
}
