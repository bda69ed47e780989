// Reads a request's JSON body with an end to its size and its time, so that nobody can hold or fill the server.
import type { ServerClock } from './server-clock.ts';
import { SyncRequestError } from './sync-request-error.ts';
import { TimeLimitError, withTimeLimit } from './time-limit.ts';

export async function readJsonBody(
  request: Request,
  clock: ServerClock,
  { bodyBytes, requestMs }: { readonly bodyBytes: number; readonly requestMs: number },
): Promise<unknown> {
  const type = request.headers.get('content-type') ?? '';
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new SyncRequestError('UNSUPPORTED_MEDIA_TYPE', 'The body must be application/json.');
  }
  if ((request.headers.get('content-encoding') ?? 'identity') !== 'identity') {
    throw new SyncRequestError('UNSUPPORTED_MEDIA_TYPE', 'The body must not be encoded.');
  }
  if (Number(request.headers.get('content-length') ?? 0) > bodyBytes) throw tooLarge(bodyBytes);
  const text = await readInTime(request, clock, bodyBytes, requestMs);
  try {
    return JSON.parse(text);
  } catch {
    throw new SyncRequestError('INVALID_REQUEST', 'The body is no JSON.');
  }
}

async function readInTime(
  request: Request,
  clock: ServerClock,
  bodyBytes: number,
  milliseconds: number,
): Promise<string> {
  // A length that was said is held to by HTTP itself; the body then needs no look at each of its parts.
  const isBounded = request.headers.has('content-length');
  const reader = isBounded ? null : (request.body?.getReader() ?? null);
  const bytes = async (): Promise<Uint8Array> =>
    reader === null ? new Uint8Array(await request.arrayBuffer()) : readParts(reader, bodyBytes);
  try {
    return decodeUtf8(await withTimeLimit(clock, milliseconds, bytes));
  } catch (error) {
    // What still comes is not wanted, whatever becomes of it.
    void reader?.cancel().catch(() => undefined);
    if (error instanceof SyncRequestError) throw error;
    if (error instanceof TimeLimitError) {
      throw new SyncRequestError('REQUEST_TIMEOUT', `The body did not arrive within ${milliseconds} ms.`, {
        headers: { connection: 'close' },
      });
    }
    throw new SyncRequestError('INVALID_REQUEST', 'The body could not be read to its end.', {}, { cause: error });
  }
}

async function readParts(reader: ReadableStreamDefaultReader<Uint8Array>, bodyBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > bodyBytes) throw tooLarge(bodyBytes);
    chunks.push(value);
  }
  return Buffer.concat(chunks);
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new SyncRequestError('INVALID_REQUEST', 'The body is no UTF-8.');
  }
}

function tooLarge(bodyBytes: number): SyncRequestError {
  return new SyncRequestError('PAYLOAD_TOO_LARGE', `The body has more than the ${bodyBytes} bytes that are allowed.`, {
    headers: { connection: 'close' },
  });
}
