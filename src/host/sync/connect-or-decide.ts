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
      if ((await decideOnNewHistory(error, options)) === KEEP) {
        await connect(host, { ...options, onServerChanged: 'start-anew' });
        return;
      }
    } else if (LocalDataError.isCode(error, 'SYNC_OTHER_SERVER')) await confirmOtherSpace(error.message);
    else throw asTold(error);
    await exportAndStartAnew(host);
    await connect(host, options);
  }
}

async function connect(host: Host, options: ConnectOptions): Promise<void> {
  await withQuietProgress(`Connecting to ${options.url}`, () => host.sync.connect(options));
  vscode.window.setStatusBarMessage(`$(plug) Connected to ${options.url}`, 5_000);
}

/** The same server after a loss is gone on with; what is another's must not be sent there just because it has the same name. */
async function decideOnNewHistory({ message, details }: LocalDataError, { url }: ConnectOptions): Promise<string> {
  const known = details['url'];
  const what =
    known === url
      ? message
      : `This database belongs to ${String(known)}. The server at ${url} has another history: it is another server, or that one after it was reset or put back to an earlier state.`;
  return choose('The server has another history', `${what}\n\n${KEEP_MEANS}\n\n${EXPORT_MEANS}`, KEEP, EXPORT);
}

const KEEP = 'Start Anew';
const KEEP_MEANS =
  'Start Anew brings both together. Everything that is here stays, and a backup is written beside the database first. Where both have an entity, waiting changes are put on top of the server’s; what the server never had is sent to it; about what it had before and lacks now you are asked afterwards.';
const EXPORT = 'Export and Start Anew';
const EXPORT_MEANS =
  'Export and Start Anew keeps them apart: nothing from here is sent. It writes a backup with everything that is here, and goes on with an empty database that receives what this server has.';

async function confirmOtherSpace(message: string): Promise<void> {
  const means =
    'Export and Start Anew writes a backup with everything that is here, and goes on with an empty database that receives what the other space has.';
  await choose('This database belongs to another space', `${message}\n\n${means}`, EXPORT);
}

async function choose(question: string, detail: string, ...answers: string[]): Promise<string> {
  const chosen = await vscode.window.showWarningMessage(question, { modal: true, detail }, ...answers);
  if (chosen === undefined) throw new vscode.CancellationError();
  return chosen;
}

async function exportAndStartAnew(host: Host): Promise<void> {
  const { state } = host.database;
  if (state.kind !== 'ready') throw whyNotReady(state);
  const { place, data } = state;
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
