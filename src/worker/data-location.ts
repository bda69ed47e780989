// Where the data of a workspace is kept: under one root, by the real path of the workspace, so that another port,
// another tab or a symlink finds the same. Knows nothing of VS Code; makes and moves nothing that it was not asked to.
import { createHash } from 'node:crypto';
import { access, mkdir, readFile, readdir, realpath, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { acquireDataDirectoryLock } from '../db/data-directory-lock.ts';
import { LocalDataError } from '../protocol/errors.ts';

export interface DataLocation {
  readonly kind: 'workspace' | 'personal';
  /** The workspace's name as a person knows it. */
  readonly name: string;
  /** The real path of the workspace file or first folder; null for the personal database. */
  readonly workspacePath: string | null;
  readonly directory: string;
  /** The Postgres data directory within. */
  readonly dataDir: string;
}

export interface KnownDatabase {
  readonly directory: string;
  readonly name: string;
  /** Where its workspace was when it was last claimed. */
  readonly path: string;
  /** False where nothing is at that path any more: moved, renamed or deleted. */
  readonly claimed: boolean;
}

const NOTE = 'workspace.json';
/** How the Entities panel was last shown over the database; goes with it. */
export const PANEL_VIEW_FILE = 'entities-panel.json';
const DATA = 'data';
const PERSONAL = 'personal';

/** The setting wins over the extension's own storage; it is an absolute path or empty. */
export function databasesRoot(globalStorage: string, dataDirectory: string): string {
  if (dataDirectory === '') return join(globalStorage, 'databases');
  if (isAbsolute(dataDirectory)) return dataDirectory;
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    `The setting localData.dataDirectory is "${dataDirectory}", and must be an absolute path, or empty for the usual place.`,
    { dataDirectory },
  );
}

export async function locateWorkspace(root: string, workspace: string): Promise<DataLocation> {
  const path = await realpath(workspace);
  const directory = join(root, createHash('sha256').update(path).digest('hex'));
  return { kind: 'workspace', name: basename(path), workspacePath: path, directory, dataDir: join(directory, DATA) };
}

export function locatePersonal(root: string): DataLocation {
  const directory = join(root, PERSONAL);
  return {
    kind: 'personal',
    name: 'personal database',
    workspacePath: null,
    directory,
    dataDir: join(directory, DATA),
  };
}

/** Whether a database was made there. */
export function isDatabaseAt({ dataDir }: DataLocation): Promise<boolean> {
  return isThere(join(dataDir, 'PG_VERSION'));
}

/** Notes whose data this is; before the database is made. */
export async function claimLocation({ directory, name, workspacePath }: DataLocation): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const note = join(directory, NOTE);
  const draft = `${note}.draft-${process.pid}`;
  await writeFile(draft, `${JSON.stringify({ name, path: workspacePath }, null, 2)}\n`, { mode: 0o600 });
  await rename(draft, note);
}

/** All databases of workspaces, with where those are or were. */
export async function listDatabases(root: string): Promise<KnownDatabase[]> {
  const keys = await readdir(root).catch(() => []);
  const found = await Promise.all(keys.map((key) => readDatabase(join(root, key))));
  return found.filter((database) => database !== undefined);
}

/** Gives a workspace the database of one that is no longer where it was. */
export async function adoptDatabase(location: DataLocation, adopted: Pick<KnownDatabase, 'directory'>): Promise<void> {
  if (await isDatabaseAt(location)) {
    throw new LocalDataError(
      'INVALID_ARGUMENT',
      `${location.name} has a database already; delete it before adopting another.`,
      { directory: location.directory },
    );
  }
  const dataDir = join(adopted.directory, DATA);
  const lock = await acquireDataDirectoryLock(dataDir, { waitMs: 0 });
  try {
    await claimLocation(location);
    await rename(dataDir, location.dataDir);
  } finally {
    await lock.release();
  }
  const view = (directory: string): string => join(directory, PANEL_VIEW_FILE);
  await rename(view(adopted.directory), view(location.directory)).catch(() => undefined);
  await rm(join(adopted.directory, NOTE), { force: true });
  // Whatever else a person keeps there stays.
  await rmdir(adopted.directory).catch(() => undefined);
}

async function readDatabase(directory: string): Promise<KnownDatabase | undefined> {
  const note = await readNote(join(directory, NOTE));
  if (note === undefined || !(await isThere(join(directory, DATA, 'PG_VERSION')))) return undefined;
  return { directory, ...note, claimed: await isThere(note.path) };
}

/** Undefined for what is no database of a workspace. */
async function readNote(file: string): Promise<{ name: string; path: string } | undefined> {
  try {
    const note: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (typeof note !== 'object' || note === null || !('name' in note) || !('path' in note)) return undefined;
    const { name, path } = note;
    return typeof name === 'string' && typeof path === 'string' ? { name, path } : undefined;
  } catch {
    return undefined;
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
