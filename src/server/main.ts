// The server as a program: `npm run server` serves, `npm run server -- token --space NAME` signs a token for it. Everything
// that matters comes from the environment, so that it runs the same in a terminal and in a container.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { JSONWebKeySet } from 'jose';
import { pino } from 'pino';
import { signToken, startServer } from './start-server.ts';

const DEFAULT_DATA_DIR = '.localdata-server/data';
const DEFAULT_PORT = 4280;
const HELP = `npm run server                          serves
npm run server -- token --space NAME    signs a token
    --rights read,write   --expires 30d   --subject WHO

Environment:
  PORT, HOST            where to listen (${DEFAULT_PORT}, 127.0.0.1)
  DATABASE_URL          a Postgres that any number of servers share; or
  DATA_DIR              a directory that this server has alone (${DEFAULT_DATA_DIR})
  LOCAL_DATA_SECRET     what tokens are signed with; without it and beside a DATA_DIR one is made and kept
  LOCAL_DATA_JWKS       address or file of public keys, instead or as well
  LOG_LEVEL             info; silent for none`;

type Environment = Readonly<Record<string, string | undefined>>;

/** What is set to nothing is not set: containers pass on what they do not have as an empty text. */
function given(environment: Environment, name: string): string | undefined {
  const value = environment[name];
  return value === '' ? undefined : value;
}

try {
  await main(process.argv.slice(2), process.env);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function main(words: readonly string[], environment: Environment): Promise<void> {
  const [command, ...rest] = words;
  if (command === 'token') return printToken(rest, environment);
  if (command === undefined) return serve(environment);
  console.log(HELP);
  if (command !== 'help' && command !== '--help') process.exitCode = 1;
}

async function printToken(args: string[], environment: Environment): Promise<void> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ args, options: { space: text, rights: text, expires: text, subject: text } });
  const { space, rights = 'read,write', expires = '30d', subject } = values;
  if (space === undefined) throw new Error(`Which space is the token for? Give --space NAME.\n\n${HELP}`);
  const secret = secretOf(environment);
  if (secret === undefined) throw new Error('Tokens of LOCAL_DATA_JWKS are signed by whoever has the private key.');
  const wanted = rights.split(',').map((right) => {
    if (right === 'read' || right === 'write') return right;
    throw new Error(`"${right}" is no right; there are read and write.`);
  });
  const whom = subject === undefined ? {} : { subject };
  console.log(await signToken({ space, secret, rights: wanted, expiresIn: expires, ...whom }));
}

async function serve(environment: Environment): Promise<void> {
  const logger = pino({ level: given(environment, 'LOG_LEVEL') ?? 'info' });
  const secret = secretOf(environment);
  const jwks = keysOf(environment);
  const { databaseUrl, dataDir } = placeOf(environment);
  if (secret !== undefined && secret.length < 32) {
    logger.warn({}, 'LOCAL_DATA_SECRET has fewer than 32 characters; a longer one cannot be guessed');
  }
  // From the start: a signal that comes while it starts, or as it says where it is, must find somebody who hears it.
  const stopped = stopAsked();
  const server = await startServer({
    ...(databaseUrl === undefined ? { dataDir } : { databaseUrl }),
    ...(secret === undefined ? {} : { secret }),
    ...(jwks === undefined ? {} : { jwks }),
    port: portOf(given(environment, 'PORT')),
    host: given(environment, 'HOST') ?? '127.0.0.1',
    logger,
  });
  console.log(`Local Data's sync server is at ${server.url}`);
  console.log(databaseUrl === undefined ? `Its data are in ${dataDir}` : 'Its data are in Postgres');
  await stopped;
  console.log('Stopping: those who wait are answered');
  await server.close();
}

/** A second signal does not wait any longer. */
async function stopAsked(): Promise<void> {
  await new Promise<void>((stop) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) {
      process.once(name, () => {
        process.once(name, () => process.exit(1));
        stop();
      });
    }
  });
}

function placeOf(environment: Environment): { databaseUrl?: string; dataDir: string } {
  const chosen = given(environment, 'DATA_DIR');
  const dataDir = resolve(chosen ?? DEFAULT_DATA_DIR);
  const databaseUrl = given(environment, 'DATABASE_URL');
  if (databaseUrl === undefined) return { dataDir };
  if (chosen !== undefined) throw new Error('DATABASE_URL and DATA_DIR are two places; give one.');
  return { databaseUrl, dataDir };
}

/** Beside the data directory, for its owner's eyes alone: the same over starts, so that tokens stay good. */
function secretOf(environment: Environment): string | undefined {
  const secret = given(environment, 'LOCAL_DATA_SECRET');
  if (secret !== undefined) return secret;
  if (given(environment, 'LOCAL_DATA_JWKS') !== undefined) return undefined;
  const { databaseUrl, dataDir } = placeOf(environment);
  if (databaseUrl !== undefined) {
    throw new Error(
      'What are tokens checked with? Set LOCAL_DATA_SECRET or LOCAL_DATA_JWKS, the same for all servers.',
    );
  }
  const file = `${dataDir}.secret`;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600, flag: 'wx' });
  return readFileSync(file, 'utf8').trim();
}

function keysOf(environment: Environment): JSONWebKeySet | URL | undefined {
  const place = given(environment, 'LOCAL_DATA_JWKS');
  if (place === undefined) return undefined;
  if (/^https?:\/\//.test(place)) return new URL(place);
  return JSON.parse(readFileSync(place, 'utf8')) as JSONWebKeySet;
}

function portOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_PORT;
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new Error(`PORT is "${text}"; a port is a number from 1 to 65535, or 0 for any that is free.`);
}
