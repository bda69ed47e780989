// Connects, and where the server is not the one this database belongs to asks a person what is to become of it. Nothing is
// given up without a backup beside the database.
import { rm } from 'node:fs/promises';
import * as vscode from 'vscode';
import { LocalDataError } from '../../protocol/errors.ts';
import type { ConnectOptions } from '../../protocol/sync-state.ts';
import { whyNotReady } from '../database.ts';
import type { Host } from '../host.ts';
import { CannotActError } from '../notices.ts';
import { withQuietProgress } from '../progress.ts';

export async function connectOrDecide(host: Host, options: ConnectOptions): Promise<void> {
  try {
    await connect(host, options);
  } catch (error) {
    if (LocalDataError.isCode(error, 'SYNC_SERVER_CHANGED')) {
      await confirmNewHistory(error.message);
      await connect(host, { ...options, onServerChanged: 'start-anew' });
    } else if (LocalDataError.isCode(error, 'SYNC_OTHER_SERVER')) {
      await exportAndStartAnew(host, error.message);
      await connect(host, options);
    } else throw asTold(error);
  }
}

async function connect(host: Host, options: ConnectOptions): Promise<void> {
  await withQuietProgress(`Connecting to ${options.url}`, () => host.sync.connect(options));
  vscode.window.setStatusBarMessage(`$(plug) Connected to ${options.url}`, 5_000);
}

async function confirmNewHistory(message: string): Promise<void> {
  const answer = 'Start Anew';
  const detail = `${message}\n\nStart Anew keeps everything that is here, and writes a backup beside the database first. Where both have an entity, waiting changes are put on top of the server’s; what the server never had is sent to it; about what it had before and lacks now you are asked afterwards.`;
  const chosen = await vscode.window.showWarningMessage(
    'The server has another history',
    { modal: true, detail },
    answer,
  );
  if (chosen !== answer) throw new vscode.CancellationError();
}

async function exportAndStartAnew(host: Host, message: string): Promise<void> {
  const { state } = host.database;
  if (state.kind !== 'ready') throw whyNotReady(state);
  const { place, data } = state;
  const answer = 'Export and Start Anew';
  const detail = `${message}\n\nExport and Start Anew writes a backup with everything that is here, and goes on with an empty database that receives what the other space has.`;
  const chosen = await vscode.window.showWarningMessage(
    'This database belongs to another space',
    { modal: true, detail },
    answer,
  );
  if (chosen !== answer) throw new vscode.CancellationError();
  const backup = place.backupFile(new Date());
  await withQuietProgress(`Exporting ${place.name}`, async () => {
    await data.backup(backup);
    await host.database.closeFor(({ dataDir }) => rm(dataDir, { recursive: true, force: true }));
    await host.database.create();
  });
  host.log.info(`${place.dataDir} was begun anew; what it had is in ${backup}`);
  void vscode.window.showInformationMessage(`What this database had is in ${backup}`);
}

function asTold(error: unknown): unknown {
  if (LocalDataError.isCode(error, 'SYNC_SIGN_IN_NEEDED')) {
    return new CannotActError(`Local Data: ${error.message}`, [
      { title: 'Try Another Token', command: 'localData.sync.connect' },
    ]);
  }
  if (LocalDataError.isCode(error, 'SYNC_UNREACHABLE')) {
    return new CannotActError(`Local Data: ${error.message}`, [
      { title: 'Connect Again…', command: 'localData.sync.connect' },
    ]);
  }
  return error;
}
