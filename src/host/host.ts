// What the parts of the extension share: the log, the settings, the database, the view and the panel. Made once at
// activation; everything in it is disposed with the extension's context.
import * as vscode from 'vscode';
import { ChangesView } from './changes-view/changes-view.ts';
import type { EntityTarget } from './contributions.ts';
import { Database } from './database.ts';
import { createEntitiesPanel } from './entities-panel/entities-panel.ts';
import { type Settings, readSettings } from './settings.ts';
import { ServerConnection } from './sync/server-connection.ts';
import { TransportRegistry } from '../worker/transport-registry.ts';

export interface EntitiesPanel extends vscode.Disposable {
  /** Opens the panel, or reveals the one that is open, and goes to the target when one is given. */
  open(target?: EntityTarget): void;
}

export interface Host {
  readonly context: vscode.ExtensionContext;
  readonly log: vscode.LogOutputChannel;
  readonly settings: () => Settings;
  readonly database: Database;
  /** What other extensions registered to reach servers by. */
  readonly transports: TransportRegistry;
  readonly sync: ServerConnection;
  readonly changesView: ChangesView;
  readonly entitiesPanel: EntitiesPanel;
  /** Milliseconds of activation spent in this extension's own code; set once activation has ended. */
  activationMs: number;
}

/** What a part needs that is made before the host is whole. */
export type HostBase = Pick<Host, 'context' | 'log' | 'settings' | 'database'>;
export type HostWithSync = HostBase & Pick<Host, 'sync'>;

export function createHost(context: vscode.ExtensionContext): Host {
  const log = vscode.window.createOutputChannel('Local Data', { log: true });
  const transports = new TransportRegistry();
  const database = new Database(context, log, readSettings, transports);
  const base: HostBase = { context, log, settings: readSettings, database };
  const sync = new ServerConnection(base);
  const changesView = new ChangesView({ ...base, sync });
  const entitiesPanel = createEntitiesPanel(base);
  context.subscriptions.push(log, database, sync, changesView, entitiesPanel);
  return { ...base, transports, sync, changesView, entitiesPanel, activationMs: 0 };
}
