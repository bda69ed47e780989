// The elements of the Changes view: groups, changes, "Load more" rows and actions, as plain data with stable ids.
// Must not import `vscode`: the argument types of commands are made of these.
import type { Change, ChangeCounts, ChangeStatus } from '../../protocol/changes.ts';
import { isGivenUp } from '../sync/resolution-lines.ts';
import type { CommandId, RulePlace } from '../contributions.ts';
import type { Transaction } from './transactions.ts';

export const GROUP_IDS = ['conflicted', 'failed', 'blocked', 'retrying', 'pending', 'waiting', 'finished'] as const;
export type GroupId = (typeof GROUP_IDS)[number];

export interface Group {
  readonly id: GroupId;
  readonly label: string;
  readonly statuses: readonly ChangeStatus[];
  /** What waits is shown in the order it will run; what is done, newest first. */
  readonly order: 'asc' | 'desc';
  readonly startsExpanded: boolean;
}

export const GROUPS: Readonly<Record<GroupId, Group>> = {
  conflicted: { id: 'conflicted', label: 'Conflicts', statuses: ['conflicted'], order: 'asc', startsExpanded: true },
  failed: { id: 'failed', label: 'Failed', statuses: ['failed'], order: 'asc', startsExpanded: true },
  blocked: { id: 'blocked', label: 'Blocked', statuses: ['blocked'], order: 'asc', startsExpanded: true },
  retrying: { id: 'retrying', label: 'Retrying', statuses: ['retrying'], order: 'asc', startsExpanded: true },
  pending: { id: 'pending', label: 'Pending', statuses: ['pending'], order: 'asc', startsExpanded: true },
  waiting: {
    id: 'waiting',
    label: 'Waiting for the server',
    statuses: ['applied'],
    order: 'asc',
    startsExpanded: true,
  },
  finished: {
    id: 'finished',
    label: 'Finished',
    statuses: ['applied', 'synced', 'discarded'],
    order: 'desc',
    startsExpanded: false,
  },
};

export type GroupElement = { readonly kind: 'group'; readonly group: GroupId };
export type ChangeElement = {
  readonly kind: 'change';
  readonly group: GroupId;
  readonly change: Change;
  /** Where it fails or waits as part of one. */
  readonly transaction?: Transaction | undefined;
};
export type MoreElement = { readonly kind: 'more'; readonly group: GroupId; readonly shown: number };
/** What helps where the view has something to say of the database itself. */
export type ActionElement = {
  readonly kind: 'action';
  readonly command: CommandId;
  readonly icon: string;
  /** Where the command's own title says less. */
  readonly title?: string;
};
/** The section on the server, and a line of it. */
export type SyncElement = { readonly kind: 'sync' };
export type FactElement = { readonly kind: 'fact'; readonly name: string; readonly value: string };
/** A rule of synchronisation that does not fit. */
export type FaultElement = {
  readonly kind: 'fault';
  readonly number: number;
  readonly message: string;
  /** The part that a row has room for. */
  readonly short: string;
  readonly place: RulePlace;
};
export type ChangesElement =
  GroupElement | ChangeElement | MoreElement | ActionElement | SyncElement | FactElement | FaultElement;

export function elementId(element: ChangesElement): string {
  switch (element.kind) {
    case 'group':
      return `group:${element.group}`;
    case 'change':
      // Groups are read one after the other: one that moves meanwhile is in both, and VS Code takes no id twice.
      return `change:${element.group}:${element.change.id}`;
    case 'more':
      return `more:${element.group}`;
    case 'action':
      return `action:${element.command}`;
    case 'sync':
      return 'sync';
    case 'fact':
      return `fact:${element.name}`;
    case 'fault':
      return `fault:${element.number}`;
  }
}

/** Where a change of this status may stand. */
export function groupsOf(status: ChangeStatus): GroupId[] {
  return GROUP_IDS.filter((group) => GROUPS[group].statuses.includes(status));
}

/** What the groups are counted by. */
export interface Tally {
  readonly counts: ChangeCounts;
  /** Of those that are applied, the ones that are shown as waiting for the server; 0 without one. */
  readonly waiting: number;
}

export function countOf(group: GroupId, { counts, waiting }: Tally): number {
  // The two numbers are told one after the other.
  const held = Math.min(waiting, counts.applied);
  if (group === 'waiting') return held;
  const all = GROUPS[group].statuses.reduce((sum, status) => sum + counts[status], 0);
  return group === 'finished' ? all - held : all;
}

/** Which changes a group lists: of these statuses, and of them those that belong to it. */
export interface Listing {
  readonly statuses: readonly ChangeStatus[];
  readonly holds: (change: Change) => boolean;
  /** Some are left out, so that more must be read than are shown. */
  readonly isMixed: boolean;
}

/** Changes of types that stay on this machine are applied, and wait for nothing. */
export function listingOf(group: GroupId, { counts, waiting }: Tally): Listing {
  const { statuses } = GROUPS[group];
  const isMixed = waiting > 0 && waiting < counts.applied;
  if (group === 'waiting') return { statuses, holds: isAwaited, isMixed };
  if (group !== 'finished' || waiting === 0) return { statuses, holds: () => true, isMixed: false };
  // The newest may all be waiting: they are read through only where others are among them.
  if (!isMixed) return { statuses: ['synced', 'discarded'], holds: () => true, isMixed };
  return { statuses, holds: (change) => !isAwaited(change), isMixed };
}

function isAwaited({ awaiting }: Change): boolean {
  return awaiting === 'push';
}

/** How many changes wait for a person; the view's badge. */
export function needingAPerson(counts: ChangeCounts): number {
  return counts.failed + counts.conflicted;
}

export const CAPABILITIES = [
  'resolve',
  'retry',
  'edit',
  'discard',
  'restore',
  'undo',
  'error',
  'compare',
  'entity',
] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** What can be done with a change as it is now; menus offer nothing else. */
export function capabilitiesOf(change: Change): Capability[] {
  const { status } = change;
  const failed = status === 'failed' || status === 'retrying';
  // What the server has is not changed or taken back by a repair here; it can be tried again.
  const isOurs = change.origin !== 'remote';
  const waits = failed || status === 'blocked' || status === 'pending';
  const can: Readonly<Record<Capability, boolean>> = {
    resolve: status === 'conflicted',
    retry: failed,
    edit: isOurs && waits && change.operation !== 'delete',
    discard: isOurs && waits,
    restore: status === 'discarded',
    undo: canUndo(change),
    error: change.error !== null,
    compare: change.operation === 'update',
    entity: true,
  };
  return CAPABILITIES.filter((capability) => can[capability]);
}

/** It has taken effect, here or on the server. */
export function canUndo(change: Change): boolean {
  return (change.status === 'applied' || change.status === 'synced') && !isGivenUp(change);
}

/** Such as `change;retry;edit;discard;error;entity`, for `viewItem =~ /\bretry\b/`. */
export function contextValueOf(element: ChangesElement, tally: Tally): string {
  switch (element.kind) {
    case 'group': {
      const retryable = element.group === 'failed' || element.group === 'retrying';
      return retryable && countOf(element.group, tally) > 0 ? 'group;retryGroup' : 'group';
    }
    case 'change':
      return ['change', ...capabilitiesOf(element.change)].join(';');
    case 'more':
    case 'action':
    case 'sync':
    case 'fact':
    case 'fault':
      return element.kind;
  }
}
