// One owner per data directory: PGlite has no lock of its own, and two processes on one directory destroy each other's
// tables. The lock is a file beside the directory. It must never be taken from an owner that is not proven dead:
// no age, no heartbeat.
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { link, lstat, mkdir, open, readFile, readlink, realpath, rename, rm, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { threadId } from 'node:worker_threads';
import { LocalDataError } from '../protocol/errors.ts';

export interface DataDirectoryLock {
  release(): Promise<void>;
}

export interface LockOptions {
  /** How long to wait for another owner to let go. Default 10,000: reloading a window overlaps two processes for about 5 s. */
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

/** What the lock file says about its owner. */
interface OwnerRecord {
  readonly token: string;
  readonly pid: number;
  readonly threadId: number;
  readonly startedAt: number;
  /** When the owning process started, as its system tells it; null where that cannot be asked. */
  readonly processStart: string | null;
  readonly hostname: string;
  /** The machine and its boot (Linux): another boot of the same machine proves the owner dead. */
  readonly machineId: string | null;
  readonly bootId: string | null;
}

const POLL_MS = 100;
const DEFAULT_WAIT_MS = 10_000;
const CLAIM_DEPTH_LIMIT = 8;

/** Takes the directory for this process, or throws DATA_DIRECTORY_IN_USE once `waitMs` have passed. */
export async function acquireDataDirectoryLock(dataDir: string, options: LockOptions = {}): Promise<DataDirectoryLock> {
  const lockFile = await prepareLockFile(dataDir);
  const deadline = performance.now() + (options.waitMs ?? DEFAULT_WAIT_MS);
  for (;;) {
    throwIfAborted(options.signal, dataDir);
    const own = await describeThisThread();
    if (await tryToOwn(lockFile, own, 0)) return { release: () => release(lockFile, own.token) };
    if (performance.now() >= deadline) throw await inUse(dataDir, lockFile);
    await pause(options.signal, dataDir);
  }
}

/**
 * Lets go of a lock whose owner was a thread of this process that has ended without letting go (it was terminated).
 * Only whoever has seen that thread's `exit` may call this.
 */
export async function releaseLockOfEndedThread(dataDir: string, endedThreadId: number): Promise<void> {
  const lockFile = `${await resolveDataDirectory(dataDir)}.lock`;
  const owner = await readOwner(lockFile);
  if (owner === 'absent' || owner === 'unreadable') return;
  const self = await describeThisThread();
  const ofThisProcess = owner.pid === self.pid && owner.processStart === self.processStart;
  if (ofThisProcess && owner.hostname === self.hostname && owner.threadId === endedThreadId) {
    await release(lockFile, owner.token);
  }
}

/** The directory's real path; works for one that is not there yet and for a symlink whose target is not there yet. */
export async function resolveDataDirectory(dataDir: string): Promise<string> {
  let path = resolve(dataDir);
  for (let links = 0; links < 40; links++) {
    const real = await ifPresent(realpath(path));
    if (real !== undefined) return real;
    const stats = await ifPresent(lstat(path));
    if (stats?.isSymbolicLink() !== true) break;
    path = resolve(dirname(path), await readlink(path));
  }
  const parent = dirname(path);
  if (parent === path) return path;
  return join(await resolveDataDirectory(parent), basename(path));
}

async function prepareLockFile(dataDir: string): Promise<string> {
  try {
    const real = await resolveDataDirectory(dataDir);
    await mkdir(dirname(real), { recursive: true, mode: 0o700 });
    return `${real}.lock`;
  } catch (error) {
    throw unwritable(dataDir, error);
  }
}

/**
 * One attempt. The file appears with its content at once, so that nobody ever reads half a record. A dead owner's file
 * is replaced only under a claim named after its token, so that of many who see it dead at once one replaces it.
 */
async function tryToOwn(lockFile: string, own: OwnerRecord, depth: number): Promise<boolean> {
  if (await createExclusively(lockFile, own)) return true;
  const owner = await readOwner(lockFile);
  if (owner === 'absent') return createExclusively(lockFile, own);
  if (owner === 'unreadable' || depth >= CLAIM_DEPTH_LIMIT) return false;
  if (!(await isProvenDead(owner))) return false;
  return takeOver(lockFile, owner.token, own, depth);
}

async function takeOver(lockFile: string, deadToken: string, own: OwnerRecord, depth: number): Promise<boolean> {
  const claimFile = `${lockFile.replace(/\.claim-[\w-]+$/, '')}.claim-${deadToken}`;
  const claim = { ...own, token: randomUUID() };
  // A claimant may have died as well: its claim is taken over in the same way, by a claim on the claim.
  if (!(await tryToOwn(claimFile, claim, depth + 1))) return false;
  try {
    const current = await readOwner(lockFile);
    if (typeof current === 'string' || current.token !== deadToken) return false;
    await replaceWith(lockFile, own);
    return true;
  } finally {
    await release(claimFile, claim.token);
  }
}

async function createExclusively(lockFile: string, own: OwnerRecord): Promise<boolean> {
  const draft = await writeDraft(lockFile, own);
  try {
    await link(draft, lockFile);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return false;
    // File systems without hard links: the file is there before its content, which others read as an unreadable owner.
    if (hasErrno(error, 'EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) return await createInPlace(lockFile, own);
    throw unwritable(lockFile, error);
  } finally {
    await rm(draft, { force: true });
  }
}

async function createInPlace(lockFile: string, own: OwnerRecord): Promise<boolean> {
  try {
    await writeRecord(lockFile, own);
    return true;
  } catch (error) {
    if (hasErrno(error, 'EEXIST')) return false;
    throw unwritable(lockFile, error);
  }
}

async function replaceWith(lockFile: string, own: OwnerRecord): Promise<void> {
  const draft = await writeDraft(lockFile, own);
  try {
    await rename(draft, lockFile);
  } catch (error) {
    await rm(draft, { force: true });
    throw unwritable(lockFile, error);
  }
}

async function writeDraft(lockFile: string, own: OwnerRecord): Promise<string> {
  const draft = `${lockFile}.draft-${randomUUID()}`;
  try {
    await writeRecord(draft, own);
    return draft;
  } catch (error) {
    await rm(draft, { force: true });
    throw unwritable(lockFile, error);
  }
}

async function writeRecord(file: string, record: OwnerRecord): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(record, null, 2)}\n`);
    // An empty lock file after a power loss would be owned by nobody who can be proven dead.
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function release(lockFile: string, token: string): Promise<void> {
  const owner = await readOwner(lockFile);
  if (typeof owner === 'string' || owner.token !== token) return;
  await ifPresent(unlink(lockFile));
}

async function readOwner(lockFile: string): Promise<OwnerRecord | 'absent' | 'unreadable'> {
  try {
    const text = await ifPresent(readFile(lockFile, 'utf8'));
    if (text === undefined) return 'absent';
    return ownerFrom(JSON.parse(text)) ?? 'unreadable';
  } catch {
    return 'unreadable';
  }
}

function ownerFrom(value: unknown): OwnerRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const record: Record<string, unknown> = { ...value };
  const { token, pid, startedAt, hostname: host } = record;
  if (typeof token !== 'string' || !/^[\w-]+$/.test(token)) return undefined;
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return undefined;
  if (typeof startedAt !== 'number' || typeof host !== 'string') return undefined;
  return {
    token,
    pid,
    startedAt,
    hostname: host,
    threadId: typeof record['threadId'] === 'number' ? record['threadId'] : 0,
    processStart: textOrNull(record['processStart']),
    machineId: textOrNull(record['machineId']),
    bootId: textOrNull(record['bootId']),
  };
}

async function isProvenDead(owner: OwnerRecord): Promise<boolean> {
  if (owner.hostname !== hostname()) return false;
  const machine = await describeMachine();
  if (owner.machineId !== machine.machineId) return false;
  if (owner.bootId !== null && machine.bootId !== null && owner.bootId !== machine.bootId) return true;
  if (!isRunning(owner.pid)) return true;
  const start = await processStartOf(owner.pid);
  if (start === 'ended') return true;
  // The process number is taken: by another process, when that one started at another time.
  return owner.processStart !== null && start !== null && start !== owner.processStart;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasErrno(error, 'ESRCH');
  }
}

/** `ended` for a process that is dead and not yet collected by its parent; null where the system does not tell. */
async function processStartOf(pid: number): Promise<string | null> {
  if (process.platform === 'linux') return linuxProcessStart(pid);
  if (process.platform === 'darwin') return darwinProcessStart(pid);
  return null;
}

async function linuxProcessStart(pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name in brackets may hold spaces and brackets; what follows its end is state, then fields from the 4th on.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return 'ended';
    return fields[19] ?? null;
  } catch {
    return isRunning(pid) ? null : 'ended';
  }
}

async function darwinProcessStart(pid: number): Promise<string | null> {
  try {
    const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
    const { stdout } = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)], { env });
    return stdout.trim() || null;
  } catch {
    return isRunning(pid) ? null : 'ended';
  }
}

async function describeThisThread(): Promise<OwnerRecord> {
  return {
    token: randomUUID(),
    pid: process.pid,
    threadId,
    startedAt: Date.now(),
    processStart: await processStartOf(process.pid),
    hostname: hostname(),
    ...(await describeMachine()),
  };
}

async function describeMachine(): Promise<Pick<OwnerRecord, 'machineId' | 'bootId'>> {
  if (process.platform !== 'linux') return { machineId: null, bootId: null };
  const [machineId, bootId] = await Promise.all(
    ['/etc/machine-id', '/proc/sys/kernel/random/boot_id'].map(async (file) => {
      const text = await readFile(file, 'utf8').catch(() => '');
      return text.trim() || null;
    }),
  );
  return { machineId: machineId ?? null, bootId: bootId ?? null };
}

async function inUse(dataDir: string, lockFile: string): Promise<LocalDataError> {
  const owner = await readOwner(lockFile);
  if (typeof owner === 'string') {
    return new LocalDataError(
      'DATA_DIRECTORY_IN_USE',
      `The data directory ${dataDir} is locked by ${lockFile}, which does not say by whom. Close whatever uses the directory; if nothing does, delete that file and try again.`,
      { lockFile },
    );
  }
  const since = new Date(owner.startedAt).toISOString();
  const elsewhere = owner.hostname === hostname() ? '' : ` on ${owner.hostname}`;
  return new LocalDataError(
    'DATA_DIRECTORY_IN_USE',
    `The data directory ${dataDir} is in use by process ${owner.pid}${elsewhere} since ${since}. Close the window or program that uses it, then try again.`,
    { pid: owner.pid, since, hostname: owner.hostname, lockFile },
  );
}

function unwritable(path: string, error: unknown): LocalDataError {
  if (error instanceof LocalDataError) return error;
  if (hasErrno(error, 'ENOSPC', 'EDQUOT')) {
    return new LocalDataError(
      'DISK_FULL',
      `The disk that holds ${path} is full. Free some space, then try again.`,
      { path },
      { cause: error },
    );
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new LocalDataError(
    'DATA_DIRECTORY_UNWRITABLE',
    `No lock can be written for ${path} (${reason}). Make its folder writable or choose another data directory.`,
    { path },
    { cause: error },
  );
}

function throwIfAborted(signal: AbortSignal | undefined, dataDir: string): void {
  if (signal?.aborted === true) {
    throw new LocalDataError('CANCELLED', `Waiting for the data directory ${dataDir} was cancelled.`);
  }
}

async function pause(signal: AbortSignal | undefined, dataDir: string): Promise<void> {
  await delay(POLL_MS, undefined, signal === undefined ? {} : { signal }).catch(() => throwIfAborted(signal, dataDir));
}

async function ifPresent<T>(wanted: Promise<T>): Promise<T | undefined> {
  try {
    return await wanted;
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function hasErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
