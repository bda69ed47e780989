// The sync protocol over HTTP, by the fetch of the platform. Every request ends in bounded time, every answer is bounded in
// size and checked; the token goes to the server that was named and to no other, and into no text.
import type * as z from 'zod';
import {
  PROTOCOL_HEADER,
  type PushRequest,
  type PushResponse,
  SYNC_LIMITS,
  SYNC_PROTOCOL_VERSION,
} from '../protocol/sync.ts';
import { ANSWERS, type TransportMethod, checkAnswer, checkResults } from './answers.ts';
import { type Attempt, failureOfAnswer, failureOfRequest } from './http-failures.ts';
import { checkServerAddress, checkSpaceName, checkToken } from './server-address.ts';
import { type SyncTransport, type TransportCall, TransportError, type TransportOptions } from './transport.ts';

/** More than a request's body may have, because a page ends where a transaction ends, and has each entity as a whole too. */
const ANSWER_CAP_BYTES = 4 * SYNC_LIMITS.bodyBytes;
const ERROR_CAP_BYTES = 64 * 1024;

/** Connections are kept and shared by fetch; each request under way has its own, so that none waits for another. */
export function httpTransport(options: TransportOptions): SyncTransport {
  const server = checkServerAddress(options.url);
  const token = checkToken(options.token);
  const base = `${server}/v1/spaces/${checkSpaceName(options.space)}`;
  const closing = new AbortController();
  const send = <Method extends TransportMethod>(request: Sent<Method>, call: TransportCall) => {
    return sendOne({ ...request, server, token }, call, closing.signal);
  };
  return {
    info: (call) => send({ method: 'info', url: base }, call),
    push: (request, call) => push(base, request, server, (sent) => send(sent, call)),
    pull: (query, call) => send({ method: 'pull', url: withQuery(`${base}/changes`, query) }, call),
    snapshot: (query, call) => send({ method: 'snapshot', url: withQuery(`${base}/snapshot`, query) }, call),
    digest: (call) => send({ method: 'digest', url: `${base}/digest` }, call),
    bucket: ({ bucket, page }, call) => {
      return send({ method: 'bucket', url: withQuery(`${base}/digest/${bucket}`, { page }) }, call);
    },
    close: () => closing.abort(),
  };
}

interface Sent<Method extends TransportMethod> {
  readonly method: Method;
  readonly url: string;
  /** Makes it a POST. */
  readonly body?: string;
}

interface Request<Method extends TransportMethod> extends Sent<Method> {
  readonly server: string;
  readonly token: string;
}

type Answer<Method extends TransportMethod> = z.infer<(typeof ANSWERS)[Method]>;

async function push(
  base: string,
  request: PushRequest,
  server: string,
  send: (sent: Sent<'push'>) => Promise<PushResponse>,
): Promise<PushResponse> {
  const body = JSON.stringify(request);
  const bytes = Buffer.byteLength(body);
  if (bytes > SYNC_LIMITS.bodyBytes) {
    throw new TransportError(
      'too-large',
      `A push of ${bytes} bytes is above the protocol's ${SYNC_LIMITS.bodyBytes} and was not sent. Less is sent at once.`,
      { code: 'PAYLOAD_TOO_LARGE', mayHaveTakenEffect: false },
    );
  }
  return checkResults(request, await send({ method: 'push', url: `${base}/changes`, body }), server);
}

function withQuery(url: string, query: Readonly<Record<string, string | number | null>>): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null) given.set(name, String(value));
  return given.size === 0 ? url : `${url}?${given.toString()}`;
}

async function sendOne<Method extends TransportMethod>(
  request: Request<Method>,
  call: TransportCall,
  closing: AbortSignal,
): Promise<Answer<Method>> {
  const writes = request.body !== undefined;
  if (call.signal.aborted || closing.aborted) throw cancelled(request.server, false);
  const limit = new AbortController();
  const stop = () => limit.abort();
  call.signal.addEventListener('abort', stop, { once: true });
  closing.addEventListener('abort', stop, { once: true });
  const timer = setTimeout(stop, call.timeoutMs);
  try {
    return await exchange(request, { server: request.server, token: request.token, writes }, limit.signal);
  } catch (error) {
    if (call.signal.aborted || closing.aborted) throw cancelled(request.server, writes);
    if (limit.signal.aborted) throw timedOut(request.server, call.timeoutMs, writes);
    throw error;
  } finally {
    clearTimeout(timer);
    call.signal.removeEventListener('abort', stop);
    closing.removeEventListener('abort', stop);
  }
}

async function exchange<Method extends TransportMethod>(
  request: Request<Method>,
  attempt: Attempt,
  signal: AbortSignal,
): Promise<Answer<Method>> {
  const response = await fetch(request.url, { ...requestInit(request), signal }).catch((error: unknown) => {
    throw failureOfRequest(attempt, error);
  });
  if (!response.ok) {
    const body = await readJson(response, attempt, ERROR_CAP_BYTES).catch(() => undefined);
    // What was not read keeps the connection from being used again.
    await response.body?.cancel().catch(() => undefined);
    throw failureOfAnswer(attempt, response.status, response.headers, body);
  }
  const value = await readJson(response, attempt, ANSWER_CAP_BYTES);
  // The schema in the table is the method's own.
  return checkAnswer(ANSWERS[request.method], value, request.server, request.method) as Answer<Method>;
}

/**
 * Bodies go uncompressed, because the protocol does not ask a server to take them otherwise. Gzip would make a push of
 * 1,000 changes six times smaller for 4 ms of work (measured): a gain on slow networks, a loss on the same machine.
 */
function requestInit({ body, token }: Request<TransportMethod>): RequestInit {
  return {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      accept: 'application/json',
      authorization: `Bearer ${token}`,
      [PROTOCOL_HEADER]: String(SYNC_PROTOCOL_VERSION),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    redirect: 'manual',
    cache: 'no-store',
    ...(body === undefined ? {} : { body }),
  };
}

async function readJson(response: Response, attempt: Attempt, capBytes: number): Promise<unknown> {
  const bytes = await readBytes(response, attempt, capBytes);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    const type = response.headers.get('content-type') ?? '';
    const page = type.startsWith('text/html') ? ' It is a web page: a proxy or a sign-in page may stand between.' : '';
    throw notUnderstood(attempt, 'NOT_JSON', `is no JSON.${page}`);
  }
}

/** As it was after decompression, so that a small answer cannot become a large one unseen. */
async function readBytes(response: Response, attempt: Attempt, capBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.byteLength;
      if (bytes > capBytes) break;
      chunks.push(chunk);
    }
  } catch {
    throw notUnderstood(attempt, 'ANSWER_CUT', 'was cut off before its end. It is asked again.');
  }
  if (bytes > capBytes) throw answerTooLarge(attempt, capBytes);
  return Buffer.concat(chunks, bytes);
}

function notUnderstood({ server, writes }: Attempt, code: string, problem: string): TransportError {
  return new TransportError('not-understood', `The answer of ${server} ${problem}`, {
    code,
    mayHaveTakenEffect: writes,
  });
}

/** Whoever asked may ask for less. */
function answerTooLarge({ server, writes }: Attempt, capBytes: number): TransportError {
  const message = `The answer of ${server} is larger than ${capBytes / 1024 / 1024} MB. Less is asked for at once.`;
  return new TransportError('too-large', message, { code: 'ANSWER_TOO_LARGE', mayHaveTakenEffect: writes });
}

function cancelled(server: string, mayHaveTakenEffect: boolean): TransportError {
  return new TransportError('cancelled', `The request to ${server} was cancelled.`, { mayHaveTakenEffect });
}

function timedOut(server: string, timeoutMs: number, mayHaveTakenEffect: boolean): TransportError {
  const seconds = timeoutMs / 1_000;
  return new TransportError(
    'timed-out',
    `${server} gave no whole answer within ${seconds} s. It is tried again later.`,
    {
      mayHaveTakenEffect,
    },
  );
}
