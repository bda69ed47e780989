// How the state machines reach a server, whatever carries it. A transport sends what it is given, once, and tells what came
// back or how it failed; when to try again is not its business.
import type {
  BucketResponse,
  DigestResponse,
  PullResponse,
  PushRequest,
  PushResponse,
  SnapshotResponse,
  SpaceInfo,
} from '../protocol/sync.ts';

export interface TransportCall {
  /** Ends the request; the transport rejects with `cancelled`. */
  readonly signal: AbortSignal;
  /** Milliseconds the whole request may take; the caller keeps time as well. */
  readonly timeoutMs: number;
}

export interface SyncTransport {
  info(call: TransportCall): Promise<SpaceInfo>;
  push(request: PushRequest, call: TransportCall): Promise<PushResponse>;
  /** `wait`: seconds the server may wait when there is nothing new. */
  pull(
    query: { readonly after: string | null; readonly limit: number; readonly wait: number },
    call: TransportCall,
  ): Promise<PullResponse>;
  snapshot(
    query: { readonly page: string | null; readonly limit: number },
    call: TransportCall,
  ): Promise<SnapshotResponse>;
  digest(call: TransportCall): Promise<DigestResponse>;
  bucket(
    query: { readonly bucket: number; readonly page: string | null },
    call: TransportCall,
  ): Promise<BucketResponse>;
  close?(): void;
}

export interface TransportOptions {
  readonly url: string;
  readonly token: string;
  readonly space: string;
}

export type OpenTransport = (options: TransportOptions) => SyncTransport;

/**
 * `overloaded` is 408, 429 and 5xx, which pass; `refused` is any other 4xx; `not-understood` an answer that is cut, no JSON
 * or not what the protocol says.
 */
export type TransportErrorKind =
  | 'unreachable'
  | 'timed-out'
  | 'unauthorized'
  | 'forbidden'
  | 'too-large'
  | 'epoch-changed'
  | 'history-changed'
  | 'cursor-expired'
  | 'overloaded'
  | 'unsupported'
  | 'refused'
  | 'not-understood'
  | 'cancelled';

export interface TransportErrorDetails {
  readonly status?: number;
  /** The server's code, or the system's, such as `ECONNREFUSED`. */
  readonly code?: string;
  readonly retryAfterMs?: number;
  /**
   * Whether a push may have taken effect; see {@link TransportError.mayHaveTakenEffect}. Say false only where that is
   * certain: the request never reached the server, or the server said that it did nothing.
   */
  readonly mayHaveTakenEffect?: boolean;
}

export class TransportError extends Error {
  readonly kind: TransportErrorKind;
  readonly details: TransportErrorDetails;

  /** The message is for people and never has the token. */
  constructor(kind: TransportErrorKind, message: string, details: TransportErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TransportError';
    this.kind = kind;
    this.details = details;
  }

  /** What nobody has said is in doubt: a change that is taken for unsent may be edited, and then there are two of it. */
  get mayHaveTakenEffect(): boolean {
    return this.details.mayHaveTakenEffect ?? true;
  }
}
