// How an element of the Changes view looks: icon, label, short description, tooltip. Reads data only; no engine calls.
import * as vscode from 'vscode';
import type { Change, ChangeStatus, Failure, Operation } from '../../protocol/changes.ts';
import { COMMANDS } from '../contributions.ts';
import type { Receipt, SyncState } from '../../protocol/sync-state.ts';
import { isGivenUp, resolutionLines } from '../sync/resolution-lines.ts';
import type { RuleFault } from '../sync/sync-rules.ts';
import { iconOf as syncIconOf, needsAPerson, titleOf, waitOf } from '../sync/sync-words.ts';
import {
  type ActionElement,
  type ChangeElement,
  type ChangesElement,
  type FactElement,
  type FaultElement,
  GROUPS,
  type GroupId,
  type Tally,
  contextValueOf,
  countOf,
  elementId,
} from './elements.ts';
import { type Transaction, inTransaction } from './transactions.ts';

/** What the section on the server is made of. */
export interface Server {
  readonly state: SyncState;
  readonly ruleFaults: readonly RuleFault[];
}

export function treeItemOf(element: ChangesElement, tally: Tally, sync: Server): vscode.TreeItem {
  const item = itemOf(element, tally, sync);
  item.id = elementId(element);
  item.contextValue = contextValueOf(element, tally);
  return item;
}

function itemOf(element: ChangesElement, tally: Tally, sync: Server): vscode.TreeItem {
  switch (element.kind) {
    case 'group':
      return groupItem(element.group, tally);
    case 'change':
      return changeItem(element, sync);
    case 'more':
      return moreItem(element.group, element.shown, tally);
    case 'action':
      return actionItem(element);
    case 'sync':
      return syncItem(sync);
    case 'fact':
      return factItem(element);
    case 'fault':
      return faultItem(element);
  }
}

function groupItem(id: GroupId, tally: Tally): vscode.TreeItem {
  const { Expanded, Collapsed } = vscode.TreeItemCollapsibleState;
  const group = GROUPS[id];
  const item = new vscode.TreeItem(group.label, group.startsExpanded ? Expanded : Collapsed);
  const count = countOf(id, tally).toLocaleString();
  item.description = count;
  item.tooltip = `${group.label}: ${count}. ${GROUP_MEANINGS[id]}`;
  item.accessibilityInformation = { label: `${group.label}, ${count} changes` };
  return item;
}

const GROUP_MEANINGS: Readonly<Record<GroupId, string>> = {
  conflicted: 'These were changed here and on the server: keep mine, take theirs, or merge.',
  failed: 'These need you: edit and retry, or discard.',
  blocked: 'These wait for another change and go on by themselves once it is through.',
  retrying: 'These met a passing trouble and are tried again by themselves.',
  pending: 'These are next.',
  waiting: 'These hold here already, and have still to reach the server.',
  finished: 'Applied or discarded; the newest first.',
};

function changeItem({ change, group, transaction }: ChangeElement, { state }: Server): vscode.TreeItem {
  const { entityType, entityId, operation, status } = change;
  const item = new vscode.TreeItem(labelOf(change));
  const isWaiting = group === 'waiting';
  const reason = isWaiting ? waitOf(state) : inTransaction(change, reasonOf(change), transaction);
  item.description = reason;
  item.iconPath = isWaiting ? WAITING_ICON : iconOf(status, operation);
  const standing = isWaiting ? 'waiting' : status;
  item.accessibilityInformation = {
    label: `${standing} change: ${operation} ${entityType} ${entityId}${reason === '' ? '' : `, ${reason}`}`,
  };
  item.command = {
    command: 'localData.change.show',
    title: 'Show Change',
    arguments: [{ changeId: change.id }],
  };
  return item;
}

const OPERATION_WORDS: Readonly<Record<Operation, string>> = { insert: 'Insert', update: 'Update', delete: 'Delete' };

export function labelOf({ operation, entityType, entityId }: Change): string {
  return `${OPERATION_WORDS[operation]} ${entityType} ${entityId}`;
}

/** Short, for the row is narrow; the whole reason stands in the tooltip. */
export function reasonOf(change: Change): string {
  switch (change.status) {
    case 'applied':
      return `applied ${timeOf(change.appliedAt ?? change.timestamp)}`;
    case 'synced':
      return `${syncedWord(change)} ${timeOf(change.appliedAt ?? change.timestamp)}`;
    case 'discarded':
      return `discarded ${timeOf(change.discardedAt ?? change.timestamp)}`;
    case 'conflicted':
      return conflictOf(change);
    case 'failed':
      return (change.failure === null ? null : shortFailure(change.failure)) ?? change.reason ?? change.error ?? '';
    case 'blocked':
    case 'retrying':
    case 'pending':
      return change.reason ?? change.error ?? '';
  }
}

/** Not everything that is through was sent. */
function syncedWord(change: Change): string {
  if (change.origin === 'remote') return 'received';
  if (change.acceptedAt !== null) return 'synced';
  return isGivenUp(change) ? 'given up' : 'not sent';
}

/** What both sides wrote, or which of them deleted it. */
function conflictOf({ conflict, reason }: Change): string {
  if (conflict === null) return reason ?? '';
  if (conflict.theirs === null) return 'deleted on the server, changed here';
  if (conflict.mine === null) return 'deleted here, changed on the server';
  const fields = Object.keys(conflict.fields);
  return fields.length === 0 ? 'changed on both sides' : fields.join(', ');
}

/** By what the failure carries, never by its text; null where it carries nothing shorter than its message. */
function shortFailure({ awaits, constraint, column, code }: Failure): string | null {
  if (awaits !== undefined) return `no ${awaits.entityType} ${awaits.entityId}`;
  if (code === '23505' && constraint !== undefined) return `not unique: ${constraint}`;
  if (code === '23502') return `${column ?? 'a value'} is missing`;
  if (constraint !== undefined) return `breaks ${constraint}`;
  if (code === 'UNKNOWN_ENTITY_TYPE') return 'entity type not registered';
  return code === 'UNKNOWN_COLUMN' && column !== undefined ? `no column ${column}` : null;
}

/** The icon tells the operation of what waits or is done, and the colour how it stands; a failure has a sign of its own. */
function iconOf(status: ChangeStatus, operation: Operation): vscode.ThemeIcon {
  const icon = (name: string, color?: string) =>
    color === undefined ? new vscode.ThemeIcon(name) : new vscode.ThemeIcon(name, new vscode.ThemeColor(color));
  const sign = OPERATION_ICONS[operation];
  switch (status) {
    case 'failed':
      return icon('error', 'list.errorForeground');
    case 'conflicted':
      return icon('git-compare', 'list.errorForeground');
    case 'retrying':
      return icon('history', 'list.warningForeground');
    case 'blocked':
      return icon('lock', 'list.warningForeground');
    case 'pending':
      return icon(sign, 'charts.blue');
    case 'applied':
    case 'synced':
      return icon(sign, 'charts.green');
    case 'discarded':
      return icon('circle-slash', 'disabledForeground');
  }
}

/** On the way up, and not there yet. */
const WAITING_ICON = new vscode.ThemeIcon('cloud-upload', new vscode.ThemeColor('charts.blue'));

const OPERATION_ICONS: Readonly<Record<Operation, string>> = {
  insert: 'diff-added',
  update: 'diff-modified',
  delete: 'diff-removed',
};

function moreItem(group: GroupId, shown: number, tally: Tally): vscode.TreeItem {
  const item = new vscode.TreeItem('Load more');
  item.description = `${shown.toLocaleString()} of ${countOf(group, tally).toLocaleString()}`;
  item.iconPath = new vscode.ThemeIcon('ellipsis');
  item.command = { command: 'localData.changes.loadMore', title: 'Load More', arguments: [group] };
  return item;
}

function syncItem({ state, ruleFaults }: Server): vscode.TreeItem {
  const { Expanded, Collapsed } = vscode.TreeItemCollapsibleState;
  const needs = needsAPerson(state) || ruleFaults.length > 0;
  const item = new vscode.TreeItem('Server', needs || state.status === 'snapshot' ? Expanded : Collapsed);
  // What is to be decided takes more words than a row has.
  const words = state.status === 'needs-decision' ? titleOf(state) : (state.reason ?? titleOf(state));
  item.description = ruleFaults.length === 0 ? words : `${words}; ${faultsWords(ruleFaults.length)}`;
  const color = needs ? new vscode.ThemeColor('list.warningForeground') : undefined;
  item.iconPath = new vscode.ThemeIcon(syncIconOf(state), color);
  item.tooltip = `${titleOf(state)}. ${state.reason ?? ''}`.trim();
  item.accessibilityInformation = { label: `Server: ${item.description}` };
  return item;
}

function faultsWords(faults: number): string {
  return faults === 1 ? 'a rule does not fit' : `${faults.toLocaleString()} rules do not fit`;
}

function factItem({ name, value }: FactElement): vscode.TreeItem {
  const item = new vscode.TreeItem(name);
  item.description = value;
  item.tooltip = `${name}: ${value}`;
  return item;
}

function faultItem({ message, short, place }: FaultElement): vscode.TreeItem {
  const item = new vscode.TreeItem('Rule');
  item.description = short;
  item.tooltip = `${message} Click to see it.`;
  item.iconPath = new vscode.ThemeIcon('warning', new vscode.ThemeColor('list.warningForeground'));
  item.accessibilityInformation = { label: `Rule that does not fit: ${message}` };
  item.command = { command: 'localData.sync.openRules', title: 'Open Sync Rules', arguments: [place] };
  return item;
}

function actionItem({ command, icon, title = COMMANDS[command].title }: ActionElement): vscode.TreeItem {
  const item = new vscode.TreeItem(title);
  item.iconPath = new vscode.ThemeIcon(icon);
  item.command = { command, title };
  return item;
}

/** Everything a person asks of one change, as Markdown. Text from data is escaped: it is shown, never run. */
export function changeTooltip(
  { change, transaction }: Pick<ChangeElement, 'change' | 'transaction'>,
  receipt: Receipt | null,
  now: number,
): vscode.MarkdownString {
  const text = new vscode.MarkdownString(undefined, true);
  text.appendMarkdown(`**${OPERATION_WORDS[change.operation]}** `);
  text.appendMarkdown(`${escaped(`${change.entityType} ${change.entityId}`)}\n\n`);
  if (change.reason !== null) text.appendMarkdown(`${escaped(change.reason)}\n\n`);
  for (const line of resolutionLines(change)) text.appendMarkdown(`${escaped(line)}\n\n`);
  if (change.error !== null && change.error !== change.reason) text.appendCodeblock(change.error, 'text');
  const facts = [...factsOf(change, transaction, now), ...receiptFacts(receipt)];
  for (const [name, value] of facts) {
    text.appendMarkdown(`- ${name}: ${escaped(value)}\n`);
  }
  return text;
}

/** VS Code escapes with spaces that never end a line, which would cut words in two at the tooltip's edge. */
function escaped(text: string): string {
  return new vscode.MarkdownString(undefined, true).appendText(text).value.replaceAll('&nbsp;', ' ');
}

function factsOf(change: Change, transaction: Transaction | undefined, now: number): [string, string][] {
  const facts: [string, string][] = [
    ['Status', change.status],
    ['Change', `${change.seq}`],
    ['Recorded', `${new Date(change.timestamp).toLocaleString()}, ${ORIGINS[change.origin]}`],
  ];
  if (change.attempts > 0) facts.push(['Attempts', `${change.attempts}`]);
  if (change.nextAttemptAt !== null) facts.push(['Next try', nextTry(change.nextAttemptAt, now)]);
  if (change.failure !== null) facts.push(['Code', change.failure.code]);
  if (change.failure?.constraint !== undefined) facts.push(['Constraint', change.failure.constraint]);
  if (change.appliedAt !== null) facts.push(['Applied', new Date(change.appliedAt).toLocaleString()]);
  if (change.discardedAt !== null) facts.push(['Discarded', new Date(change.discardedAt).toLocaleString()]);
  if (change.transactionId !== null) facts.push(['Transaction', transactionWords(change.transactionId, transaction)]);
  if (change.label !== null) facts.push(['Import', change.label]);
  if (change.note !== null && change.note !== change.reason) facts.push(['Note', change.note]);
  return facts;
}

function transactionWords(id: string, transaction: Transaction | undefined): string {
  if (transaction === undefined) return id;
  return `${transaction.size.toLocaleString()} changes that go together or not at all; retried, edited and discarded as one (${id})`;
}

/** What the server has said of it. */
function receiptFacts(receipt: Receipt | null): [string, string][] {
  if (receipt?.acceptedAt === undefined || receipt.acceptedAt === null) return [];
  const version = receipt.acceptedVersion === null ? '' : `, version ${receipt.acceptedVersion.toLocaleString()}`;
  const accepted: [string, string] = [
    'Accepted by the server',
    `${new Date(receipt.acceptedAt).toLocaleString()}${version}`,
  ];
  if (receipt.seenInFeedAt === null) return [accepted];
  return [accepted, ['Seen in the feed', new Date(receipt.seenInFeedAt).toLocaleString()]];
}

const ORIGINS = { local: 'by a call', sql: 'by plain SQL', remote: 'from the server' } as const;

function nextTry(at: number, now: number): string {
  const seconds = Math.ceil((at - now) / 1_000);
  return seconds <= 0 ? 'now' : `in ${seconds} s, at ${new Date(at).toLocaleTimeString()}`;
}

function timeOf(at: number): string {
  const time = new Date(at);
  const today = new Date().toDateString() === time.toDateString();
  return today ? time.toLocaleTimeString() : time.toLocaleString();
}
