// The one error class that crosses every boundary (thread, panel, public API). Each error has a code to act on;
// the message names the thing, the value and the remedy, and is for people only: no code may read it.

export const ERROR_CODES = [
  'UNKNOWN_OPERATION',
  'MISSING_DATA',
  'INVALID_PAYLOAD',
  'INVALID_ARGUMENT',
  'EMPTY_ENTITY_ID',
  'PAYLOAD_TOO_LARGE',
  'NUL_CHARACTER',
  'UNKNOWN_COLUMN',
  'UNKNOWN_ENTITY_TYPE',
  'UNKNOWN_TABLE',
  'KEY_MISMATCH',
  'LANE_BLOCKED',
  'CHANGE_NOT_FOUND',
  'CHANGE_NOT_ALLOWED',
  'HAS_DEPENDENTS',
  'SENDING_IN_DOUBT',
  'ALREADY_SENT',
  'CONSTRAINT_VIOLATION',
  'SQL_ERROR',
  'READ_ONLY_QUERY',
  'TRANSACTION_TOO_LARGE',
  'IMPORT_UNREADABLE',
  'IMPORT_NOT_FOUND',
  'DATA_DIRECTORY_IN_USE',
  'DATA_DIRECTORY_VERSION',
  'DATA_DIRECTORY_CORRUPT',
  'DATA_DIRECTORY_UNWRITABLE',
  'DISK_FULL',
  'SYNC_NOT_CONNECTED',
  'SYNC_UNREACHABLE',
  'SYNC_SIGN_IN_NEEDED',
  'SYNC_OTHER_SERVER',
  'SYNC_SERVER_CHANGED',
  'SYNC_REFUSED',
  'TIMED_OUT',
  'CANCELLED',
  'ENGINE_CLOSED',
  'ENGINE_RESTARTED',
  'INTERNAL',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** What an error carries beside its message; plain JSON, so that it crosses threads unchanged. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Plain form of a {@link LocalDataError}, for boundaries that lose classes. */
export interface SerializedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

export class LocalDataError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'LocalDataError';
    this.code = code;
    this.details = details;
  }

  static isCode(error: unknown, code: ErrorCode): error is LocalDataError {
    return error instanceof LocalDataError && error.code === code;
  }
}

export function serializeError(error: unknown): SerializedError {
  if (error instanceof LocalDataError) {
    return { code: error.code, message: error.message, details: error.details };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'INTERNAL', message, details: {} };
}

export function deserializeError(error: SerializedError): LocalDataError {
  return new LocalDataError(error.code, error.message, error.details);
}
