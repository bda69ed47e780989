// The Entities panel: one editor tab with a webview that mirrors the stores. Answers its requests from the engine and
// tells it of commits while it can be seen; what it asks is checked before anything is done.
import * as vscode from 'vscode';
import type { CommitEvent } from '../../protocol/engine.ts';
import type { ClosedCause, FromPanel, PanelTarget, ToPanel } from '../../protocol/panel.ts';
import { Throttle } from '../changes-view/throttle.ts';
import { type DatabaseState, whyNotReady } from '../database.ts';
import type { EntitiesPanel, HostBase } from '../host.ts';
import type { KeptViewFile } from './kept-view.ts';
import { mergeCommits } from './merge-commits.ts';

const PANEL_TYPE = 'localData.entities';
const TELL_EVERY_MS = 100;

/** Of each database that was open in this window, by its directory. */
type KeptViews = Map<string, KeptViewFile>;

export function createEntitiesPanel(host: HostBase): EntitiesPanel {
  let shown: Panel | undefined;
  const views: KeptViews = new Map();
  const adopt = (webview: vscode.WebviewPanel) => {
    shown?.dispose();
    const panel = new Panel(host, webview, views);
    shown = panel;
    webview.onDidDispose(() => {
      if (shown === panel) shown = undefined;
      panel.dispose();
    });
    return panel;
  };
  const serializer = vscode.window.registerWebviewPanelSerializer(PANEL_TYPE, {
    deserializeWebviewPanel: async (webview) => void adopt(webview),
  });
  return {
    open: (target = {}) => {
      if (shown === undefined) {
        const column = { viewColumn: vscode.ViewColumn.Active, preserveFocus: false };
        adopt(vscode.window.createWebviewPanel(PANEL_TYPE, 'Entities', column));
      }
      shown?.show(target);
    },
    dispose: () => {
      serializer.dispose();
      shown?.dispose();
    },
  };
}

class Panel implements vscode.Disposable {
  readonly #host: HostBase;
  readonly #panel: vscode.WebviewPanel;
  readonly #disposables: vscode.Disposable[] = [];
  #unsubscribe = () => {};
  readonly #telling = new Throttle(TELL_EVERY_MS, () => this.#tellAll());
  #untold: CommitEvent[] = [];
  #target: PanelTarget | undefined;
  #isReady = false;
  readonly #views: KeptViews;
  /** Calls on their way to the engine, by the panel's number. */
  readonly #calls = new Map<number, AbortController>();

  constructor(host: HostBase, panel: vscode.WebviewPanel, views: KeptViews) {
    this.#host = host;
    this.#panel = panel;
    this.#views = views;
    const files = vscode.Uri.joinPath(host.context.extensionUri, 'dist', 'webview');
    const icon = (theme: string) => vscode.Uri.joinPath(host.context.extensionUri, 'media', `local-data-${theme}.svg`);
    panel.iconPath = { light: icon('light'), dark: icon('dark') };
    panel.webview.options = { enableScripts: true, localResourceRoots: [files] };
    this.#disposables.push(
      panel,
      this.#telling,
      panel.webview.onDidReceiveMessage((message: unknown) => {
        this.#receive(message).catch((error: unknown) => host.log.error(`Entities panel: ${String(error)}`));
      }),
      panel.onDidChangeViewState(() => {
        // A hidden webview is gone with its page; the next one says that it is ready.
        if (panel.visible) return;
        this.#isReady = false;
        this.#giveUpCalls();
      }),
      host.database.onDidChangeState(() => this.#connect()),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration('localData.entities.pageSize')) this.#sendState();
      }),
    );
    panel.webview.html = pageOf(panel.webview, files);
    this.#connect();
  }

  show(target: PanelTarget): void {
    this.#panel.reveal(undefined, false);
    if (target.entityType === undefined) return;
    this.#target = target;
    this.#sendTarget();
  }

  dispose(): void {
    this.#unsubscribe();
    this.#unsubscribe = () => {};
    this.#giveUpCalls();
    for (const disposable of this.#disposables.splice(0)) disposable.dispose();
  }

  #connect(): void {
    this.#unsubscribe();
    this.#untold = [];
    const { state } = this.#host.database;
    if (state.kind === 'no-database') this.#forgetView(state.place.directory);
    this.#unsubscribe = state.kind === 'ready' ? state.data.onCommit((event) => this.#tell(event)) : () => {};
    this.#sendState();
  }

  #tell(event: CommitEvent): void {
    if (!this.#isReady || !this.#panel.visible) return;
    this.#untold.push(event);
    this.#telling.call();
  }

  #tellAll(): void {
    const [first, ...more] = this.#untold.splice(0);
    const { state } = this.#host.database;
    if (first === undefined || state.kind !== 'ready') return;
    const { types } = state.data.stores.entities.getState();
    this.#send({ kind: 'commit', event: mergeCommits([first, ...more], (type) => types.get(type)?.info.key) });
  }

  #sendState(): void {
    if (!this.#isReady) return;
    const { state } = this.#host.database;
    if (state.kind !== 'ready') {
      const why = state.kind === 'starting' ? 'This takes a moment.' : asSentence(whyNotReady(state).message);
      return this.#send({ kind: 'state', state: { kind: 'closed', why, cause: causeOf(state) } });
    }
    const place = state.place.directory;
    const view = this.#views.get(place);
    if (view === undefined) return this.#readView(place);
    const { entities, changes, sync } = state.data.stores;
    const { counts, newest, processor } = changes.getState();
    const entityTypes = [...entities.getState().types.values()].map(({ info, count }) => ({ ...info, count }));
    const snapshot = { counts, newest: Object.values(newest).flat(), entityTypes, processor, sync: sync.getState() };
    const pageSize = this.#host.settings().entitiesPageSize;
    this.#send({ kind: 'state', state: { kind: 'open', snapshot, pageSize, place, kept: view.kept } });
    this.#sendTarget();
  }

  #readView(place: string): void {
    const { log } = this.#host;
    const read = async (): Promise<void> => {
      const { KeptViewFile } = await import('./kept-view.ts');
      const onError = (error: unknown): void => log.warn(`Entities panel: its view is not kept. ${String(error)}`);
      const view = await KeptViewFile.open(place, onError);
      if (!this.#views.has(place)) this.#views.set(place, view);
      this.#sendState();
    };
    read().catch((error: unknown) => log.error(`Entities panel: ${String(error)}`));
  }

  /** What was kept of a database goes with it. */
  #forgetView(place: string): void {
    this.#views.get(place)?.forget();
    this.#views.delete(place);
  }

  #sendTarget(): void {
    if (!this.#isReady || this.#target === undefined || this.#host.database.state.kind !== 'ready') return;
    this.#send({ kind: 'show', target: this.#target });
    this.#target = undefined;
  }

  async #receive(received: unknown): Promise<void> {
    const { checkMessage } = await import('./panel-requests.ts');
    const message = checkMessage(received);
    switch (message.kind) {
      case 'ready':
        this.#isReady = true;
        return this.#sendState();
      case 'keep':
        return this.#views.get(message.place)?.keep(message.kept);
      case 'crashed':
        return this.#host.log.error(`Entities panel: ${message.message}`);
      case 'command': {
        await vscode.commands.executeCommand(message.command, ...argumentsOf(message));
        return;
      }
      case 'cancel':
        return this.#calls.get(message.id)?.abort();
      case 'call':
        return this.#answer(message);
    }
  }

  async #answer({ id, call, query }: Extract<FromPanel, { kind: 'call' }>): Promise<void> {
    const controller = new AbortController();
    this.#calls.set(id, controller);
    try {
      const { answerCall } = await import('./panel-requests.ts');
      const value = await answerCall(this.#host.database.require(), call, query, controller.signal);
      this.#send({ kind: 'answer', id, value });
    } catch (error) {
      // Nobody waits for what was given up.
      if (controller.signal.aborted) return;
      this.#send({ kind: 'refused', id, message: error instanceof Error ? error.message : String(error) });
    } finally {
      if (this.#calls.get(id) === controller) this.#calls.delete(id);
    }
  }

  #giveUpCalls(): void {
    for (const controller of this.#calls.values()) controller.abort();
    this.#calls.clear();
  }

  #send(message: ToPanel): void {
    void this.#panel.webview.postMessage(message);
  }
}

function causeOf(state: Exclude<DatabaseState, { kind: 'ready' }>): ClosedCause {
  switch (state.kind) {
    case 'starting':
      return 'starting';
    case 'no-database':
      return 'none';
    case 'restricted':
    case 'no-folder':
      return 'unavailable';
    case 'in-use':
    case 'failed':
    case 'closed':
      return 'trouble';
  }
}

/** As a notification says it, without its sender. */
function asSentence(message: string): string {
  const said = message.replace(/^Local Data: /, '');
  return said.charAt(0).toUpperCase() + said.slice(1);
}

/** Importing is about a file and a type, every other command about a change or an entity. */
function argumentsOf({ command, target, changeId }: Extract<FromPanel, { kind: 'command' }>): unknown[] {
  if (command === 'localData.import') return [undefined, target?.entityType];
  if (changeId !== undefined) return [{ changeId }];
  return target === undefined ? [] : [target];
}

function pageOf(webview: vscode.Webview, files: vscode.Uri): string {
  const uri = (name: string) => webview.asWebviewUri(vscode.Uri.joinPath(files, name)).toString();
  const policy = [
    "default-src 'none'",
    `script-src ${webview.cspSource}`,
    `style-src ${webview.cspSource}`,
    `font-src ${webview.cspSource}`,
  ].join('; ');
  return `<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta http-equiv="Content-Security-Policy" content="${policy}">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Entities</title>
    <link rel="stylesheet" href="${uri('panel.css')}">
  </head>
  <body>
    <div id="root"></div>
    <script type="module" src="${uri('panel.js')}"></script>
  </body>
</html>`;
}
