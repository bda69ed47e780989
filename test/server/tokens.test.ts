// Tokens of a sign-in service of one's own: public keys that are given or fetched, issuer and audience, and the end of a token.
import assert from 'node:assert/strict';
import { type CryptoKey, type JWTPayload, SignJWT, exportJWK, generateKeyPair } from 'jose';
import { syncErrorSchema } from '../../src/protocol/sync.ts';
import type { Store } from '../../src/server/store.ts';
import { SECRET, createServerApp, openServerStore, signToken } from '../support/server.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { ScriptedServer, answerJson } from '../sync/scripted-server.ts';

type AppOptions = Omit<Parameters<typeof createServerApp>[0], 'store'>;
type App = ReturnType<typeof createServerApp>;

describe('a server that knows public keys', () => {
  let store: Store;
  const apps: App[] = [];
  before(async () => {
    store = await openServerStore({ memory: true });
  });
  afterEach(async () => {
    await Promise.all(apps.splice(0).map((app) => app.close()));
  });
  after(() => store.close());

  const open = (options: AppOptions): App => {
    const app = createServerApp({ store, ...options });
    apps.push(app);
    return app;
  };

  /** The status, and the code where it is no success. */
  async function ask(app: App, token: string) {
    const headers = { authorization: `Bearer ${token}` };
    const response = await app.fetch(new Request('http://server/v1/spaces/mine', { headers }));
    const body: unknown = await response.json();
    const told = syncErrorSchema.safeParse(body);
    return { status: response.status, code: told.success ? told.data.error.code : null, headers: response.headers };
  }

  async function keyOf(alg: string, kid: string) {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg } };
  }

  const soon = () => Math.floor(Date.now() / 1_000) + 600;
  const sign = (alg: string, kid: string, key: CryptoKey, claims: JWTPayload = {}) => {
    return new SignJWT({ space: 'mine', rights: ['read'], exp: soon(), ...claims })
      .setProtectedHeader({ alg, kid })
      .sign(key);
  };

  it('takes tokens that they prove, of each algorithm it knows, and no other', async () => {
    const keys = await Promise.all(['RS256', 'ES256', 'EdDSA'].map((alg) => keyOf(alg, alg)));
    const app = open({ jwks: { keys: keys.map(({ jwk }) => jwk) } });
    for (const { jwk, privateKey } of keys) {
      assert.equal((await ask(app, await sign(jwk.alg, jwk.kid, privateKey))).status, 200, jwk.alg);
    }
    const stranger = await keyOf('RS256', 'RS256');
    const [rsa] = keys;
    assert.ok(rsa !== undefined);
    const withPublicKey = await new SignJWT({ space: 'mine', rights: ['read'], exp: soon() })
      .setProtectedHeader({ alg: 'HS256', kid: 'RS256' })
      .sign(new TextEncoder().encode(JSON.stringify(rsa.jwk)));
    const refused = {
      'of a stranger under a known name': await sign('RS256', 'RS256', stranger.privateKey),
      'of a key that is not known': await sign('RS256', 'unknown', stranger.privateKey),
      'signed with the public key as a secret': withPublicKey,
      'of the secret that it does not have': await signToken({ space: 'mine', secret: SECRET }),
      'of an algorithm it does not know': await sign('RS512', 'RS256', (await keyOf('RS512', 'x')).privateKey),
    };
    for (const [what, token] of Object.entries(refused)) {
      assert.equal((await ask(app, token)).code, 'UNAUTHENTICATED', `a token ${what}`);
    }
  });

  it('takes tokens of its secret as well, where it has both', async () => {
    const { jwk, privateKey } = await keyOf('ES256', 'one');
    const app = open({ jwks: { keys: [jwk] }, secret: SECRET });
    assert.equal((await ask(app, await sign('ES256', 'one', privateKey))).status, 200);
    assert.equal((await ask(app, await signToken({ space: 'mine', secret: SECRET }))).status, 200);
  });

  it('holds to issuer and audience where they are named', async () => {
    const { jwk, privateKey } = await keyOf('ES256', 'one');
    const app = open({ jwks: { keys: [jwk] }, issuer: 'https://sign-in.example.org', audience: 'local-data' });
    const by = (claims: JWTPayload) => sign('ES256', 'one', privateKey, claims);
    const right = { iss: 'https://sign-in.example.org', aud: 'local-data' };
    assert.equal((await ask(app, await by(right))).status, 200);
    for (const claims of [
      {},
      { iss: right.iss },
      { aud: right.aud },
      { ...right, aud: 'other' },
      { ...right, iss: 'x' },
    ]) {
      assert.equal((await ask(app, await by(claims))).code, 'UNAUTHENTICATED', JSON.stringify(claims));
    }
  });

  it('fetches them from an address, and says that it could not, instead of asking for another token', async () => {
    const { jwk, privateKey } = await keyOf('EdDSA', 'one');
    let isUp = false;
    await using keys = await ScriptedServer.start((_, response) => {
      if (isUp) answerJson(response, { keys: [jwk] });
      else answerJson(response, 'busy', 500);
    });
    const token = await sign('EdDSA', 'one', privateKey);
    const app = open({ jwks: new URL(`${keys.url}/keys`) });
    const { status, code, headers } = await ask(app, token);
    assert.deepEqual([status, code, headers.get('retry-after')], [503, 'UNAVAILABLE', '5']);
    isUp = true;
    assert.equal((await ask(app, token)).status, 200);
    assert.equal((await ask(app, await sign('EdDSA', 'two', privateKey))).code, 'UNAUTHENTICATED');
    const nowhere = open({ jwks: new URL('http://127.0.0.1:1/keys') });
    assert.deepEqual((await ask(nowhere, token)).status, 503);
  });

  it('lets a token go the moment it expires, though it was found good before', async () => {
    const clock = new VirtualClock();
    const app = open({ secret: SECRET, clock });
    const token = await signToken({ space: 'mine', secret: SECRET, now: clock.now(), expiresIn: 30 });
    assert.equal((await ask(app, token)).status, 200);
    clock.advance(29_000);
    assert.equal((await ask(app, token)).status, 200);
    clock.advance(1_000);
    const { status, code, headers } = await ask(app, token);
    assert.deepEqual([status, code, headers.get('www-authenticate')], [401, 'TOKEN_EXPIRED', 'Bearer']);
  });
});
