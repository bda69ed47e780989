// What people, files and disks get wrong. Each gets an error that names the thing, the value and the remedy; nothing
// that was recorded before is lost, and nothing is half done.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonObject } from '../../src/protocol/changes.ts';
import type { LocalData } from '../../src/engine/local-data.ts';
import { openLocalData } from '../support/engine.ts';
import { type Refusal, refusalOf } from './refusal.ts';

const MAX_PAYLOAD_BYTES = 10_000;

function assertSays(refusal: Refusal, code: string, ...parts: readonly (string | RegExp)[]): void {
  assert.equal(refusal.code, code, refusal.message);
  for (const part of parts) {
    const said = typeof part === 'string' ? refusal.message.includes(part) : part.test(refusal.message);
    assert.ok(said, `"${refusal.message}" does not say ${String(part)}`);
  }
}

/** Values that the types rule out and that callers in plain JavaScript pass all the same. */
function untyped<T>(value: unknown): T {
  return value as T;
}

describe('bad input', function () {
  this.timeout(60_000);

  describe('to an open database', () => {
    let data: LocalData;
    let folder: string;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'local-data-bad-input-'));
      data = await openLocalData({ memory: true, maxPayloadBytes: MAX_PAYLOAD_BYTES });
      await data.exec(`CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, done BOOLEAN)`);
      await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
      await data.recordChange('Task', 'kept', 'insert', { title: 'recorded before' });
      await data.whenIdle();
    });
    after(async () => {
      await data.close();
      await rm(folder, { recursive: true });
    });
    afterEach(async () => {
      const { changes } = await data.listChanges();
      assert.deepEqual(
        changes.map(({ entityId, status }) => ({ entityId, status })),
        [{ entityId: 'kept', status: 'applied' }],
        'what was refused left a trace, or what was recorded is gone',
      );
      assert.equal(await data.countEntities('Task'), 1);
    });

    it('refuses an operation that is none, naming those there are', async () => {
      const refusal = await refusalOf(() => data.recordChange('Task', 't1', untyped('upsert'), { title: 'x' }));
      assertSays(refusal, 'UNKNOWN_OPERATION', '"upsert"', 'Task "t1"', 'insert, update, delete');
    });

    it('refuses an insert and an update without data, and a delete with some', async () => {
      assertSays(
        await refusalOf(() => data.recordChange('Task', 't1', 'insert')),
        'MISSING_DATA',
        'Task "t1"',
        'give the whole entity',
      );
      assertSays(
        await refusalOf(() => data.recordChange('Task', 't1', 'update', null)),
        'MISSING_DATA',
        'give the fields to change',
      );
      assertSays(
        await refusalOf(() => data.recordChange('Task', 't1', 'delete', { title: 'x' })),
        'INVALID_PAYLOAD',
        'Leave it out',
      );
    });

    for (const [name, value] of Object.entries({
      'an array': [1],
      'a string': 'text',
      'a number': 7,
      'a boolean': true,
    })) {
      it(`refuses ${name} as payload`, async () => {
        const refusal = await refusalOf(() => data.recordChange('Task', 't1', 'insert', untyped(value)));
        assertSays(refusal, 'INVALID_PAYLOAD', 'Task "t1"', name, 'give an object');
        assert.equal((await refusalOf(() => data.upsertEntity('Task', 't1', untyped(value)))).code, 'INVALID_PAYLOAD');
      });
    }

    it('refuses a payload that is no JSON', async () => {
      const circular: Record<string, unknown> = { title: 'x' };
      circular['itself'] = circular;
      assertSays(
        await refusalOf(() => data.recordChange('Task', 't1', 'insert', untyped(circular))),
        'INVALID_PAYLOAD',
        'Task "t1"',
        'plain values',
      );
    });

    it('refuses an entity id that is empty or no text', async () => {
      for (const id of ['', '  ', undefined, null, 7]) {
        const refusal = await refusalOf(() => data.recordChange('Task', untyped(id), 'insert', { title: 'x' }));
        assertSays(refusal, 'EMPTY_ENTITY_ID', 'Task', 'give a text');
      }
      assert.equal((await refusalOf(() => data.upsertEntity('Task', '', { title: 'x' }))).code, 'EMPTY_ENTITY_ID');
      assert.equal((await refusalOf(() => data.deleteEntity('Task', ''))).code, 'EMPTY_ENTITY_ID');
    });

    it('refuses a payload above the cap, naming its size, the cap and the setting', async () => {
      const title = 'ä'.repeat(MAX_PAYLOAD_BYTES / 2);
      const refusal = await refusalOf(() => data.recordChange('Task', 't1', 'insert', { title }));
      assertSays(refusal, 'PAYLOAD_TOO_LARGE', 'Task "t1"', '10012 bytes', '10000', 'localData.payload.maxBytes');
      assert.equal((await refusalOf(() => data.upsertEntity('Task', 't1', { title }))).code, 'PAYLOAD_TOO_LARGE');
    });

    it('refuses the character U+0000 in ids, values and names, at any depth', async () => {
      const inserts: JsonObject[] = [
        { title: 'a\u0000b' },
        { 'ti\u0000tle': 'x' },
        { title: 'x', deep: [{ inner: '\u0000' }] },
      ];
      for (const payload of inserts) {
        const refusal = await refusalOf(() => data.recordChange('Task', 't1', 'insert', payload));
        assertSays(refusal, 'NUL_CHARACTER', 'Task "t1"', '\\u0000', 'Remove it');
      }
      assertSays(
        await refusalOf(() => data.recordChange('Task', 't\u00001', 'insert', { title: 'x' })),
        'NUL_CHARACTER',
        'entityId',
      );
      assert.equal((await refusalOf(() => data.upsertEntity('Task', 't1', { title: '\u0000' }))).code, 'NUL_CHARACTER');
    });

    it('refuses half of a surrogate pair, which no database of texts can hold', async () => {
      const refusal = await refusalOf(() => data.recordChange('Task', 't1', 'insert', { title: 'half \ud83d' }));
      assert.ok(['INVALID_PAYLOAD', 'NUL_CHARACTER'].includes(refusal.code), refusal.message);
    });

    it('refuses to upsert a key that is no column, naming the column and the table', async () => {
      const refusal = await refusalOf(() => data.upsertEntity('Task', 't1', { title: 'x', colour: 'red' }));
      assertSays(refusal, 'UNKNOWN_COLUMN', '"colour"', '"tasks"', 'Correct the name, or add the column');
    });

    it('refuses an entity type that is not registered, naming those that are', async () => {
      const calls = [
        () => data.upsertEntity('Tsak', 't1', { title: 'x' }),
        () => data.deleteEntity('Tsak', 't1'),
        () => data.getEntity('Tsak', 't1'),
        () => data.queryEntities('Tsak'),
        () => data.describePayload('Tsak', 'insert'),
        () => data.importEntities({ file: join(folder, 'none.csv'), entityType: 'Tsak' }),
      ];
      for (const call of calls) {
        assertSays(await refusalOf(call), 'UNKNOWN_ENTITY_TYPE', '"Tsak"', 'Task', /Register it|correct the name/);
      }
    });

    it('refuses a list of changes as a whole when one of them is bad', async () => {
      const good = { entityType: 'Task', entityId: 'g', operation: 'insert', data: { title: 'good' } } as const;
      const bad = { entityType: 'Task', entityId: '', operation: 'insert', data: { title: 'bad' } } as const;
      assert.equal((await refusalOf(() => data.recordChanges([good, bad, good]))).code, 'EMPTY_ENTITY_ID');
    });

    it('refuses a transaction as a whole when one write of it is bad', async () => {
      const refusal = await refusalOf(() =>
        data.transaction((tx) => {
          tx.upsertEntity('Task', 'a', { title: 'good' });
          tx.upsertEntity('Task', 'b', { title: 'bad', colour: 'red' });
        }),
      );
      assert.equal(refusal.code, 'UNKNOWN_COLUMN');
    });

    it('refuses a table or key that is not there', async () => {
      assertSays(
        await refusalOf(() => data.registerEntityType({ entityType: 'Ghost', table: 'ghosts' })),
        'UNKNOWN_TABLE',
        '"ghosts"',
        'Create it first',
      );
      const refusal = await refusalOf(() =>
        data.registerEntityType({ entityType: 'Task', table: 'tasks', key: 'number' }),
      );
      assertSays(refusal, 'UNKNOWN_COLUMN', '"number"', '"tasks"');
    });

    it('refuses a file that does not parse before anything of it is recorded', async () => {
      const file = join(folder, 'broken.json');
      await writeFile(file, '[\n{"id": "a", "title": "x"},\n{"id": }\n]');
      assertSays(
        await refusalOf(() => data.importEntities({ file, entityType: 'Task' })),
        'IMPORT_UNREADABLE',
        file,
        'line 3',
        'Correct it',
      );
    });

    it('reports the ragged rows of a CSV, and records none of them', async () => {
      const file = join(folder, 'ragged.csv');
      await writeFile(file, 'id,title\na\nb,x,y\n');
      const report = await data.importEntities({ file, entityType: 'Task' });
      assert.equal(report.rowsRecorded, 0);
      assert.deepEqual(report.refused, [
        { row: 2, reason: 'It has 1 cells where the header names 2 columns.' },
        { row: 3, reason: 'It has 3 cells where the header names 2 columns.' },
      ]);
    });

    it('refuses to write through query', async () => {
      assert.equal((await refusalOf(() => data.query(`DELETE FROM tasks`))).code, 'READ_ONLY_QUERY');
    });
  });

  describe('that is recorded and found wrong when applied', () => {
    let data: LocalData;
    beforeEach(async () => {
      data = await openLocalData({ memory: true });
      await data.exec(`CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, hours INTEGER)`);
      await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
    });
    afterEach(() => data.close());

    it('keeps a change with a key that is no column as failed, and repairs it by an edit', async () => {
      const change = await data.recordChange('Task', 't1', 'insert', { title: 'x', colour: 'red' });
      await data.whenIdle();
      const failed = await data.getChange(change.id);
      assert.equal(failed?.status, 'failed');
      assert.equal(failed?.failure?.code, 'UNKNOWN_COLUMN');
      assert.match(failed?.error ?? '', /"colour" is no column of table "tasks".*Correct the name/);
      await data.editChange(change.id, { title: 'x' });
      await data.whenIdle();
      assert.equal((await data.getChange(change.id))?.status, 'applied');
    });

    it('keeps a change of an unknown entity type as failed, and applies it once the type is registered', async () => {
      const change = await data.recordChange('Note', 'n1', 'insert', { text: 'x' });
      await data.whenIdle();
      const failed = await data.getChange(change.id);
      assert.equal(failed?.failure?.code, 'UNKNOWN_ENTITY_TYPE');
      assert.match(failed?.error ?? '', /"Note" is not registered. Register it/);
      await data.registerEntityType({ entityType: 'Note' });
      await data.retryFailed();
      await data.whenIdle();
      assert.deepEqual(await data.getEntity('Note', 'n1'), { id: 'n1', text: 'x' });
    });

    it('keeps a value of the wrong type as failed, naming the value', async () => {
      const change = await data.recordChange('Task', 't1', 'insert', { title: 'x', hours: 'many' });
      await data.whenIdle();
      const failed = await data.getChange(change.id);
      assert.equal(failed?.status, 'failed');
      assert.match(failed?.error ?? '', /"many"/);
    });

    it('imports cells that look like formulas as the text they are', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'local-data-formulas-'));
      try {
        const file = join(folder, 'formulas.csv');
        await writeFile(file, 'id,title\n=1+1,"=HYPERLINK(""http://a.example"")"\nb,-2+3\nc,@SUM(A1)\nd,+1\n');
        const report = await data.importEntities({ file, entityType: 'Task' });
        assert.equal(report.refusedTotal, 0);
        const { rows } = await data.queryEntities('Task');
        assert.deepEqual(
          Object.fromEntries(rows.map(({ id, title }) => [String(id), title])),
          Object.fromEntries([
            ['=1+1', '=HYPERLINK("http://a.example")'],
            ['b', '-2+3'],
            ['c', '@SUM(A1)'],
            ['d', '+1'],
          ]),
        );
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  });

  describe('as a data directory', () => {
    let folder: string;
    let good: string;
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'local-data-directories-'));
      good = join(folder, 'good', 'data');
      const data = await openLocalData({ dataDir: good });
      await data.exec(`CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL)`);
      await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
      await data.recordChange('Task', 't1', 'insert', { title: 'recorded before' });
      await data.whenIdle();
      await data.close();
    });
    after(async () => {
      await rm(folder, { recursive: true });
    });

    async function copyOfGood(name: string): Promise<string> {
      const dataDir = join(folder, name, 'data');
      await mkdir(join(folder, name), { mode: 0o700 });
      await cp(good, dataDir, { recursive: true });
      return dataDir;
    }

    async function assertStillGood(dataDir: string): Promise<void> {
      const data = await openLocalData({ dataDir });
      try {
        assert.deepEqual(await data.getEntity('Task', 't1'), { id: 't1', title: 'recorded before' });
        assert.equal((await data.listChanges()).changes.length, 1);
      } finally {
        await data.close();
      }
    }

    it('says which Postgres made a directory of another major version, and leaves it as it was', async () => {
      const dataDir = await copyOfGood('other-major');
      await writeFile(join(dataDir, 'PG_VERSION'), '17\n');
      const refusal = await refusalOf(() => openLocalData({ dataDir }));
      assertSays(refusal, 'DATA_DIRECTORY_VERSION', dataDir, 'Postgres 17', 'Postgres 18', /export|choose another/);
      assert.equal(await readFile(join(dataDir, 'PG_VERSION'), 'utf8'), '17\n');
      await writeFile(join(dataDir, 'PG_VERSION'), '18\n');
      await assertStillGood(dataDir);
    });

    it('says that a directory is damaged, and what to do', async () => {
      const dataDir = await copyOfGood('corrupt');
      const control = join(dataDir, 'global', 'pg_control');
      await writeFile(control, randomBytes((await stat(control)).size));
      assertSays(
        await refusalOf(() => openLocalData({ dataDir })),
        'DATA_DIRECTORY_CORRUPT',
        dataDir,
        /Restore a backup/,
      );
    });

    it('says the same when files are missing or cut off', async () => {
      const missing = await copyOfGood('missing');
      await rm(join(missing, 'global'), { recursive: true });
      assertSays(
        await refusalOf(() => openLocalData({ dataDir: missing })),
        'DATA_DIRECTORY_CORRUPT',
        missing,
        /Restore a backup/,
      );
      const cut = await copyOfGood('cut');
      await truncate(join(cut, 'global', 'pg_control'), 10);
      assertSays(
        await refusalOf(() => openLocalData({ dataDir: cut })),
        'DATA_DIRECTORY_CORRUPT',
        cut,
        /Restore a backup/,
      );
    });

    it('refuses a directory that holds something else, and leaves it as it was', async () => {
      const dataDir = join(folder, 'photos');
      await mkdir(dataDir);
      await writeFile(join(dataDir, 'holiday.jpg'), 'not a database');
      assertSays(
        await refusalOf(() => openLocalData({ dataDir })),
        'DATA_DIRECTORY_CORRUPT',
        dataDir,
        'PG_VERSION',
        /empty directory/,
      );
      assert.equal(await readFile(join(dataDir, 'holiday.jpg'), 'utf8'), 'not a database');
    });

    it('refuses a path that is a file or leads through one', async () => {
      const file = join(folder, 'a-file');
      await writeFile(file, 'kept');
      for (const dataDir of [file, join(file, 'data')]) {
        const refusal = await refusalOf(() => openLocalData({ dataDir }));
        assertSays(refusal, 'DATA_DIRECTORY_UNWRITABLE', 'a-file', /another (data )?directory/);
      }
      assert.equal(await readFile(file, 'utf8'), 'kept');
    });

    it('refuses a disk that is read-only', async function () {
      const disk = mountDisk(join(folder, 'read-only'), '200m');
      if (disk === undefined) return this.skip();
      try {
        const dataDir = join(disk.path, 'parent', 'data');
        await mkdir(join(disk.path, 'parent'));
        await cp(good, dataDir, { recursive: true });
        disk.remount('ro');
        const fresh = await refusalOf(() => openLocalData({ dataDir: join(disk.path, 'parent', 'new') }));
        assertSays(fresh, 'DATA_DIRECTORY_UNWRITABLE', join(disk.path, 'parent', 'new'), /another (data )?directory/);
        assertSays(
          await refusalOf(() => openLocalData({ dataDir })),
          'DATA_DIRECTORY_UNWRITABLE',
          dataDir,
          /another (data )?directory/,
        );
        disk.remount('rw');
        await assertStillGood(dataDir);
      } finally {
        disk.unmount();
      }
    });

    it('refuses to make a database on a disk without room for it, and leaves no half of one', async function () {
      const disk = mountDisk(join(folder, 'tiny'), '5m');
      if (disk === undefined) return this.skip();
      try {
        const dataDir = join(disk.path, 'parent', 'data');
        assertSays(
          await refusalOf(() => openLocalData({ dataDir })),
          'DISK_FULL',
          join(disk.path, 'parent'),
          /Free some space/,
        );
        assert.equal(await stat(dataDir).catch(() => undefined), undefined);
      } finally {
        disk.unmount();
      }
    });

    it('says the same when the disk fills while a database is made without a template', async function () {
      const disk = mountDisk(join(folder, 'shrinking'), '80m');
      if (disk === undefined) return this.skip();
      const dataDir = join(disk.path, 'parent', 'data');
      const shrinks = disk.remountOnce(join(dataDir, 'base'), 'size=12m');
      try {
        const refusal = await refusalOf(() => openLocalData({ dataDir, templateDir: null }));
        assertSays(refusal, 'DISK_FULL', dataDir, /Free some space/);
        assert.equal(await stat(dataDir).catch(() => undefined), undefined);
      } finally {
        shrinks.kill();
        disk.unmount();
      }
    });

    it('says that the disk is full, loses nothing that was recorded, and goes on once there is room', async function () {
      const disk = mountDisk(join(folder, 'filling'), '120m');
      if (disk === undefined) return this.skip();
      try {
        const dataDir = join(disk.path, 'parent', 'data');
        await mkdir(join(disk.path, 'parent'), { mode: 0o700 });
        await cp(good, dataDir, { recursive: true });
        await fillAndRecover(dataDir, disk);
      } finally {
        disk.unmount();
      }
    });
  });
});

/** Writes until the disk is full, makes room by growing the disk, and looks for what had been acknowledged. */
async function fillAndRecover(dataDir: string, disk: Disk): Promise<void> {
  const acknowledged: string[] = [];
  const data = await openLocalData({ dataDir });
  let refusal: Refusal | undefined;
  try {
    for (let number = 0; refusal === undefined && number < 1_000; number++) {
      const entityId = `large-${number}`;
      refusal = await data
        .recordChange('Task', entityId, 'insert', { title: randomBytes(300_000).toString('hex') })
        .then(
          (change) => void acknowledged.push(change.id),
          (error: unknown) => refusalOf(Promise.reject(error)),
        );
    }
  } finally {
    disk.remount('size=600m');
    await data.close().catch(() => undefined);
  }
  assert.ok(refusal !== undefined, 'the disk did not fill');
  assertSays(refusal, 'DISK_FULL', /Free some space/);
  const again = await openLocalData({ dataDir });
  try {
    for (const id of acknowledged)
      assert.ok((await again.getChange(id)) !== undefined, `${id} was acknowledged and is gone`);
    await again.processNow();
    const { counts } = again.stores.changes.getState();
    assert.equal(counts.applied, acknowledged.length + 1);
    assert.equal(await again.countEntities('Task'), acknowledged.length + 1);
  } finally {
    await again.close();
  }
}

interface Disk {
  readonly path: string;
  remount(option: string): void;
  /** As soon as the path is there, in a process of its own: making a database keeps this one busy. */
  remountOnce(path: string, option: string): ChildProcess;
  unmount(): void;
}

/** A disk of its own in memory; undefined, and said so, where mounting is not allowed. */
function mountDisk(path: string, size: string): Disk | undefined {
  const run = (...args: string[]): void => void execFileSync(args[0] ?? '', args.slice(1), { stdio: 'pipe' });
  try {
    run('mkdir', '-p', path);
    run('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path);
  } catch {
    console.log('        (skipped: mounting a disk needs root on Linux)');
    return undefined;
  }
  return {
    path,
    remount: (option) => run('mount', '-o', `remount,${option}`, path),
    remountOnce: (awaited, option) =>
      spawn('sh', ['-c', 'until [ -e "$0" ]; do :; done; mount -o "remount,$1" "$2"', awaited, option, path]),
    // Lazily, since a database that could not be made may hold on to its files.
    unmount: () => run('umount', '--lazy', path),
  };
}
