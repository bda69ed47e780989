// What happens by itself once VS Code has started: an existing database is opened, and the demo workspace, and only it,
// gets its database and sample data unasked, is connected to the demo's server, and shows the Changes view beside the
// Entities panel.
import * as vscode from 'vscode';
import { CONTEXT_KEYS } from './contributions.ts';
import { touchesEngine } from './settings.ts';
import type { Host } from './host.ts';

export function registerStartUp(host: Host): vscode.Disposable {
  void startUp(host);
  return vscode.Disposable.from(
    vscode.workspace.onDidGrantWorkspaceTrust(() => void startUp(host)),
    vscode.workspace.onDidChangeWorkspaceFolders(() => {
      if (host.database.state.kind === 'no-folder') void startUp(host);
    }),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (touchesEngine(event) && host.database.state.kind !== 'restricted') void host.database.reopen();
    }),
  );
}

async function startUp(host: Host): Promise<void> {
  try {
    const demo = await isDemoWorkspace();
    const state = await host.database.openExisting();
    if (demo && vscode.workspace.isTrusted) await showDemo(host);
    if (state.kind === 'no-database') await noteUnclaimed(await state.place.unclaimed());
  } catch (error) {
    // In the background nobody is interrupted: the view and the status bar say what the state is.
    host.log.error(error instanceof Error ? error : String(error));
  }
}

async function showDemo(host: Host): Promise<void> {
  // The view first, so that nothing else is seen while the database is made.
  await host.changesView.focus();
  const state = host.database.state.kind === 'no-database' ? await host.database.create() : host.database.state;
  if (state.kind !== 'ready') return;
  const types = await state.data.listEntityTypes();
  if (types.length === 0) await state.data.createSampleData();
  host.entitiesPanel.open({ entityType: 'Task' });
  if (host.sync.state.status !== 'paused') await connectToDemoServer(host);
}

/** Its address is another after each start; `npm start` leaves it in the workspace, with a token for the demo alone. */
async function connectToDemoServer(host: Host): Promise<void> {
  const server = await readWorkspaceJson('server.json');
  if (!isGivenServer(server)) return;
  await host.sync.connect({ url: server.url, token: server.token });
}

function isGivenServer(value: unknown): value is { readonly url: string; readonly token: string } {
  if (typeof value !== 'object' || value === null) return false;
  return typeof Reflect.get(value, 'url') === 'string' && typeof Reflect.get(value, 'token') === 'string';
}

async function noteUnclaimed(unclaimed: readonly unknown[]): Promise<void> {
  await vscode.commands.executeCommand('setContext', CONTEXT_KEYS.hasUnclaimed, unclaimed.length > 0);
}

/** `.localdata/localdata.json` with `"demo": true` marks the demo workspace. */
async function isDemoWorkspace(): Promise<boolean> {
  const content = await readWorkspaceJson('localdata.json');
  return typeof content === 'object' && content !== null && 'demo' in content && content.demo === true;
}

/** Undefined where there is no such file, or it is not JSON. */
async function readWorkspaceJson(name: string): Promise<unknown> {
  const folder = vscode.workspace.workspaceFolders?.[0];
  if (folder === undefined) return undefined;
  const file = vscode.Uri.joinPath(folder.uri, '.localdata', name);
  try {
    return JSON.parse(new TextDecoder().decode(await vscode.workspace.fs.readFile(file)));
  } catch {
    return undefined;
  }
}
