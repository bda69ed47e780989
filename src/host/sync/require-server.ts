// The server this database has, or an error that says how to get one.
import { LocalDataError } from '../../protocol/errors.ts';
import type { SyncServer, SyncState } from '../../protocol/sync-state.ts';
import type { Host } from '../host.ts';
import { CannotActError } from '../notices.ts';
import { isConfigured } from './sync-words.ts';

export function requireServer(host: Host): SyncState & { readonly server: SyncServer } {
  host.database.require();
  const { state } = host.sync;
  const { server } = state;
  if (isConfigured(state) && server !== null) return { ...state, server };
  throw new CannotActError('Local Data: this database is not connected to a server.', [
    { title: 'Connect to Server…', command: 'localData.sync.connect' },
  ]);
}

/** What stands in the way of contact, with the command that takes it away. */
export function withRemedy(error: unknown): unknown {
  if (LocalDataError.isCode(error, 'SYNC_SIGN_IN_NEEDED')) {
    return new CannotActError(`Local Data: ${error.message}`, [
      { title: 'Sign In…', command: 'localData.sync.signIn' },
    ]);
  }
  if (LocalDataError.isCode(error, 'SYNC_SERVER_CHANGED') || LocalDataError.isCode(error, 'SYNC_OTHER_SERVER')) {
    return new CannotActError(`Local Data: ${error.message}`, [{ title: 'Decide…', command: 'localData.sync.signIn' }]);
  }
  if (LocalDataError.isCode(error, 'SYNC_NOT_CONNECTED')) {
    return new CannotActError(`Local Data: ${error.message}`, [
      { title: 'Show Sync Status', command: 'localData.sync.showStatus' },
    ]);
  }
  return error;
}
