// The lock of a data directory, with real processes that are really killed.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { acquireDataDirectoryLock, releaseLockOfEndedThread } from '../../src/db/data-directory-lock.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';

interface OwnerProgram {
  readonly child: ChildProcess;
  nextLine(): Promise<string>;
  tell(): void;
  kill(): Promise<void>;
}

describe('The lock of a data directory', function () {
  this.timeout(60_000);
  let parent: string;
  let dataDir: string;
  const programs: OwnerProgram[] = [];

  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'local-data-lock-'));
    dataDir = join(parent, 'store', 'data');
  });

  afterEach(async () => {
    await Promise.all(programs.splice(0).map((program) => program.kill()));
    await rm(parent, { recursive: true, force: true });
  });

  async function start(directory: string, waitMs: number): Promise<OwnerProgram> {
    const program = startProgram(directory, waitMs);
    programs.push(program);
    assert.equal(await program.nextLine(), 'started');
    return program;
  }

  it('lies beside the data directory, under a parent only its owner can enter, and is gone after release', async () => {
    const lock = await acquireDataDirectoryLock(dataDir, { waitMs: 0 });
    const record: unknown = JSON.parse(await readFile(`${dataDir}.lock`, 'utf8'));
    assert.equal((record as { pid: number }).pid, process.pid);
    if (process.platform !== 'win32') assert.equal((await stat(join(parent, 'store'))).mode & 0o777, 0o700);
    await lock.release();
    await lock.release();
    assert.deepEqual(await readdir(join(parent, 'store')), []);
  });

  it('is refused to the same process the second time', async () => {
    const lock = await acquireDataDirectoryLock(dataDir, { waitMs: 0 });
    await assert.rejects(acquireDataDirectoryLock(dataDir, { waitMs: 0 }), isInUseBy(process.pid));
    await lock.release();
    await (await acquireDataDirectoryLock(dataDir, { waitMs: 0 })).release();
  });

  it('is found through a symlink, whether or not the directory is there yet', async () => {
    const alias = join(parent, 'alias');
    await symlink(dataDir, alias);
    const lock = await acquireDataDirectoryLock(alias, { waitMs: 0 });
    await assert.rejects(acquireDataDirectoryLock(dataDir, { waitMs: 0 }), isInUseBy(process.pid));
    await mkdir(dataDir);
    await assert.rejects(acquireDataDirectoryLock(alias, { waitMs: 0 }), isInUseBy(process.pid));
    await lock.release();
  });

  it('is refused while another process lives, naming it and since when', async () => {
    const owner = await start(dataDir, 0);
    owner.tell();
    assert.equal(await owner.nextLine(), 'owner');
    await assert.rejects(acquireDataDirectoryLock(dataDir, { waitMs: 300 }), (error: unknown) => {
      assert.ok(LocalDataError.isCode(error, 'DATA_DIRECTORY_IN_USE'));
      assert.equal(error.details['pid'], owner.child.pid);
      assert.match(error.message, new RegExp(`in use by process ${owner.child.pid} since \\d{4}-`));
      return true;
    });
  });

  it('passes to one who waits when its owner lets go', async () => {
    const owner = await start(dataDir, 0);
    owner.tell();
    assert.equal(await owner.nextLine(), 'owner');
    const waiting = acquireDataDirectoryLock(dataDir, { waitMs: 20_000 });
    owner.tell();
    await (await waiting).release();
  });

  it('is taken over from an owner killed without warning', async () => {
    const owner = await start(dataDir, 0);
    owner.tell();
    assert.equal(await owner.nextLine(), 'owner');
    await owner.kill();
    await (await acquireDataDirectoryLock(dataDir, { waitMs: 2_000 })).release();
  });

  it('goes to exactly one of eight processes that find a dead owner at the same instant', async () => {
    for (let round = 0; round < 3; round++) {
      const dead = await start(dataDir, 0);
      dead.tell();
      assert.equal(await dead.nextLine(), 'owner');
      await dead.kill();
      const racers = await Promise.all(Array.from({ length: 8 }, () => start(dataDir, 500)));
      for (const racer of racers) racer.tell();
      const outcomes = await Promise.all(racers.map((racer) => racer.nextLine()));
      assert.equal(outcomes.filter((line) => line === 'owner').length, 1, outcomes.join(', '));
      assert.equal(outcomes.filter((line) => line === 'refused DATA_DIRECTORY_IN_USE').length, 7, outcomes.join(', '));
      await Promise.all(racers.map((racer) => racer.kill()));
      assert.deepEqual(await readdir(join(parent, 'store')), ['data.lock']);
    }
  });

  it('is taken over when its process number now belongs to another process', async function () {
    if (process.platform === 'win32') this.skip();
    await leaveRecord({ pid: process.ppid, processStart: 'another time' });
    await (await acquireDataDirectoryLock(dataDir, { waitMs: 0 })).release();
  });

  it('is never taken from another host, nor when the file cannot be read', async () => {
    await leaveRecord({ pid: 999_999_999, hostname: 'another-host' });
    await assert.rejects(acquireDataDirectoryLock(dataDir, { waitMs: 0 }), isInUseBy(999_999_999));
    await writeFile(`${dataDir}.lock`, '');
    await assert.rejects(acquireDataDirectoryLock(dataDir, { waitMs: 0 }), hasCode('DATA_DIRECTORY_IN_USE'));
  });

  it('survives a stealer that died in the middle of stealing', async () => {
    const token = await leaveRecord({ pid: 999_999_998 });
    await writeFile(`${dataDir}.lock.claim-${token}`, JSON.stringify(await recordOf({ pid: 999_999_997 })));
    const lock = await acquireDataDirectoryLock(dataDir, { waitMs: 0 });
    assert.deepEqual(await readdir(join(parent, 'store')), ['data.lock']);
    await lock.release();
  });

  it('stops waiting when it is told to', async () => {
    const lock = await acquireDataDirectoryLock(dataDir, { waitMs: 0 });
    const waiting = acquireDataDirectoryLock(dataDir, { signal: AbortSignal.timeout(150) });
    await assert.rejects(waiting, hasCode('CANCELLED'));
    await lock.release();
  });

  it('held by a thread that was terminated is let go by whoever saw it end, and by nobody for another thread', async () => {
    const source = `import { acquireDataDirectoryLock } from ${JSON.stringify(new URL('../../src/db/data-directory-lock.ts', import.meta.url).href)};
      import { parentPort } from 'node:worker_threads';
      await acquireDataDirectoryLock(${JSON.stringify(dataDir)}, { waitMs: 0 });
      parentPort.postMessage('owner');
      setInterval(() => {}, 1000);`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
    const ended = worker.threadId;
    await once(worker, 'message');
    await worker.terminate();
    await assert.rejects(acquireDataDirectoryLock(dataDir, { waitMs: 0 }), isInUseBy(process.pid));
    await releaseLockOfEndedThread(dataDir, ended + 1);
    await assert.rejects(acquireDataDirectoryLock(dataDir, { waitMs: 0 }), isInUseBy(process.pid));
    await releaseLockOfEndedThread(dataDir, ended);
    await (await acquireDataDirectoryLock(dataDir, { waitMs: 0 })).release();
  });

  it('says what cannot be written where the folder refuses it', async () => {
    await writeFile(join(parent, 'file'), '');
    const inside = join(parent, 'file', 'store', 'data');
    await assert.rejects(acquireDataDirectoryLock(inside, { waitMs: 0 }), hasCode('DATA_DIRECTORY_UNWRITABLE'));
  });

  /** Writes the lock file of an owner as this machine would have written it, with the differences given; its token. */
  async function leaveRecord(differences: object): Promise<string> {
    const record = await recordOf(differences);
    await mkdir(join(parent, 'store'), { recursive: true });
    await writeFile(`${dataDir}.lock`, JSON.stringify(record));
    return record.token;
  }

  async function recordOf(differences: object): Promise<{ token: string }> {
    const other = join(parent, 'other', 'data');
    const lock = await acquireDataDirectoryLock(other, { waitMs: 0 });
    const own = JSON.parse(await readFile(`${other}.lock`, 'utf8')) as { token: string; hostname: string };
    await lock.release();
    assert.equal(own.hostname, hostname());
    return { ...own, ...differences };
  }
});

function startProgram(directory: string, waitMs: number): OwnerProgram {
  const program = fileURLToPath(new URL('./lock-owner-program.ts', import.meta.url));
  const child = spawn(process.execPath, [program, directory, String(waitMs)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    nextLine: async () => String((await lines.next()).value),
    tell: () => child.stdin.write('\n'),
    kill: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function hasCode(code: LocalDataError['code']): (error: unknown) => boolean {
  return (error) => LocalDataError.isCode(error, code);
}

function isInUseBy(pid: number): (error: unknown) => boolean {
  return (error) => LocalDataError.isCode(error, 'DATA_DIRECTORY_IN_USE') && error.details['pid'] === pid;
}
