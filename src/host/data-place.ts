// Where the data of this window is kept, told from what VS Code says of the workspace. Never `storageUri`, which is not
// stable: the places themselves are decided in the worker's data-location.
import { basename, join } from 'node:path';
import * as vscode from 'vscode';
import {
  type DataLocation,
  type KnownDatabase,
  adoptDatabase as adopt,
  claimLocation,
  databasesRoot,
  isDatabaseAt,
  listDatabases,
  locatePersonal,
  locateWorkspace,
} from '../worker/data-location.ts';
import type { Settings } from './settings.ts';

export type UnclaimedDatabase = KnownDatabase;

export interface DataPlace extends DataLocation {
  exists(): Promise<boolean>;
  /** Notes whose data this is; before the database is made. */
  claim(): Promise<void>;
  /** Databases whose workspace is no longer where it was. */
  unclaimed(): Promise<UnclaimedDatabase[]>;
  backupFile(at: Date): string;
}

/** Undefined where no folder is open and no personal database was chosen before. */
export async function findPlace(context: vscode.ExtensionContext, settings: Settings): Promise<DataPlace | undefined> {
  const own = vscode.workspace.workspaceFile ?? vscode.workspace.workspaceFolders?.[0]?.uri;
  if (own === undefined || own.scheme !== 'file') {
    const personal = personalPlace(context, settings);
    return (await personal.exists()) ? personal : undefined;
  }
  const root = rootOf(context, settings);
  return placeAt(root, await locateWorkspace(root, own.fsPath));
}

export function personalPlace(context: vscode.ExtensionContext, settings: Settings): DataPlace {
  const root = rootOf(context, settings);
  return placeAt(root, locatePersonal(root));
}

export function adoptDatabase(place: DataPlace, unclaimed: UnclaimedDatabase): Promise<void> {
  return adopt(place, unclaimed);
}

function rootOf(context: vscode.ExtensionContext, { dataDirectory }: Settings): string {
  return databasesRoot(context.globalStorageUri.fsPath, dataDirectory);
}

function placeAt(root: string, location: DataLocation): DataPlace {
  const key = basename(location.directory).slice(0, 12);
  return {
    ...location,
    exists: () => isDatabaseAt(location),
    claim: () => claimLocation(location),
    unclaimed: async () => (await listDatabases(root)).filter(({ claimed }) => !claimed),
    backupFile: (at) => join(root, `${key}-${at.toISOString().replaceAll(/[:.]/g, '-')}.tar.gz`),
  };
}
