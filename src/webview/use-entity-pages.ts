// Windows onto a type's entities: pages read as they come into view, updated in place by commits, read again when
// entities come, go or move.
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import type { Entity } from '../protocol/changes.ts';
import type { EntityWindow } from '../stores/entities-store.ts';
import { usePanel } from './panel-context.ts';

const PAGE = 100;
const READ_AGAIN_AFTER_MS = 200;
/** Pages held on either side of what is in view; farther ones are read again when they are scrolled to. */
const PAGES_BESIDE = 20;

export interface EntityPages {
  readonly total: number;
  readonly isLoading: boolean;
  readonly error: string | null;
  row(index: number): Entity | undefined;
  /** Tells which rows are in view. */
  show(first: number, last: number): void;
  /** Reads again after an error. */
  retry(): void;
}

interface Pages {
  readonly rows: ReadonlyMap<number, readonly Entity[]>;
  readonly total: number | null;
}

export function useEntityPages(window: EntityWindow, search: string, orderBy: string): EntityPages {
  const { host, stores } = usePanel();
  const { entityType, key } = window.info;
  const [pages, setPages] = useState<Pages>({ rows: new Map(), total: null });
  const [error, setError] = useState<string | null>(null);
  const reading = useRef(new Map<number, number>());
  const round = useRef(0);
  const shown = useRef<readonly [number, number]>([0, 0]);

  const read = useCallback(
    async (page: number, ofRound: number) => {
      if (reading.current.get(page) === ofRound) return;
      reading.current.set(page, ofRound);
      try {
        const order = orderBy === '' ? {} : { orderBy };
        const query = { entityType, search, offset: page * PAGE, limit: PAGE, ...order };
        const { rows, total } = await host.call('page', query);
        if (round.current !== ofRound) return;
        setError(null);
        setPages((before) => {
          const near = [...before.rows].filter(([other]) => Math.abs(other - page) <= PAGES_BESIDE);
          return { rows: new Map(near).set(page, rows), total };
        });
        for (const other of reading.current.keys()) {
          if (Math.abs(other - page) > PAGES_BESIDE) reading.current.delete(other);
        }
      } catch (reason) {
        if (round.current === ofRound) setError(reason instanceof Error ? reason.message : String(reason));
      }
    },
    [host, entityType, search, orderBy],
  );

  const readShown = useCallback(
    (startAnew: boolean) => {
      if (startAnew) round.current += 1;
      const [first, last] = shown.current;
      for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) void read(page, round.current);
    },
    [read],
  );

  // Another question: nothing of the old answer is kept but its rows, until the new ones are there.
  useEffect(() => {
    shown.current = [0, PAGE - 1];
    readShown(true);
    setPages((before) => ({ rows: new Map(), total: before.total }));
  }, [readShown]);

  // Entities came or went, or may have moved within the order.
  const moves = search !== '' || orderBy !== '' ? window.version : 0;
  const isFirst = useRef(true);
  const awaited = useRef<ReturnType<typeof setTimeout>>(undefined);
  const latestRead = useRef(readShown);
  useEffect(() => {
    latestRead.current = readShown;
  }, [readShown]);
  useEffect(() => {
    if (isFirst.current) {
      isFirst.current = false;
      return;
    }
    // A wait under way is kept: begun anew by each commit it would not end before the last of a long run of them.
    awaited.current ??= setTimeout(() => {
      awaited.current = undefined;
      latestRead.current(true);
    }, READ_AGAIN_AFTER_MS);
  }, [window.count, window.reloads, moves]);
  useEffect(
    () => () => {
      clearTimeout(awaited.current);
      awaited.current = undefined;
    },
    [],
  );

  return useMemo(
    () => ({
      total: pages.total ?? 0,
      isLoading: pages.total === null && error === null,
      error,
      row: (index) => {
        const read = pages.rows.get(Math.floor(index / PAGE))?.[index % PAGE];
        return read === undefined ? undefined : (stores.entities.getState().get(entityType, String(read[key])) ?? read);
      },
      show: (first, last) => {
        shown.current = [first, last];
        readShown(false);
      },
      retry: () => {
        setError(null);
        readShown(true);
      },
    }),
    // The type's version counts: rows held in the store have changed with it.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
    [pages, error, entityType, key, readShown, stores, window.version],
  );
}
