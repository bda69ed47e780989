// Everything that is known of synchronisation, as a Markdown document. Pure; must not import `vscode`. Times are given as
// they are: a document that stays open would make "5 s ago" untrue.
import type { EntityTypeSync, SyncRules, SyncState } from '../../protocol/sync-state.ts';
import { RULES_FILE, RULES_SETTING } from '../contributions.ts';
import { describeConditions } from './conditions.ts';
import type { RuleFault } from './sync-rules.ts';
import { isConfigured, missingOf, titleOf, waitingOf } from './sync-words.ts';

export interface SyncStatusReport {
  readonly state: SyncState;
  /** Those in force. */
  readonly rules: SyncRules;
  readonly faults: readonly RuleFault[];
  readonly at: Date;
}

type Row = readonly [name: string, value: string];

export function syncStatusText({ state, rules, faults, at }: SyncStatusReport): string {
  if (!isConfigured(state)) {
    return '# Sync Status\n\nThis database is not connected to a server. **Connect to Server…** does that.\n';
  }
  return [
    '# Sync Status',
    '',
    `**${titleOf(state)}.** ${state.reason ?? reassurance(state)}`,
    '',
    `As of ${at.toLocaleString()}.`,
    '',
    ...section('Server', serverRows(state)),
    ...section('Contact', contactRows(state)),
    ...section('Changes', changeRows(state)),
    '## Rules',
    '',
    ...ruleLines(rules, faults),
  ].join('\n');
}

function reassurance({ waiting, conflicts, refused, setAside, missing }: SyncState): string {
  const needing = conflicts + refused + setAside + missing;
  if (needing > 0)
    return `What can go goes; ${count(needing)} ${needing === 1 ? 'waits' : 'wait'} for you, as listed under Changes.`;
  const sent = waiting === 0 ? 'nothing waits to be sent' : 'what waits is on its way';
  return `Everything the server has is here, and ${sent}.`;
}

function serverRows({ server, version }: SyncState): Row[] {
  if (server === null) return [];
  return [
    ['Address', server.url],
    ['Space', server.space],
    ['History (epoch)', server.epoch],
    ['This client', server.clientId],
    ['Version', `${count(version)}; all that the server had then is here (the cursor)`],
  ];
}

function contactRows(state: SyncState): Row[] {
  const { networkConditions, snapshot, nextTryAt, lastRoundTripMs } = state;
  return [
    ['Last answer', timeOf(state.lastAnswerAt)],
    ['Round trip', lastRoundTripMs === null ? 'not measured yet' : `${count(Math.round(lastRoundTripMs))} ms`],
    ['Last change sent', timeOf(state.lastPushAt)],
    ['Last change received', timeOf(state.lastPullAt)],
    ...(nextTryAt === null ? [] : [['Next try', timeOf(nextTryAt)] as const]),
    ...(snapshot === null
      ? []
      : [['First receiving', `${count(snapshot.received)} of ${count(snapshot.total)} entities`] as const]),
    ['Network conditions', networkConditions === null ? 'nothing is disturbed' : describeConditions(networkConditions)],
  ];
}

function changeRows(state: SyncState): Row[] {
  const { conflicts, refused, setAside, missing, inFlight, pushedPerSecond } = state;
  return [
    ['Waiting to be sent', waitingOf(state)],
    ['On the wire', count(inFlight)],
    ['Accepted a second', count(Math.round(pushedPerSecond))],
    ['In conflict', conflicts === 0 ? '0' : `${count(conflicts)}, until you choose`],
    ['Refused by the server', refused === 0 ? '0' : `${count(refused)}, until you edit and retry, or discard`],
    ['Missing on the server', missing === 0 ? '0' : missingOf(state)],
    ['Set aside', setAside === 0 ? '0' : `${count(setAside)} from the server that cannot be applied here`],
  ];
}

/** As a list: lines of a table would be broken where the editor is narrow. */
function section(title: string, rows: readonly Row[]): string[] {
  return [`## ${title}`, '', ...rows.map(([name, value]) => `- ${name}: ${value}`), ''];
}

function ruleLines(rules: SyncRules, faults: readonly RuleFault[]): string[] {
  const types = Object.keys(rules).filter((entityType) => entityType !== '*');
  const named = types.sort().map((entityType): Row => [entityType, wordsOf({ ...rules['*'], ...rules[entityType] })]);
  const others: Row = [named.length === 0 ? 'All entity types' : 'All others', wordsOf(rules['*'] ?? {})];
  return [
    ...[...named, others].map(([name, value]) => `- ${name}: ${value}`),
    '',
    `From the setting \`${RULES_SETTING}\` and \`${RULES_FILE}\`, which wins. **Open Sync Rules** shows them.`,
    '',
    ...(faults.length === 0
      ? []
      : ['### Rules that do not fit', '', ...faults.map(({ message }) => `- ${message}`), '']),
  ];
}

function wordsOf({ sync = true, conflicts = 'merge' }: EntityTypeSync): string {
  return sync ? `synchronised, conflicts: ${conflicts}` : 'kept on this machine';
}

function count(value: number): string {
  return value.toLocaleString();
}

function timeOf(at: number | null): string {
  return at === null ? 'none yet' : new Date(at).toLocaleString();
}
