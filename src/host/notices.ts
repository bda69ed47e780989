// What a person is told about a command of their own that could not be carried out: one notification, with the remedy
// as a button. Must never be called for what happens in the background; that shows in the badge and the status bar.
import * as vscode from 'vscode';
import { LocalDataError } from '../protocol/errors.ts';
import type { CommandId } from './contributions.ts';

export interface Remedy {
  readonly title: string;
  readonly command: CommandId | 'vscode.openFolder' | 'workbench.trust.manage' | 'workbench.action.openSettings';
  readonly args?: readonly unknown[];
}

/** A command cannot act now; the message says why, the remedy what would let it. */
export class CannotActError extends Error {
  readonly remedies: readonly Remedy[];

  constructor(message: string, remedies: readonly Remedy[]) {
    super(message);
    this.name = 'CannotActError';
    this.remedies = remedies;
  }
}

export async function showFailure(error: unknown, log: vscode.LogOutputChannel): Promise<void> {
  if (error instanceof vscode.CancellationError || LocalDataError.isCode(error, 'CANCELLED')) return;
  const message = error instanceof Error ? error.message : String(error);
  const cannotAct = error instanceof CannotActError;
  if (cannotAct) log.info(message);
  else log.error(error instanceof Error ? error : message);
  const remedies = remediesOf(error);
  const show = cannotAct ? vscode.window.showWarningMessage : vscode.window.showErrorMessage;
  const chosen = await show(message, ...remedies.map(({ title }) => title));
  const remedy = remedies.find(({ title }) => title === chosen);
  if (remedy !== undefined) await vscode.commands.executeCommand(remedy.command, ...(remedy.args ?? []));
}

function remediesOf(error: unknown): readonly Remedy[] {
  if (error instanceof CannotActError) return error.remedies;
  const showLog: Remedy = { title: 'Show Log', command: 'localData.showLog' };
  if (!(error instanceof LocalDataError)) return [showLog];
  switch (error.code) {
    case 'UNKNOWN_ENTITY_TYPE':
      return [{ title: 'Register Entity Type…', command: 'localData.registerEntityType' }];
    case 'PAYLOAD_TOO_LARGE':
      return [
        {
          title: 'Open Setting',
          command: 'workbench.action.openSettings',
          args: ['localData.payload.maxBytes'],
        },
      ];
    case 'DATA_DIRECTORY_IN_USE':
    case 'DATA_DIRECTORY_UNWRITABLE':
    case 'DISK_FULL':
    case 'ENGINE_CLOSED':
    case 'ENGINE_RESTARTED':
    case 'TIMED_OUT':
      return [{ title: 'Try Again', command: 'localData.tryAgain' }, showLog];
    case 'LANE_BLOCKED':
    case 'HAS_DEPENDENTS':
    case 'CONSTRAINT_VIOLATION':
    case 'CHANGE_NOT_ALLOWED':
    case 'CHANGE_NOT_FOUND':
      return [];
    default:
      return [showLog];
  }
}
