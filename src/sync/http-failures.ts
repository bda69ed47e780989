// What a failed HTTP request was, told from status, code and typed causes alone. Never from a text, and no text here has
// the token in it. A push may have taken effect unless it is certain that it did not: what is taken for undone here is sent as
// if it had never left.
import { SYNC_ERROR_STATUS, type SyncErrorBody, syncErrorSchema } from '../protocol/sync.ts';
import { TransportError, type TransportErrorKind } from './transport.ts';

/** What of a request its failure is told with. */
export interface Attempt {
  /** How a person knows the server: its address. */
  readonly server: string;
  /** Whether the server changes something when it gets the request. */
  readonly writes: boolean;
  readonly token: string;
}

/** The longest pause that a server can ask for: a day. */
const LONGEST_PAUSE_MS = 86_400_000;
const SERVER_WORDS_LENGTH = 300;

/** An answer that is no success; `body` is what could be read of it. */
export function failureOfAnswer(attempt: Attempt, status: number, headers: Headers, body: unknown): TransportError {
  if (status >= 300 && status < 400) return redirected(attempt, status, headers);
  const told = syncErrorSchema.safeParse(body);
  const error = told.success ? told.data.error : undefined;
  const kind = kindOfStatus(status, error?.code);
  const retryAfterMs = retryAfter(headers, Date.now());
  return new TransportError(kind, messageOf(attempt, kind, status, error), {
    status,
    ...(error === undefined ? {} : { code: error.code }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    mayHaveTakenEffect: attempt.writes && !saysNothingWasDone(status, error),
  });
}

/** Only the protocol's own server can say so: a proxy says nothing of what the server behind it did, whatever its status. */
function saysNothingWasDone(status: number, error: SyncErrorBody['error'] | undefined): boolean {
  return error !== undefined && status < 500 && SYNC_ERROR_STATUS[error.code] < 500;
}

function kindOfStatus(status: number, code: string | undefined): TransportErrorKind {
  if (status >= 500) return 'overloaded';
  switch (status) {
    case 401:
      return 'unauthorized';
    case 403:
      return 'forbidden';
    case 408:
    case 429:
      return 'overloaded';
    case 409:
      if (code === 'EPOCH_CHANGED') return 'epoch-changed';
      return code === 'HISTORY_CHANGED' ? 'history-changed' : 'refused';
    case 410:
      return code === 'CURSOR_EXPIRED' ? 'cursor-expired' : 'refused';
    case 413:
      return 'too-large';
    case 426:
      return 'unsupported';
    default:
      return status >= 400 ? 'refused' : 'not-understood';
  }
}

function messageOf(
  attempt: Attempt,
  kind: TransportErrorKind,
  status: number,
  error: SyncErrorBody['error'] | undefined,
): string {
  const spoken = error?.protocols === undefined ? '' : ` It speaks version ${error.protocols.join(', ')}.`;
  const said = error?.message ?? '';
  const words = said === '' ? '' : ` It says: ${serverWords(said, attempt.token)}`;
  return `${attempt.server} answered ${status}.${words}${spoken} ${REMEDIES[kind] ?? ''}`.trim();
}

const REMEDIES: Partial<Record<TransportErrorKind, string>> = {
  unauthorized: 'Sign in with another token.',
  forbidden: 'The token does not give the right to this; ask for one that does.',
  overloaded: 'It is tried again later.',
  'too-large': 'Less is sent at once.',
  unsupported: 'Update Local Data, or the server.',
  refused: 'Check the address and the space, and that both sides are of versions that fit.',
  'not-understood': 'Check that the address is that of a sync server.',
};

/** Somebody else's text: short, on one line, and without the token should it have been sent back. */
function serverWords(message: string, token: string): string {
  const plain = message.replaceAll(token, '(token)').replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ');
  return plain.length > SERVER_WORDS_LENGTH ? `${plain.slice(0, SERVER_WORDS_LENGTH)}…` : plain;
}

/** Following would carry token and changes to whomever the answer names. */
function redirected(attempt: Attempt, status: number, headers: Headers): TransportError {
  const location = headers.get('location');
  const target = location !== null && URL.canParse(location, attempt.server) ? new URL(location, attempt.server) : null;
  const where = target === null ? 'to elsewhere' : `to ${serverWords(target.origin + target.pathname, attempt.token)}`;
  return new TransportError(
    'refused',
    `${attempt.server} sends on ${where}. Nothing was sent there. If that is the server, connect to its address instead.`,
    // What sends on may have done its work before: a 303 says so, and not every server keeps to the others' meaning.
    { status, code: 'REDIRECTED', mayHaveTakenEffect: attempt.writes },
  );
}

/** In seconds or as a date; a date is held against the server's own, because clocks differ. */
export function retryAfter(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')?.trim();
  if (value === undefined || value === '') return undefined;
  if (/^\d+$/.test(value)) return Math.min(Number(value) * 1_000, LONGEST_PAUSE_MS);
  const until = Date.parse(value);
  if (Number.isNaN(until)) return undefined;
  const serverNow = Date.parse(headers.get('date') ?? '');
  return Math.min(Math.max(0, until - (Number.isNaN(serverNow) ? now : serverNow)), LONGEST_PAUSE_MS);
}

/** A request that got no answer: fetch says why in the causes of what it throws. */
export function failureOfRequest(attempt: Attempt, thrown: unknown): TransportError {
  const { code, neverSent } = causeOf(thrown);
  const why =
    code === undefined ? 'the connection failed.' : (EXPLANATIONS[code] ?? `the connection failed (${code}).`);
  return new TransportError('unreachable', `${attempt.server} cannot be reached: ${why}`, {
    ...(code === undefined ? {} : { code }),
    mayHaveTakenEffect: attempt.writes && !neverSent,
  });
}

const TRUST =
  'If you trust it, have its certificate authority known: in the system (setting http.systemCertificates), or name its file in NODE_EXTRA_CA_CERTS and start VS Code again.';
const UNTRUSTED = `its certificate is not of an authority that is trusted here. ${TRUST}`;

/** Found when the connection is made, before anything of the request leaves. */
const CERTIFICATE_FAULTS: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: `its certificate is self-signed. ${TRUST}`,
  SELF_SIGNED_CERT_IN_CHAIN: `a certificate in its chain is self-signed. ${TRUST}`,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_UNTRUSTED: UNTRUSTED,
  CERT_HAS_EXPIRED: 'its certificate has expired. It must be renewed there; check the clock here too.',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet. Check the clock here.',
  CERT_REVOKED: 'its certificate was revoked.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name. Check the address.',
};

const EXPLANATIONS: Readonly<Record<string, string>> = {
  ...CERTIFICATE_FAULTS,
  ERR_SSL_WRONG_VERSION_NUMBER: 'it speaks no TLS there. Check the port, or whether the address begins with http://.',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it speaks no TLS there. Check the port, or whether the address begins with http://.',
  EPROTO: 'it speaks no TLS there that is understood. Check the port.',
  ECONNREFUSED: 'nothing listens there (ECONNREFUSED). Check that the server runs, and the port.',
  ENOTFOUND: 'there is no such host (ENOTFOUND). Check the name, and the network.',
  EAI_AGAIN: 'its name cannot be looked up now (EAI_AGAIN). Check the network.',
  UND_ERR_CONNECT_TIMEOUT: 'it does not take connections (UND_ERR_CONNECT_TIMEOUT). Check address and network.',
};

/** While connecting nothing was sent; that is told by the call that failed, not by when. */
const CONNECTING = new Set(['connect', 'getaddrinfo']);

function causeOf(thrown: unknown): { readonly code?: string; readonly neverSent: boolean } {
  for (let at = thrown, depth = 0; typeof at === 'object' && at !== null && depth < 5; depth += 1) {
    const code = 'code' in at && typeof at.code === 'string' ? at.code : undefined;
    if (code !== undefined) return { code, neverSent: neverSent(at, code) };
    at = 'cause' in at ? at.cause : undefined;
  }
  return { neverSent: false };
}

/** Faults of TLS itself (`EPROTO`, `ERR_SSL_…`) are not among these: they come after the request was sent as well. */
function neverSent(error: object, code: string): boolean {
  if (code in CERTIFICATE_FAULTS || code === 'UND_ERR_CONNECT_TIMEOUT') return true;
  // One address of several: all of them failed.
  const attempts: readonly unknown[] = error instanceof AggregateError ? error.errors : [error];
  return attempts.every((attempt) => {
    if (typeof attempt !== 'object' || attempt === null || !('syscall' in attempt)) return false;
    return typeof attempt.syscall === 'string' && CONNECTING.has(attempt.syscall);
  });
}
