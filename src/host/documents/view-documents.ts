// Read-only documents: a change as it is, an entity before and after it, the state of synchronisation, and reports. What a
// document but a report shows is derived from its address, so that it survives a reload; looking changes nothing.
import * as vscode from 'vscode';
import type { LocalData } from '../../engine/local-data.ts';
import { sameJson } from '../../protocol/canonical-json.ts';
import type { Change, JsonObject } from '../../protocol/changes.ts';
import type { Conflict } from '../../protocol/sync-state.ts';
import { Throttle } from '../changes-view/throttle.ts';
import { SCHEMES } from '../contributions.ts';
import { followTouched } from '../follow-touched.ts';
import type { Host } from '../host.ts';
import { resolutionLines } from '../sync/resolution-lines.ts';
import { syncStatusText } from '../sync/sync-status-text.ts';
import { nameInPath } from './name-in-path.ts';

type Part = 'change' | 'before' | 'after' | ConflictSide;
/** Of a conflict: what is here, what the server has, and what both began from. */
type ConflictSide = 'mine' | 'theirs' | 'base';

const SYNC_STATUS = vscode.Uri.from({ scheme: SCHEMES.view, authority: 'sync-status', path: '/Sync Status.md' });
const REFRESH_EVERY_MS = 500;

const reports = new Map<string, string>();

export function changeUri(change: Change, part: Part): vscode.Uri {
  const name = nameInPath(change.entityType, change.entityId);
  return vscode.Uri.from({ scheme: SCHEMES.view, authority: `${part}.${change.id}`, path: `/${name}.json` });
}

/** Opens a text that is made once, such as the report of an import. */
export async function showReport(name: string, text: string): Promise<void> {
  const uri = vscode.Uri.from({
    scheme: SCHEMES.view,
    authority: `report.${Date.now()}`,
    path: `/${name.replaceAll('/', '∕')}`,
  });
  reports.set(uri.authority, text);
  await vscode.window.showTextDocument(uri, { preview: false });
}

export async function showSyncStatusDocument(): Promise<void> {
  await vscode.window.showTextDocument(SYNC_STATUS, { preview: false });
}

export function registerViewDocuments(host: Host): vscode.Disposable {
  const changed = new vscode.EventEmitter<vscode.Uri>();
  const provider = vscode.workspace.registerTextDocumentContentProvider(SCHEMES.view, {
    onDidChange: changed.event,
    provideTextDocumentContent: (uri) => contentOf(host, uri),
  });
  const following = followCommits(host, (uri) => changed.fire(uri));
  const closed = vscode.workspace.onDidCloseTextDocument(({ uri }) => {
    if (uri.scheme === SCHEMES.view) reports.delete(uri.authority);
  });
  const followingSync = followSync(host, () => changed.fire(SYNC_STATUS));
  return vscode.Disposable.from(changed, provider, following, followingSync, closed);
}

function followSync({ sync }: Host, show: () => void): vscode.Disposable {
  const throttle = new Throttle(REFRESH_EVERY_MS, show);
  const isOpen = () => vscode.workspace.textDocuments.some(({ uri }) => uri.toString() === SYNC_STATUS.toString());
  const following = sync.onDidChangeState(() => {
    if (isOpen()) throttle.call();
  });
  return vscode.Disposable.from(throttle, following);
}

/** Shows again what a commit has made stale: the documents of the changes it touched and of others of their entities. */
function followCommits({ database }: Host, show: (uri: vscode.Uri) => void): vscode.Disposable {
  const shown = () =>
    vscode.workspace.textDocuments.map(({ uri }) => uri).filter(({ scheme }) => scheme === SCHEMES.view);
  const showStale = (touched: readonly Change[]) => {
    const open = shown();
    if (open.length === 0) return;
    const paths = new Set(touched.map((change) => changeUri(change, 'change').path));
    for (const uri of open) if (paths.has(uri.path)) show(uri);
  };
  // A document that was restored before the database was open is shown again once it is.
  return followTouched(database, showStale, () => {
    for (const uri of shown()) show(uri);
  });
}

async function contentOf(host: Host, uri: vscode.Uri): Promise<string> {
  const [part, id] = uri.authority.split('.', 2);
  if (part === SYNC_STATUS.authority) {
    const { state, rules, ruleFaults } = host.sync;
    return syncStatusText({ state, rules, faults: ruleFaults, at: new Date() });
  }
  if (part === 'report')
    return reports.get(uri.authority) ?? 'This report was made in an earlier session and is gone.\n';
  const { state } = host.database;
  if (state.kind !== 'ready' || id === undefined) return 'The database is not open.\n';
  const change = await state.data.getChange(id);
  if (change === undefined) return 'This change is no longer there.\n';
  switch (part) {
    case 'before':
      return toText(await entityBefore(state.data, change));
    case 'after':
      return toText(await entityAfter(state.data, change));
    case 'mine':
    case 'theirs':
    case 'base':
      return toText(change.conflict === null ? null : sideOf(change.conflict, part));
    default:
      return toText(await wholeChange(state.data, change));
  }
}

/** What became of a conflict comes first, in sentences; the rest as it is kept. */
async function wholeChange(data: LocalData, change: Change): Promise<object> {
  const conflict = resolutionLines(change);
  return {
    ...(conflict.length === 0 ? {} : { conflictResolved: conflict }),
    ...change,
    receipt: change.acceptedAt === null ? null : await data.sync.receipt(change.id),
  };
}

/** Without what the table makes of the other columns by itself: the server never has that. */
function sideOf(conflict: Conflict, side: ConflictSide): JsonObject | null {
  const { base, mine, theirs } = conflict;
  const entity = conflict[side];
  if (entity === null || theirs === null) return entity;
  const isMade = (field: string) =>
    !(field in theirs) &&
    conflict.fields[field] === undefined &&
    sameJson(base?.[field] ?? null, mine?.[field] ?? null);
  return Object.fromEntries(Object.entries(entity).filter(([field]) => !isMade(field)));
}

async function entityBefore(data: LocalData, change: Change): Promise<JsonObject | null> {
  return change.processedLocal ? change.previous : currentEntity(data, change);
}

async function entityAfter(data: LocalData, change: Change): Promise<JsonObject | null> {
  if (change.operation === 'delete') return null;
  if (change.processedLocal && change.result !== null) return change.result;
  const before = change.operation === 'update' ? await entityBefore(data, change) : null;
  return { ...before, ...change.data };
}

async function currentEntity(data: LocalData, { entityType, entityId }: Change): Promise<JsonObject | null> {
  const types = await data.listEntityTypes();
  if (!types.some((info) => info.entityType === entityType)) return null;
  return (await data.getEntity(entityType, entityId)) ?? null;
}

export function toText(value: object | null): string {
  return value === null ? '' : `${JSON.stringify(value, null, 2)}\n`;
}
