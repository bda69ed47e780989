// Who may do what: a signed token names one space and its rights. The algorithms are pinned, the time is the server's clock,
// and a refusal never says more than that the token does not fit.
import {
  type JWTVerifyGetKey,
  type JSONWebKeySet,
  SignJWT,
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  jwtVerify,
} from 'jose';
import { z } from 'zod';
import { spaceNameSchema } from '../protocol/sync.ts';
import type { ServerClock } from './server-clock.ts';
import { SyncRequestError } from './sync-request-error.ts';

export type Right = 'read' | 'write';

export interface TokenHolder {
  readonly space: string;
  readonly rights: readonly Right[];
  readonly subject: string | null;
}

export interface TokenOptions {
  /** A shared secret (HS256); 32 bytes or more keep it from being guessed. */
  readonly secret?: string;
  /** Public keys (RS256, ES256, EdDSA), or the address that gives them. */
  readonly jwks?: JSONWebKeySet | URL;
  readonly issuer?: string;
  readonly audience?: string;
}

export interface SignTokenOptions {
  readonly space: string;
  readonly secret: string;
  /** Default: both. */
  readonly rights?: readonly Right[];
  /** Seconds, or a span such as `30d`. Default `30d`. */
  readonly expiresIn?: number | string;
  /** Who it is for: named to the validation hook, and what requests are counted by. */
  readonly subject?: string;
  readonly now?: number;
}

/** A token that was found good is not checked again for so long: keys may change. */
const CHECKED_MS = 60_000;
const CHECKED_TOKENS = 10_000;

interface CheckedToken {
  readonly holder: TokenHolder;
  readonly until: number;
}

const SHARED_ALGORITHMS = ['HS256'];
const PUBLIC_ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];
const claimsSchema = z.object({
  space: spaceNameSchema,
  rights: z.array(z.enum(['read', 'write'])).min(1),
  sub: z.string().max(200).optional(),
});

export async function signToken(options: SignTokenOptions): Promise<string> {
  const { space, secret, rights = ['read', 'write'], expiresIn = '30d', subject, now = Date.now() } = options;
  if (secret === '') throw new TypeError('A token needs a secret to be signed with; it is empty.');
  spaceNameSchema.parse(space);
  const issuedAt = Math.floor(now / 1_000);
  const token = new SignJWT({ space, rights: [...rights] })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + (typeof expiresIn === 'number' ? Math.floor(expiresIn) : secondsOf(expiresIn)));
  if (subject !== undefined) token.setSubject(subject);
  return token.sign(new TextEncoder().encode(secret));
}

export interface TokenReader {
  /** Gives who holds the token of an `Authorization` header, or throws 401. */
  read(authorization: string | undefined): Promise<TokenHolder>;
}

export function createTokenReader(options: TokenOptions, clock: ServerClock): TokenReader {
  const { secret, jwks, issuer, audience } = options;
  const shared = secret === undefined || secret === '' ? null : new TextEncoder().encode(secret);
  const keys = jwks === undefined ? null : jwks instanceof URL ? fetchedKeys(jwks) : createLocalJWKSet(jwks);
  if (shared === null && keys === null) {
    throw new TypeError(
      'The server needs a `secret` or `jwks` to check tokens with; without one anybody could come in.',
    );
  }
  const common = {
    requiredClaims: ['exp'],
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience }),
  };
  const checked = new Map<string, CheckedToken>();
  return {
    async read(authorization) {
      const token = /^Bearer +([A-Za-z0-9_.-]+)$/i.exec(authorization ?? '')?.[1];
      if (token === undefined) throw unauthenticated('A token is needed: send it as Authorization: Bearer.');
      const known = checked.get(token);
      if (known !== undefined && clock.now() < known.until) return known.holder;
      checked.delete(token);
      const currentDate = new Date(clock.now());
      try {
        const { payload } =
          shared !== null && (keys === null || isSharedAlgorithm(token))
            ? await jwtVerify(token, shared, { ...common, currentDate, algorithms: SHARED_ALGORITHMS })
            : await jwtVerify(token, keyGetter(keys), { ...common, currentDate, algorithms: PUBLIC_ALGORITHMS });
        const holder = holderOf(payload);
        // A full list is begun anew: whoever is active is back in it at once.
        if (checked.size >= CHECKED_TOKENS) checked.clear();
        checked.set(token, { holder, until: Math.min(currentDate.getTime() + CHECKED_MS, (payload.exp ?? 0) * 1_000) });
        return holder;
      } catch (error) {
        throw asRefusal(error);
      }
    },
  };
}

/** What is wrong with the token is told from what is wrong with the way to the keys: nobody needs another token for that. */
function fetchedKeys(address: URL): JWTVerifyGetKey {
  const fetched = createRemoteJWKSet(address);
  return async (header, token) => {
    try {
      return await fetched(header, token);
    } catch (error) {
      if (KEY_FAULTS_OF_TOKENS.some((kind) => error instanceof kind)) throw error;
      throw new SyncRequestError(
        'UNAVAILABLE',
        'The keys that tokens are checked with could not be fetched.',
        { headers: { 'retry-after': '5' } },
        { cause: error },
      );
    }
  };
}

const KEY_FAULTS_OF_TOKENS = [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported];

function keyGetter(keys: JWTVerifyGetKey | null): JWTVerifyGetKey {
  if (keys === null) throw unauthenticated('The token does not fit.');
  return keys;
}

/** Only chooses which keys are tried; what is tried pins its own algorithms. */
function isSharedAlgorithm(token: string): boolean {
  const header = token.slice(0, token.indexOf('.'));
  try {
    const parsed: unknown = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
    return typeof parsed === 'object' && parsed !== null && 'alg' in parsed && parsed.alg === 'HS256';
  } catch {
    return false;
  }
}

function holderOf(payload: unknown): TokenHolder {
  const claims = claimsSchema.safeParse(payload);
  if (!claims.success) throw unauthenticated('The token names no space and rights.');
  return { space: claims.data.space, rights: claims.data.rights, subject: claims.data.sub ?? null };
}

function asRefusal(error: unknown): unknown {
  if (error instanceof SyncRequestError) return error;
  if (error instanceof errors.JWTExpired) {
    return new SyncRequestError('TOKEN_EXPIRED', 'The token has expired. Sign in again.', { headers: challenge });
  }
  return unauthenticated('The token does not fit.');
}

const challenge = { 'www-authenticate': 'Bearer' };

function unauthenticated(message: string): SyncRequestError {
  return new SyncRequestError('UNAUTHENTICATED', message, { headers: challenge });
}

const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

function secondsOf(span: string): number {
  const [, count, unit] = /^(\d+) ?([smhd])$/.exec(span) ?? [];
  if (count === undefined || (unit !== 's' && unit !== 'm' && unit !== 'h' && unit !== 'd')) {
    throw new TypeError(`"${span}" is no span of time; give seconds as a number, or a text such as 15m, 12h or 30d.`);
  }
  return Number(count) * SECONDS[unit];
}
