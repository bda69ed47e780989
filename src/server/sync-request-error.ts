// An answer that is no success, thrown from anywhere below the routes. The message is for people and must never carry what
// a client sent beyond names.
import type { SyncErrorBody, SyncErrorCode } from '../protocol/sync.ts';

const STATUS = {
  INVALID_REQUEST: 400,
  UNAUTHENTICATED: 401,
  TOKEN_EXPIRED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_TIMEOUT: 408,
  EPOCH_CHANGED: 409,
  HISTORY_CHANGED: 409,
  CURSOR_EXPIRED: 410,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNSUPPORTED_PROTOCOL: 426,
  TOO_MANY_REQUESTS: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503,
} as const satisfies Readonly<Record<SyncErrorCode, number>>;

export interface SyncRequestErrorExtras {
  readonly field?: string;
  readonly protocols?: readonly number[];
  readonly headers?: Readonly<Record<string, string>>;
}

export class SyncRequestError extends Error {
  readonly code: SyncErrorCode;
  readonly status: number;
  readonly extras: SyncRequestErrorExtras;

  constructor(code: SyncErrorCode, message: string, extras: SyncRequestErrorExtras = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SyncRequestError';
    this.code = code;
    this.status = STATUS[code];
    this.extras = extras;
  }

  get body(): SyncErrorBody {
    const { field, protocols } = this.extras;
    return {
      error: {
        code: this.code,
        message: this.message,
        ...(field === undefined ? {} : { field }),
        ...(protocols === undefined ? {} : { protocols: [...protocols] }),
      },
    };
  }
}

export const STATUS_OF_CODE: Readonly<Record<SyncErrorCode, number>> = STATUS;
