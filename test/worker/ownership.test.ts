// Two who want one database: the second is told who has it, by whatever path it comes, and finds the same data after.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LocalDataError } from '../../src/protocol/errors.ts';
import { openInWorker } from '../../src/worker/open-in-worker.ts';
import type { SupervisedEngine } from '../../src/worker/supervised-engine.ts';
import { workerFile } from './worker-file.ts';

describe('A database that is open already', function () {
  this.timeout(60_000);
  let directory: string;
  let dataDir: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'local-data-ownership-'));
    dataDir = join(directory, 'store', 'data');
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  const open = (path: string, lockWaitMs: number): Promise<SupervisedEngine> =>
    openInWorker({ engine: { dataDir: path, lockWaitMs }, workerFile: workerFile() });

  it('is refused to a second, also through a symlink, and given to it with its data once closed', async () => {
    const first = await open(dataDir, 0);
    await first.data.createChangesTable();
    await first.data.registerEntityType({ entityType: 'Note' });
    await first.data.upsertEntity('Note', 'n1', { text: 'here' });
    const alias = join(directory, 'alias');
    await symlink(join(directory, 'store'), alias);
    await assert.rejects(open(join(alias, 'data'), 200), isInUseBy(process.pid));
    // The refused one must not have let go of what it never had.
    await assert.rejects(open(dataDir, 200), isInUseBy(process.pid));
    await first.close();
    const second = await open(join(alias, 'data'), 0);
    assert.equal((await second.data.getEntity('Note', 'n1'))?.['text'], 'here');
    await second.close();
  });

  it('is refused while another process writes to it, and taken over when that one is killed', async () => {
    const program = fileURLToPath(new URL('./writer-program.ts', import.meta.url));
    const child = spawn(process.execPath, [program, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    assert.equal((await lines.next()).value, 'ready');
    await assert.rejects(open(dataDir, 200), isInUseBy(child.pid));
    const opening = open(dataDir, 20_000);
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    const engine = await opening;
    assert.equal(await engine.data.doesChangesTableExist(), true);
    await engine.close();
  });
});

function isInUseBy(pid: number | undefined): (error: unknown) => boolean {
  return (error) => {
    assert.ok(LocalDataError.isCode(error, 'DATA_DIRECTORY_IN_USE'), String(error));
    assert.equal(error.details['pid'], pid);
    assert.match(error.message, /in use by process \d+ since \d{4}-/);
    return true;
  };
}
