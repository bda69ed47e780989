// Opens a data directory: takes its lock, makes it from the template when it is new, refuses what it cannot open in plain
// words, and brings its schema up to date. Never opens a directory that another process owns.
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { access, constants, mkdir, mkdtemp, readFile, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import * as z from 'zod';
import { LocalDataError } from '../protocol/errors.ts';
import { CAPTURED_CHANNEL, SCHEMA_CHANNEL } from './capture.ts';
import { acquireDataDirectoryLock, type DataDirectoryLock, resolveDataDirectory } from './data-directory-lock.ts';
import { Database } from './database.ts';
import { DiskSpace } from './disk-space.ts';
import { SCHEMA_VERSION, migrate, readSchemaVersion } from './migrations.ts';

export interface OpenDatabaseOptions {
  /** Absolute path; absent for a database in memory. */
  readonly dataDir?: string;
  /** Instead of a directory: one that runs already, such as what a simulated crash has left. */
  readonly pglite?: PGlite;
  /** Holds `data`, a data directory made by the same PGlite that new ones start from, and `directories.json`. */
  readonly templateDir?: string;
  /** How long to wait for another owner. */
  readonly lockWaitMs?: number;
  readonly signal?: AbortSignal;
}

export interface OpenedDatabase {
  readonly database: Database;
  readonly pglite: PGlite;
  readonly dataDir: string | null;
  readonly openedFrom: 'template' | 'initdb' | 'existing' | 'memory';
  close(): Promise<void>;
}

/** Every directory of the template: a package keeps no empty ones. */
const directoriesSchema = z.array(z.string());

/** The Postgres major that this PGlite can open. */
const POSTGRES_MAJOR = '18';

/** A third of the room to ask for before making a directory: it takes about 30 MB. */
const NEW_DIRECTORY_BYTES = 12 * 1024 * 1024;

const SERVER_SETTINGS = [
  'shared_buffers=16MB',
  'max_connections=10',
  // The log of a whole batch, so that it is written at once: half the file writes of a drain (measured).
  'wal_buffers=2MB',
];
const START_PARAMS = [...PGlite.defaultStartParams, ...SERVER_SETTINGS.flatMap((setting) => ['-c', setting])];

export async function openDatabase(options: OpenDatabaseOptions): Promise<OpenedDatabase> {
  if (options.dataDir === undefined) return openInMemory(options.pglite);
  const lock = await lockDirectory(options.dataDir, options);
  try {
    const dataDir = await resolveDataDirectory(options.dataDir);
    return await openOwned(dataDir, lock, options);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function openInMemory(running: PGlite | undefined): Promise<OpenedDatabase> {
  const pglite = running ?? (await PGlite.create({ dataDir: 'memory://', startParams: START_PARAMS }));
  const database = await prepare(pglite);
  return { database, pglite, dataDir: null, openedFrom: 'memory', close: () => database.close() };
}

async function openOwned(
  dataDir: string,
  lock: DataDirectoryLock,
  options: OpenDatabaseOptions,
): Promise<OpenedDatabase> {
  const openedFrom = await provideDirectory(dataDir, options.templateDir);
  if (openedFrom === 'existing') new DiskSpace(dataDir).requireRoom();
  const pglite = await start(dataDir, openedFrom === 'initdb');
  let database: Database;
  try {
    database = await prepare(pglite);
  } catch (error) {
    // It may not be able to close either: what it could not write is why it failed.
    await pglite.close().catch(() => undefined);
    if (openedFrom !== 'existing') await rm(dataDir, { recursive: true, force: true });
    throw asDirectoryError(dataDir, error);
  }
  const close = async (): Promise<void> => {
    try {
      await database.close();
    } finally {
      await lock.release();
    }
  };
  return { database, pglite, dataDir, openedFrom, close };
}

async function lockDirectory(dataDir: string, options: OpenDatabaseOptions): Promise<DataDirectoryLock> {
  try {
    return await acquireDataDirectoryLock(dataDir, {
      ...(options.lockWaitMs === undefined ? {} : { waitMs: options.lockWaitMs }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  } catch (error) {
    throw asDirectoryError(dataDir, error);
  }
}

/** Makes sure that the directory can be opened, or is made; says how. */
async function provideDirectory(
  dataDir: string,
  templateDir: string | undefined,
): Promise<'template' | 'initdb' | 'existing'> {
  const content = await readContent(dataDir);
  if (content.length > 0) {
    await checkExisting(dataDir, content);
    return 'existing';
  }
  try {
    await mkdir(dirname(dataDir), { recursive: true, mode: 0o700 });
    new DiskSpace(dirname(dataDir)).requireRoom(NEW_DIRECTORY_BYTES);
    if (templateDir === undefined || !existsSync(templateDir)) return 'initdb';
    await copyTemplate(templateDir, dataDir);
    return 'template';
  } catch (error) {
    throw asDirectoryError(dataDir, error);
  }
}

async function readContent(dataDir: string): Promise<string[]> {
  try {
    return await readdir(dataDir);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw asDirectoryError(dataDir, error);
  }
}

async function checkExisting(dataDir: string, content: readonly string[]): Promise<void> {
  if (!content.includes('PG_VERSION')) {
    throw new LocalDataError(
      'DATA_DIRECTORY_CORRUPT',
      `"${dataDir}" is not empty and is no Postgres data directory (it has no PG_VERSION). Choose an empty directory, or restore a backup there.`,
      { dataDir },
    );
  }
  const major = (await readFile(join(dataDir, 'PG_VERSION'), 'utf8')).trim();
  if (major !== POSTGRES_MAJOR) {
    throw new LocalDataError(
      'DATA_DIRECTORY_VERSION',
      `"${dataDir}" was made by Postgres ${major || '(empty PG_VERSION)'}; this version opens Postgres ${POSTGRES_MAJOR}. Open it with the version of Local Data that made it and export, or choose another directory.`,
      { dataDir, found: major, expected: POSTGRES_MAJOR },
    );
  }
  try {
    await access(dataDir, constants.W_OK);
  } catch (error) {
    throw asDirectoryError(dataDir, error);
  }
}

/** Copied under a temporary name and renamed, so that a kill leaves no half directory under the real one. */
async function copyTemplate(templateDir: string, dataDir: string): Promise<void> {
  const partial = await mkdtemp(join(dirname(dataDir), `.${basename(dataDir)}-`));
  try {
    cpSync(join(templateDir, 'data'), partial, { recursive: true });
    const directories = directoriesSchema.parse(
      JSON.parse(await readFile(join(templateDir, 'directories.json'), 'utf8')),
    );
    for (const directory of directories) mkdirSync(join(partial, directory), { recursive: true, mode: 0o700 });
    await rm(dataDir, { recursive: true, force: true });
    await rename(partial, dataDir);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

async function start(dataDir: string, isNew: boolean): Promise<PGlite> {
  try {
    return await PGlite.create({
      dataDir,
      startParams: START_PARAMS,
      ...(isNew ? { initDbStartParams: ['--wal-segsize=1'] } : {}),
    });
  } catch (error) {
    // A half made directory would be taken for a damaged one by the next who opens it.
    if (isNew) await rm(dataDir, { recursive: true, force: true });
    if (isNew || isDiskError(error)) throw asDirectoryError(dataDir, error);
    throw new LocalDataError(
      'DATA_DIRECTORY_CORRUPT',
      `Postgres could not start on "${dataDir}": its files are damaged or incomplete. Restore a backup there, or move the directory away and start anew.`,
      { dataDir },
      { cause: error },
    );
  }
}

async function prepare(pglite: PGlite): Promise<Database> {
  const database = new Database(pglite);
  await database.exclusive(async (session) => {
    // Without bitmap scans the next batch comes from its index in order; with them all that waits was read and sorted for
    // each batch of 1,000, because a table that grows from nothing has no statistics.
    await session.script(
      `SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET wal_init_zero = off; SET plan_cache_mode = force_generic_plan; SET jit = off;
       SET enable_bitmapscan = off;`,
    );
    const version = await readSchemaVersion(session);
    if (version > SCHEMA_VERSION) {
      throw new LocalDataError(
        'DATA_DIRECTORY_VERSION',
        `This data directory has schema version ${version}; this version of Local Data knows up to ${SCHEMA_VERSION}. Update Local Data.`,
        { found: version, expected: SCHEMA_VERSION },
      );
    }
    await migrate(session, version);
    await session.script(`LISTEN ${CAPTURED_CHANNEL}; LISTEN ${SCHEMA_CHANNEL};`);
  });
  return database;
}

/** The errors of disks, by the numbers that the file system inside WebAssembly throws instead of Node's codes. */
const WASI_CODES: ReadonlyMap<unknown, string> = new Map([
  [2, 'EACCES'],
  [19, 'EDQUOT'],
  [51, 'ENOSPC'],
  [54, 'ENOTDIR'],
  [63, 'EPERM'],
  [69, 'EROFS'],
]);

function errorCode(error: unknown): string | undefined {
  if (typeof error === 'object' && error !== null && 'errno' in error && !('code' in error)) {
    return WASI_CODES.get(error.errno);
  }
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function isDiskError(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EACCES', 'EPERM', 'EROFS', 'ENOTDIR'].includes(errorCode(error) ?? '');
}

function asDirectoryError(dataDir: string, error: unknown): unknown {
  switch (errorCode(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new LocalDataError(
        'DISK_FULL',
        `The disk of "${dataDir}" is full. Free some space, then try again.`,
        { dataDir },
        { cause: error },
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new LocalDataError(
        'DATA_DIRECTORY_UNWRITABLE',
        `"${dataDir}" cannot be written (${errorCode(error)}). Give this user the right to write there, or choose another directory.`,
        { dataDir },
        { cause: error },
      );
    case 'ENOTDIR':
    case 'EEXIST':
      return new LocalDataError(
        'DATA_DIRECTORY_UNWRITABLE',
        `"${dataDir}" cannot be a data directory: it, or a part of its path, is a file. Choose another directory.`,
        { dataDir },
        { cause: error },
      );
    default:
      return error;
  }
}
