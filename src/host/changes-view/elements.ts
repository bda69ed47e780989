// The elements of the Changes view: groups, changes, "Load more" rows and actions, as plain data with stable ids.
// Must not import `vscode`: the argument types of commands are made of these.
import type { Change, ChangeCounts, ChangeStatus } from '../../protocol/changes.ts';
import { isGivenUp } from '../sync/resolution-lines.ts';
import type { CommandId, RulePlace } from '../contributions.ts';

export const GROUP_IDS = ['conflicted', 'failed', 'blocked', 'retrying', 'pending', 'finished'] as const;
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
  finished: {
    id: 'finished',
    label: 'Finished',
    statuses: ['applied', 'synced', 'discarded'],
    order: 'desc',
    startsExpanded: false,
  },
};

export type GroupElement = { readonly kind: 'group'; readonly group: GroupId };
export type ChangeElement = { readonly kind: 'change'; readonly group: GroupId; readonly change: Change };
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
  readonly place: RulePlace;
};
export type ChangesElement =
  GroupElement | ChangeElement | MoreElement | ActionElement | SyncElement | FactElement | FaultElement;

export function elementId(element: ChangesElement): string {
  switch (element.kind) {
    case 'group':
      return `group:${element.group}`;
    case 'change':
      return `change:${element.change.id}`;
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

export function groupOf(status: ChangeStatus): GroupId {
  switch (status) {
    case 'conflicted':
    case 'failed':
    case 'blocked':
    case 'retrying':
    case 'pending':
      return status;
    case 'applied':
    case 'synced':
    case 'discarded':
      return 'finished';
  }
}

export function countOf(group: GroupId, counts: ChangeCounts): number {
  return GROUPS[group].statuses.reduce((sum, status) => sum + counts[status], 0);
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
export function contextValueOf(element: ChangesElement, counts: ChangeCounts): string {
  switch (element.kind) {
    case 'group': {
      const retryable = element.group === 'failed' || element.group === 'retrying';
      return retryable && countOf(element.group, counts) > 0 ? 'group;retryGroup' : 'group';
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
