// Windows onto a type's entities in one order, by one filter: pages read as they come into view, given up when they go out
// of it, brought up to date by commits, read again when entities come, go or move. Bounded, however many entities there are.
import type { Entity } from '../protocol/changes.ts';
import type { EntityDelta } from '../protocol/engine.ts';

const READ_AGAIN_AFTER_MS = 200;
/** Rows held on either side of what is in view; farther ones are read again when they are scrolled to. */
const ROWS_BESIDE = 2_000;
/** Entities remembered from commits while pages are on their way; more of them are worth a new reading. */
const MOST_TOUCHED = 5_000;

export interface PageAnswer {
  readonly rows: readonly Entity[];
  readonly total: number;
}

export interface RowSource {
  readonly key: string;
  readonly pageSize: number;
  /** Whether a change of an entity may change its place: it may in any order but that of the key, and by any filter. */
  readonly mayMove: boolean;
  read(offset: number, limit: number, signal: AbortSignal): Promise<PageAnswer>;
}

interface Page {
  readonly rows: readonly Entity[];
  /** Of which round of reading; a page of an earlier one is read again when it is in view. */
  readonly round: number;
}

export class RowPages {
  readonly #source: RowSource;
  readonly #listeners = new Set<() => void>();
  readonly #reading = new Map<number, AbortController>();
  /** As commits told them since the first of the pages on their way was asked for: an answer may be older. */
  readonly #touched = new Map<string, Entity>();
  readonly #fields = new Set<string>();
  #pages = new Map<number, Page>();
  #shown: readonly [number, number];
  #round = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #total: number | null;
  #error: string | null = null;
  #version = 0;

  /** `total` is what to show until the first page is there: that of the question before. */
  constructor(source: RowSource, total: number | null) {
    this.#source = source;
    this.#total = total;
    this.#shown = [0, source.pageSize - 1];
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** Counts up with whatever there is to see. */
  readonly getVersion = (): number => this.#version;

  get total(): number {
    return this.#total ?? 0;
  }

  get isLoading(): boolean {
    return this.#total === null && this.#error === null;
  }

  get error(): string | null {
    return this.#error;
  }

  row(index: number): Entity | undefined {
    const { pageSize } = this.#source;
    return this.#pages.get(Math.floor(index / pageSize))?.rows[index % pageSize];
  }

  /** The fields of all rows seen so far, in the order they were met: a field does not go with the row that had it. */
  get fields(): readonly string[] {
    return [...this.#fields];
  }

  /** Tells which rows are in view. */
  show(first: number, last: number): void {
    this.#shown = [first, last];
    this.#readShown();
  }

  readAgain(): void {
    this.#round += 1;
    this.#abortAll();
    this.#readShown();
  }

  retry(): void {
    this.#error = null;
    this.readAgain();
    this.#changed();
  }

  commit({ upserted, deleted, count, reload }: EntityDelta): void {
    this.#replace(upserted);
    const cameOrWent = deleted.length > 0 || (!this.#source.mayMove && count !== this.#total);
    if (reload === true || cameOrWent || this.#source.mayMove) this.#readAgainSoon();
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#abortAll();
  }

  #readShown(): void {
    const [first, last] = this.#pagesInView();
    for (const [page, controller] of this.#reading) {
      if (page >= first && page <= last) continue;
      this.#reading.delete(page);
      controller.abort();
    }
    for (let page = first; page <= last; page++) {
      if (this.#pages.get(page)?.round !== this.#round && !this.#reading.has(page)) void this.#read(page);
    }
  }

  async #read(page: number): Promise<void> {
    const { pageSize } = this.#source;
    const controller = new AbortController();
    const round = this.#round;
    this.#reading.set(page, controller);
    const isWanted = (): boolean => this.#reading.get(page) === controller;
    try {
      const { rows, total } = await this.#source.read(page * pageSize, pageSize, controller.signal);
      if (!isWanted()) return;
      this.#take(page, { rows: rows.map((row) => this.#touched.get(this.#idOf(row)) ?? row), round }, total);
    } catch (reason) {
      if (!isWanted()) return;
      this.#error = reason instanceof Error ? reason.message : String(reason);
    }
    this.#reading.delete(page);
    if (this.#reading.size === 0) this.#touched.clear();
    this.#changed();
  }

  #take(page: number, taken: Page, total: number): void {
    this.#meet(taken.rows);
    const beside = Math.max(1, Math.ceil(ROWS_BESIDE / this.#source.pageSize));
    const [first, last] = this.#pagesInView();
    const near = [...this.#pages].filter(([other]) => other >= first - beside && other <= last + beside);
    this.#pages = new Map(near).set(page, taken);
    this.#total = total;
    this.#error = null;
  }

  #replace(upserted: readonly Entity[]): void {
    if (upserted.length === 0) return;
    const byId = new Map(upserted.map((entity) => [this.#idOf(entity), entity]));
    if (this.#reading.size > 0) this.#remember(byId);
    let hasChanged = false;
    for (const [page, { rows, round }] of this.#pages) {
      if (!rows.some((row) => byId.has(this.#idOf(row)))) continue;
      this.#pages.set(page, { rows: rows.map((row) => byId.get(this.#idOf(row)) ?? row), round });
      hasChanged = true;
    }
    if (!hasChanged) return;
    this.#meet(upserted);
    this.#changed();
  }

  #meet(rows: readonly Entity[]): void {
    for (const row of rows) for (const field of Object.keys(row)) this.#fields.add(field);
  }

  #remember(byId: ReadonlyMap<string, Entity>): void {
    for (const [id, entity] of byId) this.#touched.set(id, entity);
    if (this.#touched.size <= MOST_TOUCHED) return;
    this.#touched.clear();
    this.#readAgainSoon();
  }

  /** A wait under way is kept: begun anew by each commit it would not end before the last of a long run of them. */
  #readAgainSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      // A page that takes longer than the wait is let come, or none ever would; then it is read again.
      if (this.#reading.size > 0) this.#readAgainSoon();
      else this.readAgain();
    }, READ_AGAIN_AFTER_MS);
  }

  #abortAll(): void {
    const controllers = [...this.#reading.values()];
    this.#reading.clear();
    this.#touched.clear();
    for (const controller of controllers) controller.abort();
  }

  #pagesInView(): readonly [number, number] {
    const [first, last] = this.#shown;
    const { pageSize } = this.#source;
    return [Math.floor(first / pageSize), Math.floor(last / pageSize)];
  }

  #idOf(entity: Entity): string {
    return String(entity[this.#source.key]);
  }

  #changed(): void {
    this.#version += 1;
    for (const listener of this.#listeners) listener();
  }
}
