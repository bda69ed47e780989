// The rows of the table, read a page at a time as they come into sight. Pages that a commit has made out of date stay on
// show until their successors are here, so that nothing flickers.
import { useCallback, useEffect, useReducer, useRef } from 'react';
import type { Entity } from '../protocol/changes.ts';
import { ask } from './bridge.ts';

interface Page {
  readonly rows: readonly Entity[];
  readonly version: string;
}

/** Pages kept on either side of what is in sight; those farther away are dropped. */
const PAGES_KEPT = 10;

export interface Rows {
  readonly total: number | undefined;
  readonly error: string | undefined;
  row(index: number): Entity | undefined;
  /** Reads what is missing or out of date between two rows. */
  see(first: number, last: number): void;
}

export interface RowsQuery {
  readonly entityType: string;
  readonly search: string;
  readonly orderBy: string;
  readonly pageSize: number;
  /** Counts up with each commit that touched the type. */
  readonly version: number;
}

export function useRows({ entityType, search, orderBy, pageSize, version }: RowsQuery): Rows {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const question = `${entityType}\n${search}\n${orderBy}`;
  const state = useRef({
    question,
    pages: new Map<number, Page>(),
    loading: new Set<string>(),
    total: undefined as number | undefined,
    error: undefined as string | undefined,
  });
  if (state.current.question !== question) {
    state.current = { question, pages: new Map(), loading: new Set(), total: undefined, error: undefined };
  }
  const load = useCallback(
    async (page: number) => {
      const { current } = state;
      const key = `${page} ${version}`;
      if (current.loading.has(key)) return;
      current.loading.add(key);
      try {
        const answer = await ask('page', {
          entityType,
          search,
          orderBy: orderBy === '' ? undefined : orderBy,
          offset: page * pageSize,
          limit: pageSize,
        });
        current.pages.set(page, { rows: answer.rows, version: String(version) });
        current.total = answer.total;
        current.error = undefined;
      } catch (error) {
        current.error = error instanceof Error ? error.message : String(error);
      }
      current.loading.delete(key);
      if (current === state.current) redraw();
    },
    [entityType, search, orderBy, pageSize, version],
  );
  const see = useCallback(
    (first: number, last: number) => {
      const { pages } = state.current;
      const [from, to] = [Math.floor(first / pageSize), Math.floor(Math.max(first, last) / pageSize)];
      for (let page = from; page <= to; page++) if (pages.get(page)?.version !== String(version)) void load(page);
      for (const page of pages.keys()) if (page < from - PAGES_KEPT || page > to + PAGES_KEPT) pages.delete(page);
    },
    [load, pageSize, version],
  );
  useEffect(() => see(0, 0), [see]);
  return {
    total: state.current.total,
    error: state.current.error,
    row: (index) => state.current.pages.get(Math.floor(index / pageSize))?.rows[index % pageSize],
    see,
  };
}
