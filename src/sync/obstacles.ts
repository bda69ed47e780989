// What a failed contact means: an obstacle that waits for a person, or something that passes by itself. Decides by kinds
// and codes alone; the texts are for people.
import { LocalDataError } from '../protocol/errors.ts';
import type { SyncStatus } from '../protocol/sync-state.ts';
import { TransportError } from './transport.ts';

/** What keeps contact from being made until a person does something. */
export interface Obstacle {
  readonly status: Extract<SyncStatus, 'sign-in-needed' | 'needs-decision' | 'stopped'>;
  readonly reason: string;
  readonly error: LocalDataError;
}

export const TOKEN_NEEDED = obstacle(
  'sign-in-needed',
  'Sign in: the token is needed again after a restart',
  'SYNC_SIGN_IN_NEEDED',
);

/** Undefined where time alone may help. */
export function obstacleOf(error: unknown): Obstacle | undefined {
  if (error instanceof LocalDataError) {
    const asksAPerson = error.code === 'SYNC_SERVER_CHANGED' || error.code === 'SYNC_OTHER_SERVER';
    return asksAPerson ? { status: 'needs-decision', reason: error.message, error } : undefined;
  }
  if (!(error instanceof TransportError)) return undefined;
  switch (error.kind) {
    case 'unauthorized':
      return obstacle('sign-in-needed', 'Sign in: the server does not accept the token', 'SYNC_SIGN_IN_NEEDED');
    case 'forbidden':
      return obstacle(
        'sign-in-needed',
        'Sign in with another token: this one has no right to the space',
        'SYNC_SIGN_IN_NEEDED',
      );
    case 'epoch-changed':
    case 'history-changed':
      return obstacle('needs-decision', 'The server was reset or put back to an earlier state', 'SYNC_SERVER_CHANGED');
    case 'unsupported':
      return obstacle('stopped', 'The server speaks another version of the protocol', 'SYNC_REFUSED');
    case 'refused':
      return obstacle('stopped', `The server refuses requests: ${error.message}`, 'SYNC_REFUSED');
    case 'unreachable':
    case 'timed-out':
    case 'too-large':
    case 'cursor-expired':
    case 'overloaded':
    case 'not-understood':
    case 'cancelled':
      return undefined;
  }
}

export function describeOffline(error: unknown): string {
  if (error instanceof LocalDataError) return error.message;
  if (!(error instanceof TransportError)) return 'Something went wrong here; it is tried again';
  if (error.kind === 'overloaded') return `The server is busy (${error.details.status ?? error.message})`;
  return `Offline: ${error.message}`;
}

/** What `connect` throws, which names the address. */
export function asConnectError(error: unknown, url: string): unknown {
  if (!(error instanceof TransportError)) return error;
  const found = obstacleOf(error);
  if (found !== undefined)
    return new LocalDataError(found.error.code, `${url}: ${found.reason}.`, { url }, { cause: error });
  return new LocalDataError(
    'SYNC_UNREACHABLE',
    `${url} could not be reached: ${error.message} Check the address, and that the server runs.`,
    { url, kind: error.kind, ...error.details },
    { cause: error },
  );
}

function obstacle(
  status: Obstacle['status'],
  reason: string,
  code: 'SYNC_SIGN_IN_NEEDED' | 'SYNC_SERVER_CHANGED' | 'SYNC_REFUSED',
): Obstacle {
  return { status, reason, error: new LocalDataError(code, reason.endsWith('.') ? reason : `${reason}.`) };
}
