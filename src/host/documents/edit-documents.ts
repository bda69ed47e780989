// The payload of a change, or the merged data of a conflict, as an editable JSON document. Saving by hand records the edit
// and retries the change, or resolves the conflict; saving by itself (auto save) only keeps the draft, and closing changes
// nothing.
import * as vscode from 'vscode';
import type { Change, JsonObject } from '../../protocol/changes.ts';
import { LocalDataError } from '../../protocol/errors.ts';
import type { Conflict } from '../../protocol/sync-state.ts';
import { SCHEMES } from '../contributions.ts';
import type { Host } from '../host.ts';
import { outcomeOf } from '../outcome.ts';
import { CannotActError, showFailure } from '../notices.ts';
import { tellOutcome } from '../tell-outcome.ts';
import { orUndoInstead } from '../undo-instead.ts';
import { isMergeUri } from '../sync/merge-editor.ts';
import { mergedTo, withoutConflict } from '../sync/merge-fields.ts';
import { resolveWith } from '../sync/resolve-with.ts';
import { nameInPath } from './name-in-path.ts';
import { schemaUri } from './schema-documents.ts';

export function editUri(change: Change): vscode.Uri {
  const name = nameInPath(change.entityType, change.entityId);
  return vscode.Uri.from({ scheme: SCHEMES.edit, authority: change.id, path: `/${name}.json` });
}

export function registerEditDocuments(host: Host): vscode.Disposable {
  const files = new EditDocuments(host);
  return vscode.Disposable.from(
    files,
    vscode.workspace.registerFileSystemProvider(SCHEMES.edit, files, { isCaseSensitive: true }),
    vscode.workspace.onWillSaveTextDocument(({ document, reason }) => {
      if (document.uri.scheme === SCHEMES.edit) files.noteReason(document.uri, reason);
    }),
    vscode.workspace.onDidSaveTextDocument(({ uri }) => {
      if (uri.scheme !== SCHEMES.edit) return;
      files.tellOutcome(uri).catch((error: unknown) => host.log.warn(`After saving ${uri.path}: ${String(error)}`));
    }),
    vscode.workspace.onDidCloseTextDocument(({ uri }) => {
      if (uri.scheme === SCHEMES.edit) files.forget(uri);
    }),
  );
}

interface Draft {
  readonly text: Uint8Array;
  readonly savedAt: number;
}

class EditDocuments implements vscode.FileSystemProvider, vscode.Disposable {
  readonly #host: Host;
  readonly #changed = new vscode.EventEmitter<vscode.FileChangeEvent[]>();
  readonly onDidChangeFile = this.#changed.event;
  readonly #drafts = new Map<string, Draft>();
  readonly #autoSaved = new Set<string>();
  /** Changes that were sent on their way by a save, by the document they were edited in. */
  readonly #retried = new Map<string, string>();
  /** By document: the id its change goes by since it was edited, where the server may know the one before. */
  readonly #movedTo = new Map<string, string>();

  constructor(host: Host) {
    this.#host = host;
  }

  noteReason(uri: vscode.Uri, reason: vscode.TextDocumentSaveReason): void {
    if (reason === vscode.TextDocumentSaveReason.Manual) this.#autoSaved.delete(uri.toString());
    else this.#autoSaved.add(uri.toString());
  }

  forget(uri: vscode.Uri): void {
    this.#drafts.delete(uri.toString());
    this.#autoSaved.delete(uri.toString());
    this.#movedTo.delete(uri.toString());
  }

  /** Once the document is saved: says what became of the change, and closes the document when it is through. */
  async tellOutcome(uri: vscode.Uri): Promise<void> {
    const id = this.#retried.get(uri.toString());
    this.#retried.delete(uri.toString());
    if (id === undefined) return;
    const change = await outcomeOf(this.#host, id);
    if (change.status === 'failed' || change.status === 'conflicted') {
      const what = `The ${change.operation} of ${change.entityType} ${change.entityId} failed again.`;
      await vscode.window.showErrorMessage(`${what} ${change.error ?? change.reason ?? ''}`);
      return;
    }
    tellOutcome(change);
    if (change.processedLocal) await closeUnchanged(uri);
  }

  watch(): vscode.Disposable {
    return new vscode.Disposable(() => {});
  }

  async stat(uri: vscode.Uri): Promise<vscode.FileStat> {
    const draft = this.#drafts.get(uri.toString());
    const change = await this.#change(uri);
    const size = draft?.text.byteLength ?? contentOf(uri, change).byteLength;
    return { type: vscode.FileType.File, ctime: change.timestamp, mtime: draft?.savedAt ?? change.timestamp, size };
  }

  async readFile(uri: vscode.Uri): Promise<Uint8Array> {
    return this.#drafts.get(uri.toString())?.text ?? contentOf(uri, await this.#change(uri));
  }

  async writeFile(uri: vscode.Uri, content: Uint8Array): Promise<void> {
    if (!this.#autoSaved.delete(uri.toString())) await this.#applyOrExplain(uri, content);
    this.#drafts.set(uri.toString(), { text: content, savedAt: Date.now() });
    this.#changed.fire([{ type: vscode.FileChangeType.Changed, uri }]);
  }

  readDirectory(): [string, vscode.FileType][] {
    return [];
  }

  createDirectory(uri: vscode.Uri): void {
    throw vscode.FileSystemError.NoPermissions(uri);
  }

  delete(uri: vscode.Uri): void {
    throw vscode.FileSystemError.NoPermissions(uri);
  }

  rename(uri: vscode.Uri): void {
    throw vscode.FileSystemError.NoPermissions(uri);
  }

  dispose(): void {
    this.#changed.dispose();
  }

  /** VS Code shows the name and the message of what is thrown here in its own notification of the failed save. */
  async #applyOrExplain(uri: vscode.Uri, content: Uint8Array): Promise<void> {
    try {
      await this.#apply(uri, content);
    } catch (error) {
      this.#host.log.warn(`Saving ${uri.path}: ${String(error)}`);
      // VS Code's own notification has no room for what can be done instead.
      const offered = await orUndoInstead(this.#host, error);
      if (offered instanceof CannotActError && offered.remedies.length > 0) void showFailure(offered, this.#host.log);
      throw new Error(error instanceof Error ? error.message : String(error), { cause: error });
    }
  }

  async #apply(uri: vscode.Uri, content: Uint8Array): Promise<void> {
    const data = this.#host.database.require();
    const { parsePayload } = await import('./payload.ts');
    const payload = parsePayload(new TextDecoder().decode(content), isSchemaNote);
    const change = await this.#change(uri);
    const { id } = change;
    if (isMergeUri(uri)) {
      await resolveWith(data, change, mergedTo(conflictOf(change), payload));
      this.#retried.set(uri.toString(), id);
      return;
    }
    const edited = await data.editChange(id, payload);
    this.#movedTo.set(uri.toString(), edited.id);
    if (edited.status === 'failed') await data.retryChange(edited.id);
    this.#retried.set(uri.toString(), edited.id);
  }

  /** A document restored at start-up is asked for before the database is open. */
  async #change(uri: vscode.Uri): Promise<Change> {
    const id = this.#movedTo.get(uri.toString()) ?? uri.authority;
    if (id === '' || !uri.path.endsWith('.json')) throw vscode.FileSystemError.FileNotFound(uri);
    const state = await this.#host.database.whenSettled();
    if (state.kind !== 'ready') throw vscode.FileSystemError.Unavailable(uri);
    const change = await state.data.getChange(id);
    if (change === undefined) throw vscode.FileSystemError.FileNotFound(uri);
    return change;
  }
}

function conflictOf({ conflict, entityType, entityId }: Change): Conflict {
  if (conflict !== null && conflict.resolution === null) return conflict;
  const what = `The conflict in ${entityType} ${entityId}`;
  throw new LocalDataError('CHANGE_NOT_ALLOWED', `${what} was resolved meanwhile; nothing was changed.`);
}

function contentOf(uri: vscode.Uri, change: Change): Uint8Array {
  if (!isMergeUri(uri)) return payloadText(change);
  const merged = change.conflict === null ? {} : withoutConflict(change.conflict);
  return new TextEncoder().encode(`${JSON.stringify(merged, null, 2)}\n`);
}

/** The document names its schema, which JSON editors then use; the note is taken off again when the payload is saved. */
function payloadText(change: Change): Uint8Array {
  const payload: JsonObject = change.data ?? {};
  const note = '$schema' in payload ? {} : { $schema: schemaUri(change.entityType, change.operation).toString() };
  return new TextEncoder().encode(`${JSON.stringify({ ...note, ...payload }, null, 2)}\n`);
}

function isSchemaNote(key: string, value: unknown): boolean {
  return key === '$schema' && typeof value === 'string' && value.startsWith(`${SCHEMES.schema}:`);
}

async function closeUnchanged(uri: vscode.Uri): Promise<void> {
  const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
  const own = tabs.filter(({ input, isDirty }) => documentOf(input)?.toString() === uri.toString() && !isDirty);
  await vscode.window.tabGroups.close(own);
}

/** What a tab edits; VS Code's stable API has no type for that of a merge editor. */
function documentOf(input: unknown): vscode.Uri | undefined {
  if (input instanceof vscode.TabInputText) return input.uri;
  if (typeof input !== 'object' || input === null || !('result' in input)) return undefined;
  return input.result instanceof vscode.Uri ? input.result : undefined;
}
