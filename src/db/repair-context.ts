// What every repair works with, and the refusal they share.
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { CommitDraft } from './commit-log.ts';
import type { Session } from './database.ts';
import type { EntityTypes } from './entity-types.ts';

export interface RepairContext {
  readonly session: Session;
  readonly entityTypes: EntityTypes;
  readonly maxPayloadBytes: number;
  readonly now: number;
  readonly paused: boolean;
  readonly draft: CommitDraft;
  /** What captured side effects of this repair are recorded with. */
  readonly transactionId: string;
}

export function notAllowed(change: Change, action: string, remedy: string): LocalDataError {
  return new LocalDataError(
    'CHANGE_NOT_ALLOWED',
    `Change ${change.seq} (${change.operation} of ${change.entityType} "${change.entityId}") is ${change.status} and cannot be ${action}. ${remedy}`,
    { id: change.id, status: change.status },
  );
}
