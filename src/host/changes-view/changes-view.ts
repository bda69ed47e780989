// The Changes view: groups by status, a page at a time, kept current at most four times a second. It reads pages only
// of groups that are expanded and never holds more than has been asked for.
import * as vscode from 'vscode';
import { type Change, noChanges } from '../../protocol/changes.ts';
import type { SyncState, SyncStatus } from '../../protocol/sync-state.ts';
import { CHANGES_VIEW_ID, CONTEXT_KEYS, type ChangeTarget } from '../contributions.ts';
import type { DatabaseState } from '../database.ts';
import type { HostWithSync } from '../host.ts';
import { factsOf, isConfigured } from '../sync/sync-words.ts';
import {
  type ActionElement,
  type ChangeElement,
  type ChangesElement,
  type FactElement,
  type FaultElement,
  GROUPS,
  GROUP_IDS,
  type GroupId,
  type Tally,
  countOf,
  elementId,
  groupsOf,
  listingOf,
  needingAPerson,
} from './elements.ts';
import { changeTooltip, treeItemOf } from './presentation.ts';
import { noticeOf } from './state-notice.ts';
import { Throttle } from './throttle.ts';
import { transactionsOf } from './transactions.ts';
import { WaitingForServer } from './waiting-for-server.ts';

const REFRESH_EVERY_MS = 250;
/** Where reading takes long, the engine is left alone for this many times as long. */
const REST_AFTER_READING = 4;
/** The most `listChanges` gives at once. */
const LARGEST_READ = 1_000;
/** Of a group whose changes stand among others: how many reads a page may take. "Load more" goes on from there. */
const READS_A_PAGE = 10;

/** What helps in a state that needs a person, as a line to click. */
const ACTIONS: Partial<Record<SyncStatus, ActionElement>> = {
  'sign-in-needed': { kind: 'action', command: 'localData.sync.signIn', icon: 'key' },
  'needs-decision': { kind: 'action', command: 'localData.sync.signIn', icon: 'warning', title: 'Decide…' },
  paused: { kind: 'action', command: 'localData.sync.goOnline', icon: 'debug-continue' },
};

const DECIDE_MISSING: ActionElement = { kind: 'action', command: 'localData.sync.decideMissing', icon: 'question' };

export class ChangesView implements vscode.TreeDataProvider<ChangesElement>, vscode.Disposable {
  readonly #host: HostWithSync;
  readonly #view: vscode.TreeView<ChangesElement>;
  readonly #invalidated = new vscode.EventEmitter<ChangesElement | undefined>();
  readonly onDidChangeTreeData = this.#invalidated.event;
  readonly #groupElements = new Map<GroupId, ChangesElement>(
    GROUP_IDS.map((group) => [group, { kind: 'group', group }]),
  );
  /** How many changes of a group a person has asked for. */
  readonly #wanted = new Map<GroupId, number>();
  readonly #shown = new Map<GroupId, readonly ChangeElement[]>();
  readonly #dirty = new Set<GroupId>();
  readonly #throttle = new Throttle(
    () => Math.max(REFRESH_EVERY_MS, REST_AFTER_READING * this.#readMs),
    () => this.#refresh(),
  );
  /** How long it took of late to read a page of a group. */
  #readMs = 0;
  readonly #waiting = new WaitingForServer(() => this.#throttle.call());
  readonly #disposables: vscode.Disposable[];
  /** The groups VS Code has asked for last; when others are there now, the whole tree is out of date. */
  #drawnGroups = '';
  #contextKeys = '';
  readonly #syncElement: ChangesElement = { kind: 'sync' };
  #isSyncDirty = false;
  #syncStatus: SyncStatus = 'not-configured';
  #unsubscribe = () => {};

  constructor(host: HostWithSync) {
    this.#host = host;
    this.#view = vscode.window.createTreeView(CHANGES_VIEW_ID, {
      treeDataProvider: this,
      canSelectMany: true,
      showCollapseAll: false,
    });
    this.#disposables = [
      this.#view,
      this.#invalidated,
      this.#throttle,
      this.#waiting,
      host.database.onDidChangeState((state) => this.#connect(state)),
      host.sync.onDidChangeState((state) => this.#noteSync(state)),
    ];
    this.#waiting.note(host.sync.state);
    this.#connect(host.database.state);
  }

  get selection(): readonly ChangesElement[] {
    return this.#view.selection;
  }

  /** Shows the view and gives it the focus. */
  async focus(): Promise<void> {
    await vscode.commands.executeCommand(`${CHANGES_VIEW_ID}.focus`);
  }

  /** Shows the view and selects a change in it, when the change is among those on show. */
  async reveal(changeId: string): Promise<void> {
    await this.focus();
    for (const elements of this.#shown.values()) {
      const element = elements.find(({ change }) => change.id === changeId);
      if (element !== undefined) return this.#view.reveal(element, { select: true, focus: true });
    }
  }

  loadMore(group: GroupId): void {
    const { changesPageSize } = this.#host.settings();
    this.#wanted.set(group, (this.#wanted.get(group) ?? changesPageSize) + changesPageSize);
    this.#invalidated.fire(this.#groupElements.get(group));
  }

  /** The ids a command is to act on: what it was given, else what is selected. */
  targets(target?: ChangeTarget, selected?: readonly ChangeTarget[]): string[] {
    const given =
      selected !== undefined && selected.length > 0 ? selected : target === undefined ? this.selection : [target];
    const ids = given.flatMap((one) => {
      if ('changeId' in one) return [one.changeId];
      return one.kind === 'change' ? [one.change.id] : [];
    });
    return [...new Set(ids)];
  }

  getTreeItem(element: ChangesElement): vscode.TreeItem {
    return treeItemOf(element, this.#tally(), this.#host.sync);
  }

  getParent(element: ChangesElement): ChangesElement | undefined {
    return element.kind === 'change' || element.kind === 'more' ? this.#groupElements.get(element.group) : undefined;
  }

  async getChildren(element?: ChangesElement): Promise<ChangesElement[]> {
    if (element === undefined) {
      const groups = this.#groups();
      this.#drawnGroups = this.#drawn();
      this.#forgetGone();
      const server = isConfigured(this.#host.sync.state) ? [this.#syncElement] : [];
      return [...(noticeOf(this.#host.database.state)?.actions ?? []), ...server, ...groups];
    }
    if (element.kind === 'sync') return this.#syncRows();
    return element.kind === 'group' ? this.#page(element.group) : [];
  }

  /** The tooltip is made when it is asked for; the pages stay small and the tree quick. */
  async resolveTreeItem(item: vscode.TreeItem, element: ChangesElement): Promise<vscode.TreeItem> {
    if (element.kind !== 'change') return item;
    const { state } = this.#host.database;
    const { id } = element.change;
    const data = state.kind === 'ready' ? state.data : undefined;
    const current = await data?.getChange(id);
    const isSent = current?.acceptedAt !== null && current !== undefined;
    const receipt = isSent ? await data?.sync.receipt(id) : undefined;
    item.tooltip = changeTooltip({ ...element, change: current ?? element.change }, receipt ?? null, Date.now());
    return item;
  }

  dispose(): void {
    this.#unsubscribe();
    for (const disposable of this.#disposables) disposable.dispose();
  }

  #connect(state: DatabaseState): void {
    this.#unsubscribe();
    this.#unsubscribe = () => {};
    this.#wanted.clear();
    this.#shown.clear();
    this.#view.message = noticeOf(state)?.message;
    if (state.kind === 'ready') {
      const { changes } = state.data.stores;
      this.#unsubscribe = changes.subscribe(({ touched, counts }, before) => {
        if (counts !== before.counts) this.#markCounts(before.counts);
        for (const { status } of touched) for (const group of groupsOf(status)) this.#dirty.add(group);
        this.#throttle.call();
      });
    }
    this.#showTotals();
    this.#invalidated.fire(undefined);
  }

  /** A group that something left is out of date as well. */
  #markCounts(before: ReturnType<typeof noChanges> | Readonly<ReturnType<typeof noChanges>>): void {
    const { counts: now, waiting } = this.#tally();
    for (const group of GROUP_IDS) {
      const isAnother = countOf(group, { counts: before, waiting }) !== countOf(group, { counts: now, waiting });
      if (isAnother) this.#dirty.add(group);
    }
  }

  #refresh(): void {
    this.#showTotals();
    const groups = this.#drawn();
    if (groups !== this.#drawnGroups) {
      this.#dirty.clear();
      this.#invalidated.fire(undefined);
      return;
    }
    if (this.#isSyncDirty) this.#invalidated.fire(this.#syncElement);
    this.#isSyncDirty = false;
    for (const group of this.#dirty) this.#invalidated.fire(this.#groupElements.get(group));
    this.#dirty.clear();
  }

  /** What a waiting change waits for is said by the state of the server too. */
  #noteSync(state: SyncState): void {
    if (state.status !== this.#syncStatus) {
      this.#syncStatus = state.status;
      for (const group of GROUP_IDS) if (group !== 'finished') this.#dirty.add(group);
    }
    const shown = this.#waiting.count;
    this.#waiting.note(state);
    if (this.#waiting.count !== shown) this.#dirty.add('waiting').add('finished');
    this.#isSyncDirty = true;
    this.#throttle.call();
  }

  #syncRows(): ChangesElement[] {
    const { state, ruleFaults } = this.#host.sync;
    const facts = factsOf(state, Date.now()).map((fact): FactElement => ({ kind: 'fact', ...fact }));
    const faults = ruleFaults.map(({ message, short, source, at }, index): FaultElement => ({
      kind: 'fault',
      number: index + 1,
      message,
      short,
      place: { source, at },
    }));
    const action = ACTIONS[state.status];
    const actions = [...(action === undefined ? [] : [action]), ...(state.missing > 0 ? [DECIDE_MISSING] : [])];
    return [...actions, ...faults, ...facts];
  }

  #showTotals(): void {
    const tally = this.#tally();
    const needing = needingAPerson(tally.counts);
    const badge =
      needing === 0 ? undefined : { value: needing, tooltip: `${needing.toLocaleString()} changes need you` };
    if (this.#view.badge?.value !== badge?.value) this.#view.badge = badge;
    const empty = GROUP_IDS.every((group) => countOf(group, tally) === 0) && !isConfigured(this.#host.sync.state);
    const keys = `${empty}${needing > 0}`;
    if (keys === this.#contextKeys) return;
    this.#contextKeys = keys;
    void vscode.commands.executeCommand('setContext', CONTEXT_KEYS.empty, empty);
    void vscode.commands.executeCommand('setContext', CONTEXT_KEYS.hasFailed, needing > 0);
  }

  #drawn(): string {
    return [isConfigured(this.#host.sync.state), ...this.#groups().map(elementId)].join();
  }

  #groups(): ChangesElement[] {
    const tally = this.#tally();
    return GROUP_IDS.filter((group) => countOf(group, tally) > 0).flatMap(
      (group) => this.#groupElements.get(group) ?? [],
    );
  }

  async #page(group: GroupId): Promise<ChangesElement[]> {
    const { changesPageSize } = this.#host.settings();
    const wanted = this.#wanted.get(group) ?? changesPageSize;
    const start = performance.now();
    const { changes, isAll } = await this.#read(group, wanted);
    const transactions = await this.#transactions(changes);
    const elements = changes.map((change): ChangeElement => {
      const transaction = transactions.get(change.transactionId ?? '');
      return { kind: 'change', group, change, transaction };
    });
    // A group that is read quickly does not hide at once that another is not.
    this.#readMs = Math.max(performance.now() - start, this.#readMs / 2);
    this.#shown.set(group, elements);
    const more = !isAll && countOf(group, this.#tally()) > elements.length;
    return more ? [...elements, { kind: 'more', group, shown: elements.length }] : elements;
  }

  async #read(group: GroupId, wanted: number): Promise<{ changes: Change[]; isAll: boolean }> {
    const { statuses, holds, isMixed } = listingOf(group, this.#tally());
    const { order } = GROUPS[group];
    const changes: Change[] = [];
    let after: number | undefined;
    let reads = Math.ceil(wanted / this.#host.settings().changesPageSize) * READS_A_PAGE;
    while (changes.length < wanted && reads-- > 0) {
      const { state } = this.#host.database;
      if (state.kind !== 'ready') return { changes: [], isAll: true };
      const limit = isMixed ? LARGEST_READ : Math.min(LARGEST_READ, wanted - changes.length);
      const page = await state.data.listChanges({
        status: statuses,
        order,
        limit,
        ...(after === undefined ? {} : { after }),
      });
      changes.push(...page.changes.filter(holds));
      if (page.next === null) return { changes: changes.slice(0, wanted), isAll: changes.length <= wanted };
      after = page.next;
    }
    return { changes: changes.slice(0, wanted), isAll: false };
  }

  async #transactions(changes: readonly Change[]): ReturnType<typeof transactionsOf> {
    const { state } = this.#host.database;
    return state.kind === 'ready' ? transactionsOf(state.data, changes) : new Map();
  }

  /** Of groups that are not there any more nothing is on show. */
  #forgetGone(): void {
    const tally = this.#tally();
    for (const group of this.#shown.keys()) if (countOf(group, tally) === 0) this.#shown.delete(group);
  }

  #tally(): Tally {
    return { counts: this.#counts(), waiting: this.#waiting.count };
  }

  #counts() {
    const { state } = this.#host.database;
    return state.kind === 'ready' ? state.data.stores.changes.getState().counts : noChanges();
  }
}
