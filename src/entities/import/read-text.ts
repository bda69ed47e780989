// Reads a file of text piece by piece, as UTF-8 and nothing else. Never guesses an encoding and never replaces bytes it
// does not understand: what is imported is what the file says.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { TextDecoder } from 'node:util';
import { LocalDataError } from '../../protocol/errors.ts';

export interface ReadCall {
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytesRead: number, bytesTotal: number) => void;
}

const CHUNK_BYTES = 256 * 1024;

/** The file's text in pieces, without a byte order mark. */
export async function* readText(file: string, call: ReadCall = {}): AsyncGenerator<string> {
  const bytesTotal = await sizeOf(file);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const stream = createReadStream(file, { highWaterMark: CHUNK_BYTES });
  let bytesRead = 0;
  try {
    for await (const piece of stream) {
      call.signal?.throwIfAborted();
      const bytes = asBytes(piece);
      if (bytesRead === 0) refuseUtf16(file, bytes);
      bytesRead += bytes.length;
      call.onProgress?.(bytesRead, bytesTotal);
      yield decode(file, decoder, bytes, bytesRead);
    }
    yield decode(file, decoder, undefined, bytesRead);
  } catch (error) {
    throw isSystemError(error) ? unreadable(file, error) : error;
  } finally {
    stream.destroy();
  }
}

/** An import error that names the file, the line where there is one, and what to do. */
export function importUnreadable(file: string, line: number | null, what: string, cause?: unknown): LocalDataError {
  const place = line === null ? file : `${file}, line ${line}`;
  return new LocalDataError('IMPORT_UNREADABLE', `${place}: ${what}`, { file, line }, { cause });
}

async function sizeOf(file: string): Promise<number> {
  try {
    const found = await stat(file);
    if (found.isFile()) return found.size;
  } catch (error) {
    throw unreadable(file, error);
  }
  throw importUnreadable(file, null, 'this is no file. Choose a JSON, JSON Lines or CSV file.');
}

function unreadable(file: string, error: unknown): LocalDataError {
  const code = isSystemError(error) ? error.code : String(error);
  const what = code === 'ENOENT' ? 'there is no such file' : `the file cannot be read (${code})`;
  return importUnreadable(file, null, `${what}. Check the path and that you may read it.`, error);
}

function isSystemError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string';
}

function asBytes(piece: unknown): Uint8Array {
  if (piece instanceof Uint8Array) return piece;
  throw new TypeError('A stream without an encoding gives bytes.');
}

function refuseUtf16(file: string, bytes: Uint8Array): void {
  const [first, second] = bytes;
  const marked = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  if (marked) throw importUnreadable(file, null, 'the file is UTF-16. Save it as UTF-8, then import it again.');
}

function decode(file: string, decoder: TextDecoder, bytes: Uint8Array | undefined, bytesRead: number): string {
  try {
    return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
  } catch (error) {
    const place = `within the first ${bytesRead} bytes`;
    throw importUnreadable(
      file,
      null,
      `${place} something is not UTF-8. Save it as UTF-8, then import it again.`,
      error,
    );
  }
}
