// The sync protocol over HTTP by the platform's fetch. Every request has a time limit and every answer a size limit and a
// schema; a redirect is never followed, because the token would go with it, and the token is in no error.
import type { z } from 'zod';
import { LocalDataError } from '../protocol/errors.ts';
import {
  PROTOCOL_HEADER,
  SYNC_LIMITS,
  SYNC_PROTOCOL_VERSION,
  type SyncErrorBody,
  bucketResponseSchema,
  digestResponseSchema,
  pullResponseSchema,
  pushResponseSchema,
  snapshotResponseSchema,
  spaceInfoSchema,
  spaceNameSchema,
  syncErrorSchema,
} from '../protocol/sync.ts';
import {
  type SyncTransport,
  type TransportCall,
  TransportError,
  type TransportErrorDetails,
  type TransportErrorKind,
  type TransportOptions,
} from './transport.ts';

interface HttpRequest<T> {
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | null>>;
  readonly body?: unknown;
  readonly schema: z.ZodType<T>;
}

/** Twice what a server may send, because it may hold itself to the limit before a transaction's end. */
const LARGEST_ANSWER = 2 * SYNC_LIMITS.bodyBytes;

export function httpTransport({ url, token, space }: TransportOptions): SyncTransport {
  const base = checkUrl(url);
  const send = <T>(request: HttpRequest<T>, call: TransportCall): Promise<T> => sendRequest(base, token, request, call);
  const root = `v1/spaces/${encodeURIComponent(checkSpace(space))}`;
  return {
    info: (call) => send({ path: root, schema: spaceInfoSchema }, call),
    push: (body, call) => send({ path: `${root}/changes`, body, schema: pushResponseSchema }, call),
    pull: (query, call) => send({ path: `${root}/changes`, query, schema: pullResponseSchema }, call),
    snapshot: (query, call) => send({ path: `${root}/snapshot`, query, schema: snapshotResponseSchema }, call),
    digest: (call) => send({ path: `${root}/digest`, schema: digestResponseSchema }, call),
    bucket: ({ bucket, page }, call) =>
      send({ path: `${root}/digest/${bucket}`, query: { page }, schema: bucketResponseSchema }, call),
  };
}

function checkUrl(url: string): URL {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (error) {
    throw invalidUrl(`"${url}" is no address. Write it like https://sync.example.org.`, error);
  }
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') {
    throw invalidUrl(
      `No transport is registered for "${parsed.protocol}" addresses. Use https, or install the extension that brings it.`,
    );
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalidUrl('The address has a name or password in it. Take them out; the token says who you are.');
  }
  if (!parsed.pathname.endsWith('/')) parsed.pathname += '/';
  parsed.search = '';
  parsed.hash = '';
  return parsed;
}

function checkSpace(space: string): string {
  const checked = spaceNameSchema.safeParse(space);
  if (checked.success) return space;
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    `The space "${space.slice(0, 100)}" is not valid: it must be 1 to 100 of A-Z a-z 0-9 . _ -`,
    {
      field: 'space',
    },
  );
}

function invalidUrl(message: string, cause?: unknown): LocalDataError {
  return new LocalDataError('INVALID_ARGUMENT', message, { field: 'url' }, { cause });
}

async function sendRequest<T>(base: URL, token: string, request: HttpRequest<T>, call: TransportCall): Promise<T> {
  const url = new URL(request.path, base);
  for (const [name, value] of Object.entries(request.query ?? {})) {
    if (value !== null) url.searchParams.set(name, String(value));
  }
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(TIMED_OUT), call.timeoutMs);
  const signal = AbortSignal.any([call.signal, controller.signal]);
  const isPush = request.body !== undefined;
  try {
    const response = await fetch(url, {
      method: isPush ? 'POST' : 'GET',
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        [PROTOCOL_HEADER]: String(SYNC_PROTOCOL_VERSION),
        ...(isPush ? { 'content-type': 'application/json' } : {}),
      },
      ...(isPush ? { body: JSON.stringify(request.body) } : {}),
      redirect: 'manual',
      signal,
    });
    if (response.status >= 300 && response.status < 400) throw redirected(response);
    const text = await readBounded(response);
    return response.ok ? readAnswer(request.schema, text, isPush) : throwRefused(response, text);
  } catch (error) {
    throw asTransportError(error, base, { call, timedOut: controller.signal.aborted, isPush });
  } finally {
    clearTimeout(timer);
  }
}

const TIMED_OUT = new Error('timed out');

async function readBounded(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return '';
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.length;
    if (bytes > LARGEST_ANSWER) {
      await reader.cancel();
      throw new TransportError('too-large', `The server's answer is larger than ${LARGEST_ANSWER / 1024 / 1024} MB.`, {
        code: 'ANSWER_TOO_LARGE',
      });
    }
    parts.push(value);
  }
  return Buffer.concat(parts).toString('utf8');
}

function readAnswer<T>(schema: z.ZodType<T>, text: string, mayHaveTakenEffect: boolean): T {
  const read = schema.safeParse(parseJson(text));
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? 'it' : issue.path.join('.');
  throw new TransportError(
    'not-understood',
    `The server's answer is not what the protocol says (${where}: ${issue?.message ?? 'not valid'}).`,
    {
      code: 'ANSWER_NOT_VALID',
      mayHaveTakenEffect,
    },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function throwRefused(response: Response, text: string): never {
  const body = syncErrorSchema.safeParse(parseJson(text));
  const error: SyncErrorBody['error'] | undefined = body.success ? body.data.error : undefined;
  const { status } = response;
  const retryAfterMs = readRetryAfter(response.headers.get('retry-after'));
  const details: TransportErrorDetails = {
    status,
    ...(error === undefined ? {} : { code: error.code }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    mayHaveTakenEffect: status >= 500 || status === 408,
  };
  const said = error === undefined ? '' : `: ${error.message}`;
  throw new TransportError(kindOf(status, error?.code), `The server answered ${status}${said}`, details);
}

function kindOf(status: number, code: string | undefined): TransportErrorKind {
  switch (status) {
    case 401:
      return 'unauthorized';
    case 403:
      return 'forbidden';
    case 409:
      return code === 'EPOCH_CHANGED' ? 'epoch-changed' : code === 'HISTORY_CHANGED' ? 'history-changed' : 'refused';
    case 410:
      return 'cursor-expired';
    case 413:
      return 'too-large';
    case 426:
      return 'unsupported';
    case 408:
    case 425:
    case 429:
      return 'overloaded';
    default:
      return status >= 500 ? 'overloaded' : 'refused';
  }
}

/** Seconds, or a date. */
function readRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1_000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

function redirected(response: Response): TransportError {
  const to = response.headers.get('location') ?? 'elsewhere';
  return new TransportError(
    'refused',
    `The server redirects to ${to.slice(0, 200)}, and the token is not sent there. If that is the right server, connect to it.`,
    { status: response.status, code: 'REDIRECTED', mayHaveTakenEffect: false },
  );
}

const CERTIFICATE_CODES = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_HAS_EXPIRED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

/** The connection was never made, so that nothing can have arrived. */
const NEVER_ARRIVED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  ...CERTIFICATE_CODES,
]);

function asTransportError(
  error: unknown,
  base: URL,
  { call, timedOut, isPush }: { readonly call: TransportCall; readonly timedOut: boolean; readonly isPush: boolean },
): unknown {
  if (error instanceof TransportError || error instanceof LocalDataError) return error;
  if (call.signal.aborted)
    return new TransportError('cancelled', 'The request was cancelled.', { mayHaveTakenEffect: isPush });
  if (timedOut) {
    const message = `${base.host} did not answer within ${call.timeoutMs / 1_000} s.`;
    return new TransportError('timed-out', message, { mayHaveTakenEffect: isPush }, { cause: error });
  }
  const code = systemCode(error);
  const remedy = CERTIFICATE_CODES.has(code)
    ? ` Its certificate is not trusted here; add its authority to the system's, or name it in NODE_EXTRA_CA_CERTS.`
    : '';
  return new TransportError(
    'unreachable',
    `${base.host} cannot be reached (${code}).${remedy}`,
    { code, mayHaveTakenEffect: isPush && !NEVER_ARRIVED.has(code) },
    { cause: error },
  );
}

/** fetch wraps what the system said, sometimes more than once. */
function systemCode(error: unknown): string {
  for (let cause: unknown = error, depth = 0; depth < 5 && cause instanceof Error; depth += 1) {
    const code: unknown = Reflect.get(cause, 'code');
    if (typeof code === 'string') return code;
    const [first] = cause instanceof AggregateError ? cause.errors : [];
    cause = first ?? cause.cause;
  }
  return 'NO_CONNECTION';
}
