// The place of this window's data, found from what VS Code knows of the window. Never by `storageUri`, which is not stable.
import { join } from 'node:path';
import * as vscode from 'vscode';
import {
  type DataLocation,
  type KnownDatabase,
  claimLocation,
  databasesRoot,
  isDatabaseAt,
  listDatabases,
  locatePersonal,
  locateWorkspace,
} from '../worker/data-location.ts';
import type { Settings } from './settings.ts';

export interface DataPlace extends DataLocation {
  exists(): Promise<boolean>;
  /** Notes whose data this is; before the database is made. */
  claim(): Promise<void>;
  /** Databases whose workspace is no longer where it was. */
  unclaimed(): Promise<KnownDatabase[]>;
  backupFile(at: Date): string;
}

/** Undefined where no folder is open and no personal database was made before. */
export async function findPlace(context: vscode.ExtensionContext, settings: Settings): Promise<DataPlace | undefined> {
  const own = vscode.workspace.workspaceFile ?? vscode.workspace.workspaceFolders?.[0]?.uri;
  if (own?.scheme === 'file') {
    const root = databasesRoot(context.globalStorageUri.fsPath, settings.dataDirectory);
    return placeAt(root, await locateWorkspace(root, own.fsPath));
  }
  const personal = personalPlace(context, settings);
  return (await personal.exists()) ? personal : undefined;
}

export function personalPlace(context: vscode.ExtensionContext, settings: Settings): DataPlace {
  const root = databasesRoot(context.globalStorageUri.fsPath, settings.dataDirectory);
  return placeAt(root, locatePersonal(root));
}

function placeAt(root: string, location: DataLocation): DataPlace {
  return {
    ...location,
    exists: () => isDatabaseAt(location),
    claim: () => claimLocation(location),
    unclaimed: async () => (await listDatabases(root)).filter(({ claimed }) => !claimed),
    backupFile: (at) => {
      const name = location.name.replaceAll(/[^\p{L}\p{N}._-]+/gu, '-');
      return join(root, `${name}-${at.toISOString().replaceAll(/[:.]/g, '-')}.tar.gz`);
    },
  };
}
