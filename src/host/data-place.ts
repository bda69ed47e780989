// Where the data of this window is kept: below a folder of this extension, by the real path of the workspace, so that
// another port, another tab or a symlink finds the same. Never `storageUri`, which is not stable.
import { createHash } from 'node:crypto';
import { access, mkdir, readFile, readdir, realpath, rename, writeFile } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import * as vscode from 'vscode';
import { LocalDataError } from '../protocol/errors.ts';
import type { Settings } from './settings.ts';

export interface UnclaimedDatabase {
  readonly directory: string;
  readonly name: string;
  /** Where its workspace was. */
  readonly path: string;
}

export interface DataPlace {
  readonly kind: 'workspace' | 'personal';
  /** The workspace's name as a person knows it. */
  readonly name: string;
  readonly directory: string;
  /** The Postgres data directory within. */
  readonly dataDir: string;
  exists(): Promise<boolean>;
  /** Notes whose data this is; before the database is made. */
  claim(): Promise<void>;
  unclaimed(): Promise<UnclaimedDatabase[]>;
  backupFile(at: Date): string;
}

const NOTE = 'workspace.json';
const DATA = 'data';

/** Undefined where no folder is open and no personal database was chosen before. */
export async function findPlace(context: vscode.ExtensionContext, settings: Settings): Promise<DataPlace | undefined> {
  const root = databasesRoot(context, settings);
  const own = vscode.workspace.workspaceFile ?? vscode.workspace.workspaceFolders?.[0]?.uri;
  if (own === undefined || own.scheme !== 'file') {
    const personal = personalPlace(context, settings);
    return (await personal.exists()) ? personal : undefined;
  }
  const path = await realpath(own.fsPath);
  return placeAt(root, createHash('sha256').update(path).digest('hex'), 'workspace', basename(path), path);
}

export function personalPlace(context: vscode.ExtensionContext, settings: Settings): DataPlace {
  return placeAt(databasesRoot(context, settings), 'personal', 'personal', 'personal database', null);
}

export async function adoptDatabase(place: DataPlace, unclaimed: UnclaimedDatabase): Promise<void> {
  if (await place.exists()) {
    throw new LocalDataError(
      'INVALID_ARGUMENT',
      `${place.name} has a database already; delete it before adopting another.`,
    );
  }
  await rename(unclaimed.directory, place.directory);
  await place.claim();
}

function databasesRoot(context: vscode.ExtensionContext, { dataDirectory }: Settings): string {
  if (dataDirectory === '') return join(context.globalStorageUri.fsPath, 'databases');
  if (isAbsolute(dataDirectory)) return dataDirectory;
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    `The setting localData.dataDirectory is "${dataDirectory}", and must be an absolute path, or empty for the usual place.`,
    { dataDirectory },
  );
}

function placeAt(root: string, key: string, kind: DataPlace['kind'], name: string, path: string | null): DataPlace {
  const directory = join(root, key);
  const dataDir = join(directory, DATA);
  return {
    kind,
    name,
    directory,
    dataDir,
    exists: () => isThere(join(dataDir, 'PG_VERSION')),
    claim: async () => {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await writeFile(join(directory, NOTE), `${JSON.stringify({ name, path }, null, 2)}\n`);
    },
    unclaimed: () => findUnclaimed(root),
    backupFile: (at) => join(root, `${key.slice(0, 12)}-${at.toISOString().replaceAll(/[:.]/g, '-')}.tar.gz`),
  };
}

/** Databases whose workspace is no longer where it was. */
async function findUnclaimed(root: string): Promise<UnclaimedDatabase[]> {
  const keys = await readdir(root).catch(() => []);
  const found: UnclaimedDatabase[] = [];
  for (const key of keys) {
    const directory = join(root, key);
    const note = await readNote(join(directory, NOTE));
    if (note === undefined || (await isThere(note.path)) || !(await isThere(join(directory, DATA)))) continue;
    found.push({ directory, ...note });
  }
  return found;
}

async function readNote(file: string): Promise<{ name: string; path: string } | undefined> {
  try {
    const note: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (typeof note !== 'object' || note === null || !('name' in note) || !('path' in note)) return undefined;
    const { name, path } = note;
    return typeof name === 'string' && typeof path === 'string' ? { name, path } : undefined;
  } catch {
    // Not a database of ours, or the personal one.
    return undefined;
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
