// Where data lives: the same place by every path to a workspace, and a way back to data whose workspace moved.
import assert from 'node:assert/strict';
import { access, mkdir, mkdtemp, readFile, realpath, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { acquireDataDirectoryLock } from '../../src/db/data-directory-lock.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';
import {
  type DataLocation,
  PANEL_VIEW_FILE,
  adoptDatabase,
  claimLocation,
  databasesRoot,
  isDatabaseAt,
  listDatabases,
  locatePersonal,
  locateWorkspace,
} from '../../src/worker/data-location.ts';

describe('The location of data', () => {
  let parent: string;
  let root: string;
  let workspace: string;

  beforeEach(async () => {
    parent = await realpath(await mkdtemp(join(tmpdir(), 'local-data-location-')));
    root = databasesRoot(join(parent, 'storage'), '');
    workspace = join(parent, 'work');
    await mkdir(workspace);
  });

  afterEach(() => rm(parent, { recursive: true, force: true }));

  /** As if a database had been made there. */
  async function makeDatabase(location: DataLocation): Promise<void> {
    await claimLocation(location);
    await mkdir(location.dataDir);
    await writeFile(join(location.dataDir, 'PG_VERSION'), '18\n');
  }

  it('is the same through a symlink, and another for another folder', async () => {
    await symlink(workspace, join(parent, 'alias'));
    await mkdir(join(parent, 'other'));
    const location = await locateWorkspace(root, workspace);
    assert.deepEqual(await locateWorkspace(root, join(parent, 'alias')), location);
    assert.notEqual((await locateWorkspace(root, join(parent, 'other'))).directory, location.directory);
    assert.match(basename(location.directory), /^[0-9a-f]{64}$/);
    assert.deepEqual([location.name, location.dataDir], ['work', join(location.directory, 'data')]);
  });

  it('is under the directory of the setting where there is one, which must be absolute', async () => {
    const chosen = join(parent, 'chosen');
    assert.equal(databasesRoot(join(parent, 'storage'), chosen), chosen);
    assert.throws(
      () => databasesRoot(parent, 'relative/path'),
      (error) => LocalDataError.isCode(error, 'INVALID_ARGUMENT'),
    );
  });

  it('names its workspace beside the data, in a directory that only its owner can enter', async () => {
    const location = await locateWorkspace(root, workspace);
    assert.equal(await isDatabaseAt(location), false);
    await makeDatabase(location);
    assert.equal(await isDatabaseAt(location), true);
    const note: unknown = JSON.parse(await readFile(join(location.directory, 'workspace.json'), 'utf8'));
    assert.deepEqual(note, { name: 'work', path: workspace });
    if (process.platform !== 'win32') assert.equal((await stat(location.directory)).mode & 0o777, 0o700);
  });

  it('of the personal database is one, and is not listed among the workspaces', async () => {
    await makeDatabase(locatePersonal(root));
    assert.deepEqual(await listDatabases(root), []);
    assert.equal(locatePersonal(root).workspacePath, null);
  });

  it('is listed as unclaimed once the workspace has moved, and can be adopted from where it is now', async () => {
    const before = await locateWorkspace(root, workspace);
    await makeDatabase(before);
    await writeFile(join(before.directory, PANEL_VIEW_FILE), 'the view of it');
    const known = { directory: before.directory, name: 'work', path: workspace };
    assert.deepEqual(await listDatabases(root), [{ ...known, claimed: true }]);
    await rename(workspace, join(parent, 'moved'));
    assert.deepEqual(await listDatabases(root), [{ ...known, claimed: false }]);
    const after = await locateWorkspace(root, join(parent, 'moved'));
    await claimLocation(after);
    await adoptDatabase(after, known);
    assert.equal(await isDatabaseAt(after), true);
    assert.deepEqual(await listDatabases(root), [
      { directory: after.directory, name: 'moved', path: join(parent, 'moved'), claimed: true },
    ]);
    assert.equal(await readFile(join(after.directory, PANEL_VIEW_FILE), 'utf8'), 'the view of it');
    await assert.rejects(access(before.directory), { code: 'ENOENT' });
    await (await acquireDataDirectoryLock(after.dataDir, { waitMs: 0 })).release();
  });

  it('is not adopted over a database that is there, nor while another uses it', async () => {
    const target = await locateWorkspace(root, workspace);
    await mkdir(join(parent, 'gone'));
    const gone = await locateWorkspace(root, join(parent, 'gone'));
    await makeDatabase(gone);
    const lock = await acquireDataDirectoryLock(gone.dataDir, { waitMs: 0 });
    await assert.rejects(adoptDatabase(target, gone), (error) => LocalDataError.isCode(error, 'DATA_DIRECTORY_IN_USE'));
    await lock.release();
    await makeDatabase(target);
    await assert.rejects(adoptDatabase(target, gone), (error) => LocalDataError.isCode(error, 'INVALID_ARGUMENT'));
    assert.equal(await isDatabaseAt(gone), true);
  });
});
