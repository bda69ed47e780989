// The features of the extension: each registers itself and is disposed with the extension. A new one is a line here.
import type * as vscode from 'vscode';
import { registerCommands } from './commands.ts';
import { registerEditDocuments } from './documents/edit-documents.ts';
import { registerSchemaDocuments } from './documents/schema-documents.ts';
import { registerViewDocuments } from './documents/view-documents.ts';
import type { Host } from './host.ts';
import { registerStartUp } from './start-up.ts';
import { registerStatusBar } from './status-bar.ts';
import { registerSyncStatusBar } from './sync/sync-status-bar.ts';

export const features: readonly ((host: Host) => vscode.Disposable)[] = [
  registerCommands,
  registerViewDocuments,
  registerEditDocuments,
  registerSchemaDocuments,
  registerStatusBar,
  registerSyncStatusBar,
  registerStartUp,
];
