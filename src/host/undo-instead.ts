// What to say where a change cannot be edited or discarded any more because it left for the server: why, and what can be done
// about it instead.
import { LocalDataError } from '../protocol/errors.ts';
import { canUndo } from './changes-view/elements.ts';
import type { Host } from './host.ts';
import { CannotActError, type Remedy } from './notices.ts';

/** Any other error is given back as it is. */
export async function orUndoInstead(host: Host, error: unknown): Promise<unknown> {
  const isSent = LocalDataError.isCode(error, 'ALREADY_SENT') || LocalDataError.isCode(error, 'SENDING_IN_DOUBT');
  if (!isSent) return error;
  const { id } = error.details;
  const change = typeof id === 'string' ? await host.database.require().getChange(id) : undefined;
  const remedies: Remedy[] = [];
  if (change !== undefined && canUndo(change)) {
    remedies.push({ title: 'Undo Instead', command: 'localData.change.undo', args: [{ changeId: change.id }] });
  }
  if (host.sync.state.status === 'paused') remedies.push({ title: 'Go Online', command: 'localData.sync.goOnline' });
  return new CannotActError(`Local Data: ${error.message}`, remedies);
}
