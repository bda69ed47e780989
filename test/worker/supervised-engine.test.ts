// Supervision: deadlines, cancelling, restarts, closing; with real threads that really block and really die.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { acquireDataDirectoryLock } from '../../src/db/data-directory-lock.ts';
import type { ErrorCode } from '../../src/protocol/errors.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';
import {
  type EngineStatus,
  SupervisedEngine,
  type SupervisedEngineOptions,
  startSupervisedEngine,
} from '../../src/worker/supervised-engine.ts';
import type { Script } from './scripted-engine.ts';

const FOREVER = 'block 60000';

describe('A supervised engine', function () {
  this.timeout(30_000);
  let directory: string;
  let journal: string;
  const engines: SupervisedEngine[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'local-data-supervised-'));
    journal = join(directory, 'journal');
  });

  afterEach(async () => {
    await Promise.all(engines.splice(0).map((engine) => engine.close()));
    await rm(directory, { recursive: true, force: true });
  });

  async function start(
    script: Partial<Script> = {},
    options: Partial<SupervisedEngineOptions> = {},
  ): Promise<SupervisedEngine> {
    const engine = await startSupervisedEngine({
      workerFile: new URL('./scripted-engine.ts', import.meta.url),
      workerData: { journal, ...script } satisfies Script,
      dataDir: script.dataDir,
      ...options,
      limits: { pingMs: 800, cancelMs: 200, backoffMs: 10, ...options.limits },
    });
    engines.push(engine);
    return engine;
  }

  async function journalLines(): Promise<string[]> {
    return (await readFile(journal, 'utf8')).split('\n').filter((line) => line !== '');
  }

  it('rejects its start with the error that opening the database gave, and leaves no thread', async () => {
    const dataDir = join(directory, 'data');
    await assert.rejects(start({ failToOpen: 'always', dataDir }), hasCode('DATA_DIRECTORY_CORRUPT'));
    await (await acquireDataDirectoryLock(dataDir, { waitMs: 0 })).release();
  });

  it('says why the database cannot be opened also to a host too busy to hear it before the thread could end', async () => {
    const refused = assert.rejects(start({ failToOpen: 'always' }), hasCode('DATA_DIRECTORY_CORRUPT'));
    for (const end = Date.now() + 3_000; Date.now() < end;);
    await refused;
  });

  it('brings typed errors across with code, message and plain details, and strange ones as INTERNAL', async () => {
    const { data } = await start();
    await assert.rejects(data.query('refuse'), (error: unknown) => {
      assert.ok(LocalDataError.isCode(error, 'SQL_ERROR'));
      assert.equal(error.message, 'refused');
      assert.deepEqual(error.details, { sqlState: '42P01' });
      return true;
    });
    await assert.rejects(data.query('throw'), hasCode('INTERNAL'));
  });

  it('refuses arguments that do not fit, naming the field, before the engine sees them', async () => {
    const { data } = await start();
    const limit = 'ten' as unknown as number;
    await assert.rejects(data.listChanges({ limit }), namesField('argument 1.limit'));
    await assert.rejects(data.query(5 as unknown as string), namesField('argument 1'));
    const watching = data.watchChanges({ status: 'lost' as 'failed' }, () => {});
    await assert.rejects(watching, hasCode('INVALID_ARGUMENT'));
    const functions = [() => 1] as unknown[];
    await assert.rejects(data.query('select', functions), hasCode('INVALID_ARGUMENT'));
    assert.deepEqual(await journalLines(), ['start']);
  });

  it('keeps undefined as undefined', async () => {
    const { data } = await start();
    assert.equal(await data.getEntity('Task', 't1'), undefined);
  });

  it('refuses a message above the cap, cuts rows to it, and refuses answers that cannot be cut', async () => {
    const { data } = await start();
    await assert.rejects(data.exec('note', ['x'.repeat(9 * 1024 * 1024)]), hasCode('PAYLOAD_TOO_LARGE'));
    const cut = await data.query('huge');
    assert.equal(cut.truncated, true);
    assert.ok(cut.rows.length > 0 && cut.rows.length < 8, String(cut.rows.length));
    await assert.rejects(data.queryEntities('Task'), hasCode('PAYLOAD_TOO_LARGE'));
  });

  it('gives up a call at its deadline, and keeps a thread that still answers', async () => {
    const engine = await start();
    await assert.rejects(engine.data.query('hang', [], { timeoutMs: 150 }), hasCode('TIMED_OUT'));
    await engine.data.query('select');
    assert.deepEqual(await journalLines(), ['start', 'hang', 'gave up', 'select']);
  });

  it('passes an answer that arrives while it looks whether the thread lives', async () => {
    const { data } = await start({}, { limits: { pingMs: 5_000 } });
    await data.query('block 400', [], { timeoutMs: 300 });
    assert.deepEqual(await journalLines(), ['start', 'block 400']);
  });

  it('terminates a stuck thread at the deadline of the call that is stuck, and goes on with a new one', async () => {
    const engine = await start({ dataDir: join(directory, 'data') });
    const statuses: EngineStatus['kind'][] = [];
    engine.onStatus(({ kind }) => statuses.push(kind));
    const stuck = engine.data.query(FOREVER, [], { timeoutMs: 300 });
    const write = engine.data.upsertEntity('Task', 't1', {});
    const read = engine.data.query('select');
    await Promise.all([
      assert.rejects(stuck, hasCode('TIMED_OUT')),
      assert.rejects(write, (error: unknown) => {
        assert.ok(LocalDataError.isCode(error, 'ENGINE_RESTARTED'));
        assert.match(error.message, /look it up in Changes/);
        return true;
      }),
      read,
    ]);
    assert.deepEqual(statuses, ['restarting', 'ready']);
    assert.deepEqual(await journalLines(), ['start', FOREVER, 'start', 'select']);
  });

  it('does not blame a call for an earlier one that has more time', async () => {
    const { data } = await start();
    const long = data.query('block 3000', [], { timeoutMs: 10_000 });
    await assert.rejects(data.query('select', [], { timeoutMs: 100 }), hasCode('TIMED_OUT'));
    await long;
    assert.equal((await journalLines()).filter((line) => line === 'start').length, 1);
  });

  it('has the engine give up a cancelled call', async () => {
    const { data } = await start();
    const controller = new AbortController();
    const hanging = data.query('hang', [], { signal: controller.signal });
    await data.query('select');
    controller.abort();
    await assert.rejects(hanging, hasCode('CANCELLED'));
    await assert.rejects(data.query('select', [], { signal: controller.signal }), hasCode('CANCELLED'));
    assert.deepEqual(await journalLines(), ['start', 'hang', 'select', 'gave up']);
  });

  it('terminates the thread when a cancelled call keeps running', async () => {
    const { data } = await start();
    const controller = new AbortController();
    const stuck = data.query(FOREVER, [], { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await assert.rejects(stuck, hasCode('CANCELLED'));
    await data.query('select');
    assert.deepEqual(await journalLines(), ['start', FOREVER, 'start', 'select']);
  });

  it('lets a page of entities that nobody wants any more come to its end', async () => {
    const { data } = await start();
    const controller = new AbortController();
    const page = data.countEntities('block 2500', {}, { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    await assert.rejects(page, hasCode('CANCELLED'));
    await data.query('select');
    assert.deepEqual(await journalLines(), ['start', 'block 2500', 'select']);
  });

  it('repeats reads after a crash, reports writes, and fills the stores anew', async () => {
    const engine = await start({ dataDir: join(directory, 'data') });
    const { data } = engine;
    assert.equal(data.stores.changes.getState().counts.pending, 1);
    const caughtUp = new Promise<number>((resolve) => data.onCommit(({ counts }) => resolve(counts.pending)));
    await Promise.all([assert.rejects(data.exec('crash'), hasCode('ENGINE_RESTARTED')), data.query('select 1')]);
    assert.equal(await caughtUp, 2);
    assert.equal(data.stores.changes.getState().counts.pending, 2);
    await data.query('crash-once');
    assert.equal(engine.status.kind, 'ready');
    await assert.rejects(data.query('crash'), hasCode('ENGINE_RESTARTED'));
  });

  it('starts processing in a new thread as in the one before', async () => {
    const { data } = await start({}, { startProcessor: true });
    await data.query('crash-once');
    assert.deepEqual(await journalLines(), [
      'start',
      'processor started',
      'crash-once',
      'start',
      'processor started',
      'crash-once',
    ]);
  });

  it('keeps a pause over a restart: in the new thread processing is never started', async () => {
    const { data } = await start({}, { startProcessor: true });
    await data.stopChangeProcessor();
    await data.query('crash-once');
    const lines = await journalLines();
    assert.deepEqual(lines.slice(lines.lastIndexOf('start')), ['start', 'crash-once']);
    assert.equal(data.stores.changes.getState().processor, 'stopped');
  });

  it('pauses processing when applying has ended the thread three times in a row, says why, and resumes when told', async () => {
    const engine = await start({ applyingKills: true }, { startProcessor: true });
    const paused = await pausedStatus(engine);
    assert.match(paused.message, /applying changes ended the engine 3 times in a row.*resume processing/);
    await engine.data.query('select');
    assert.deepEqual((await journalLines()).slice(-2), ['start', 'select']);
    assert.equal(engine.data.stores.changes.getState().processor, 'stopped');
    assert.equal((await journalLines()).filter((line) => line === 'processor started').length, 3);
    const again = pausedStatus(engine, ({ kind }) => kind === 'restarting');
    engine.data.startChangeProcessor();
    await again;
    assert.equal((await journalLines()).filter((line) => line === 'processor started').length, 6);
  });

  it('stays down after too many crashes within a minute, and says so to every call', async () => {
    const engine = await start({}, { limits: { restartsPerMinute: 2 } });
    for (let crash = 0; crash < 3; crash++) await assert.rejects(engine.data.exec('crash'), LocalDataError);
    assert.equal(engine.status.kind, 'failed');
    await assert.rejects(engine.data.query('select'), /ended 3 times within a minute/);
  });

  it('stays down when the database cannot be opened again, with that error', async () => {
    const engine = await start({ failToOpen: 'after-first' });
    await assert.rejects(engine.data.query('crash'), hasCode('DATA_DIRECTORY_CORRUPT'));
    assert.equal(engine.status.kind, 'failed');
    await assert.rejects(engine.data.query('select'), hasCode('DATA_DIRECTORY_CORRUPT'));
  });

  it('updates the stores before the call that committed is answered', async () => {
    const { data } = await start();
    await data.exec('commit');
    assert.equal(data.stores.changes.getState().counts.applied, 1);
  });

  it('carries progress, and lets a cancelled import end with its report', async () => {
    const { data } = await start({}, { limits: { silenceMs: 300 } });
    const rows: number[] = [];
    const options = { file: '/f.csv', entityType: 'Task' };
    const report = await data.importEntities(options, { onProgress: ({ rowsRead }) => rows.push(rowsRead) });
    assert.deepEqual(rows, [1, 2, 3]);
    assert.equal(report.cancelled, false);
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    assert.equal((await data.importEntities(options, { onProgress, signal: controller.signal })).cancelled, true);
  });

  it('closes the engine, frees the directory, and refuses calls afterwards', async () => {
    const dataDir = join(directory, 'data');
    const engine = await start({ dataDir });
    await engine.close();
    await engine.data.close();
    assert.equal((await journalLines()).at(-1), 'closed');
    await assert.rejects(engine.data.query('select'), hasCode('ENGINE_CLOSED'));
    assert.equal(engine.status.kind, 'closed');
    await (await acquireDataDirectoryLock(dataDir, { waitMs: 0 })).release();
  });

  it('can be closed while it starts', async () => {
    const engine = new SupervisedEngine({
      workerFile: new URL('./scripted-engine.ts', import.meta.url),
      workerData: { journal } satisfies Script,
    });
    const starting = assert.rejects(engine.start(), hasCode('ENGINE_CLOSED'));
    await engine.close();
    await starting;
    assert.equal(engine.status.kind, 'closed');
  });

  it('closes in bounded time although the thread is stuck', async () => {
    const engine = await start({}, { limits: { closeMs: 300 } });
    const stuck = assert.rejects(engine.data.query(FOREVER), hasCode('ENGINE_CLOSED'));
    const began = performance.now();
    await engine.close();
    assert.ok(performance.now() - began < 5_000);
    await stuck;
  });
});

/** Resolves with why processing is paused, once `from` has been seen (or at once). */
function pausedStatus(engine: SupervisedEngine, from: (status: EngineStatus) => boolean = () => true): Promise<Error> {
  return new Promise((resolve) => {
    let started = false;
    const look = (status: EngineStatus) => {
      started ||= from(status);
      if (started && status.kind === 'ready' && status.pausedBecause !== undefined) resolve(status.pausedBecause);
    };
    engine.onStatus(look);
    look(engine.status);
  });
}

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof LocalDataError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

function namesField(field: string): (error: unknown) => boolean {
  return (error) => LocalDataError.isCode(error, 'INVALID_ARGUMENT') && error.details['field'] === field;
}
