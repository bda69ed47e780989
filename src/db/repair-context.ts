// What every repair works with, and the refusals they share.
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { CommitDraft } from './commit-log.ts';
import type { ReasonContext } from './change-row.ts';
import type { Session } from './database.ts';
import type { EntityTypes } from './entity-types.ts';

export interface RepairContext extends ReasonContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly maxPayloadBytes: number;
  readonly draft: CommitDraft;
  /** What captured side effects of this repair are recorded with. */
  readonly transactionId: string;
  readonly newId: () => string;
}

export function notAllowed(change: Change, action: string, remedy: string): LocalDataError {
  return new LocalDataError(
    'CHANGE_NOT_ALLOWED',
    `${nameOf(change)} is ${change.status} and cannot be ${action}. ${remedy}`,
    { id: change.id, status: change.status },
  );
}

export function nameOf({ seq, operation, entityType, entityId }: Change): string {
  return `Change ${seq} (${operation} of ${entityType} "${entityId}")`;
}
