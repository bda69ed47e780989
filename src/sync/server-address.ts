// What a person gives to connect with, checked before anything is sent: the server's address, the token, the space. None
// of the errors here repeats a token or a password.
import { spaceNameSchema } from '../protocol/sync.ts';
import { LocalDataError } from '../protocol/errors.ts';

/** The address without a slash at its end; a path before the protocol's own is allowed. */
export function checkServerAddress(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined) {
    throw invalid('url', 'The server address is no address. Give one such as https://sync.example.org.');
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw invalid(
      'url',
      `No transport is registered for addresses that begin with ${parsed.protocol} Use https:, or have the extension that brings it.`,
    );
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw invalid(
      'url',
      `The server address on ${parsed.host} has credentials in it. Leave them out and give a token.`,
    );
  }
  if (parsed.search !== '' || parsed.hash !== '') {
    throw invalid(
      'url',
      `The server address on ${parsed.host} has a query or fragment. Leave out what follows ? or #.`,
    );
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`;
}

/** What may stand in a header; fetch itself would repeat the whole token in its error. */
export function checkToken(token: string): string {
  if (/^[\x21-\x7e]{1,16384}$/.test(token)) return token;
  const problem = token === '' ? 'is empty' : 'has characters that no token has, or is longer than 16,384';
  throw invalid('token', `The token ${problem}. Copy the whole token, without spaces or line breaks.`);
}

export function checkSpaceName(space: string): string {
  if (spaceNameSchema.safeParse(space).success) return space;
  throw invalid('space', `${JSON.stringify(space.slice(0, 100))} is no name of a space: 1 to 100 of A-Z a-z 0-9 . _ -`);
}

function invalid(field: string, message: string): LocalDataError {
  return new LocalDataError('INVALID_ARGUMENT', message, { field });
}
