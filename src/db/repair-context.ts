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

/** What came from the server is not taken back here: the server has it. */
export function refuseRemote(change: Change, action: string): void {
  if (change.origin !== 'remote') return;
  const remedy =
    change.status === 'failed'
      ? 'It came from the server and is set aside here: mend what is in its way, then retry it.'
      : 'It came from the server: undo it, which records a change that takes it back.';
  throw notAllowed(change, action, remedy);
}

/** The server has it, so that nothing here can make it not have happened. */
export function alreadySent(change: Change, action: string): LocalDataError {
  const { id, seq, acceptedVersion } = change;
  return new LocalDataError(
    'ALREADY_SENT',
    `${nameOf(change)} is on the server as version ${acceptedVersion} and cannot be ${action}. Undo it instead: that records a change which takes it back.`,
    { id, seq, version: acceptedVersion },
  );
}

/** What is done is not repaired any more. */
export async function refuseDone({ session }: RepairContext, change: Change, action: string): Promise<void> {
  if (change.status !== 'synced') return;
  const [row] = await session.run<{ there: boolean }>(
    `SELECT ${isOnServer('c')} AS there FROM local_changes c WHERE c.seq = $1`,
    [change.seq],
  );
  if (row?.there === true) throw alreadySent(change, action);
  const why = change.note === null ? '' : ` (${change.note})`;
  throw notAllowed(change, action, `It is done${why}; record a new change instead.`);
}

/** Something of a synced change `alias` took effect on the server: it was not cancelled out, superseded or given up. */
export function isOnServer(alias: string): string {
  return `${alias}.processed_sync AND ${alias}.accepted_version IS NOT NULL AND NOT ${wasGivenUp(alias)}`;
}

/** A conflict was settled by taking what the server has, and nothing of `alias` was sent. */
export function wasGivenUp(alias: string): string {
  return `coalesce(${alias}.processed_sync AND ${alias}.conflict->'resolution' <> 'null' AND ${alias}.rebased IS NULL, false)`;
}

/** Begins the note of a change that undoes another; that one's `seq` follows. */
export const UNDOES = 'undoes change ';

/** A change was recorded that undoes `alias`, and stands. */
export function isUndone(alias: string): string {
  return `EXISTS (SELECT FROM local_changes u WHERE u.entity_type = ${alias}.entity_type AND u.entity_id = ${alias}.entity_id
    AND u.seq > ${alias}.seq AND u.discarded_at IS NULL AND u.note = '${UNDOES}' || ${alias}.seq)`;
}

export function nameOf({ seq, operation, entityType, entityId }: Change): string {
  return `Change ${seq} (${operation} of ${entityType} "${entityId}")`;
}
