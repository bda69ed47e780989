// The list of all commands. It is typed by the declarations: a command without its definition does not compile.
import * as vscode from 'vscode';
import { type AnyCommand, type CommandDefinition, registerCommand } from './command.ts';
import { adoptDatabase } from './commands/adopt-database.ts';
import { connectToServer } from './commands/connect-to-server.ts';
import { copyDiagnostics } from './commands/copy-diagnostics.ts';
import { copyError } from './commands/copy-error.ts';
import { copyJson } from './commands/copy-json.ts';
import { createDatabase } from './commands/create-database.ts';
import { createSampleData } from './commands/create-sample-data.ts';
import { decideMissing } from './commands/decide-missing.ts';
import { deleteAllData } from './commands/delete-all-data.ts';
import { deleteEntity } from './commands/delete-entity.ts';
import { discardChange } from './commands/discard-change.ts';
import { disconnectFromServer } from './commands/disconnect-from-server.ts';
import { editChange } from './commands/edit-change.ts';
import { goOnline } from './commands/go-online.ts';
import { importEntities } from './commands/import-entities.ts';
import { keepMine } from './commands/keep-mine.ts';
import { loadMore } from './commands/load-more.ts';
import { networkConditions } from './commands/network-conditions.ts';
import { openEntities } from './commands/open-entities.ts';
import { openEntity } from './commands/open-entity.ts';
import { openSyncRules } from './commands/open-sync-rules.ts';
import { pauseProcessing } from './commands/pause-processing.ts';
import { processNow } from './commands/process-now.ts';
import { recordChange } from './commands/record-change.ts';
import { registerEntityType } from './commands/register-entity-type.ts';
import { resolveConflict } from './commands/resolve-conflict.ts';
import { restoreChange } from './commands/restore-change.ts';
import { resumeProcessing } from './commands/resume-processing.ts';
import { retryChange } from './commands/retry-change.ts';
import { retryFailed } from './commands/retry-failed.ts';
import { retryGroup } from './commands/retry-group.ts';
import { retryType } from './commands/retry-type.ts';
import { saveEdit } from './commands/save-edit.ts';
import { showChange } from './commands/show-change.ts';
import { showDataLocation } from './commands/show-data-location.ts';
import { showLog } from './commands/show-log.ts';
import { showReceipt } from './commands/show-receipt.ts';
import { showSyncStatus } from './commands/show-sync-status.ts';
import { signIn } from './commands/sign-in.ts';
import { syncActions } from './commands/sync-actions.ts';
import { syncNow } from './commands/sync-now.ts';
import { takeTheirs } from './commands/take-theirs.ts';
import { tryAgain } from './commands/try-again.ts';
import { undoChange } from './commands/undo-change.ts';
import { undoImport } from './commands/undo-import.ts';
import { upsertEntity } from './commands/upsert-entity.ts';
import { usePersonalDatabase } from './commands/use-personal-database.ts';
import { verifyAgainstServer } from './commands/verify-against-server.ts';
import { workOffline } from './commands/work-offline.ts';
import type { CommandId } from './contributions.ts';
import type { Host } from './host.ts';

const definitions: { readonly [Id in CommandId]: CommandDefinition<Id> } = {
  'localData.openEntities': openEntities,
  'localData.recordChange': recordChange,
  'localData.upsertEntity': upsertEntity,
  'localData.deleteEntity': deleteEntity,
  'localData.import': importEntities,
  'localData.undoImport': undoImport,
  'localData.retryFailed': retryFailed,
  'localData.retryType': retryType,
  'localData.pauseProcessing': pauseProcessing,
  'localData.resumeProcessing': resumeProcessing,
  'localData.processNow': processNow,
  'localData.registerEntityType': registerEntityType,
  'localData.createSampleData': createSampleData,
  'localData.showDataLocation': showDataLocation,
  'localData.showLog': showLog,
  'localData.copyDiagnostics': copyDiagnostics,
  'localData.deleteAllData': deleteAllData,
  'localData.tryAgain': tryAgain,
  'localData.createDatabase': createDatabase,
  'localData.usePersonalDatabase': usePersonalDatabase,
  'localData.adoptDatabase': adoptDatabase,
  'localData.change.retry': retryChange,
  'localData.change.retryGroup': retryGroup,
  'localData.change.edit': editChange,
  'localData.change.saveEdit': saveEdit,
  'localData.change.discard': discardChange,
  'localData.change.restore': restoreChange,
  'localData.change.undo': undoChange,
  'localData.change.show': showChange,
  'localData.change.openEntity': openEntity,
  'localData.change.copyError': copyError,
  'localData.change.copyJson': copyJson,
  'localData.change.showReceipt': showReceipt,
  'localData.conflict.resolve': resolveConflict,
  'localData.conflict.keepMine': keepMine,
  'localData.conflict.takeTheirs': takeTheirs,
  'localData.sync.connect': connectToServer,
  'localData.sync.disconnect': disconnectFromServer,
  'localData.sync.now': syncNow,
  'localData.sync.goOffline': workOffline,
  'localData.sync.goOnline': goOnline,
  'localData.sync.signIn': signIn,
  'localData.sync.showStatus': showSyncStatus,
  'localData.sync.actions': syncActions,
  'localData.sync.openRules': openSyncRules,
  'localData.sync.decideMissing': decideMissing,
  'localData.sync.verify': verifyAgainstServer,
  'localData.sync.networkConditions': networkConditions,
  'localData.changes.loadMore': loadMore,
};

export function registerCommands(host: Host): vscode.Disposable {
  return vscode.Disposable.from(
    ...Object.values(definitions).map((definition: AnyCommand) => registerCommand(host, definition)),
  );
}
