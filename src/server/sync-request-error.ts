// An answer that is no success, thrown from anywhere below the routes. The message is for people and must never carry what
// a client sent beyond names.
import { SYNC_ERROR_STATUS, type SyncErrorBody, type SyncErrorCode } from '../protocol/sync.ts';

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
    this.status = SYNC_ERROR_STATUS[code];
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
