// The pages of a type's entities for a component that shows them: made anew for each question, fed with commits.
import { useEffect, useMemo, useSyncExternalStore } from 'react';
import type { EntityWindow } from '../stores/entities-store.ts';
import { usePanel } from './panel-context.ts';
import { RowPages } from './row-pages.ts';

export function useEntityPages(window: EntityWindow, search: string, orderBy: string): RowPages {
  const { host, state, totals } = usePanel();
  const { entityType, key } = window.info;
  const pageSize = state?.kind === 'open' ? state.pageSize : 1;
  const pages = useMemo(() => {
    const query = { entityType, search, ...(orderBy === '' ? {} : { orderBy }) };
    const read = (offset: number, limit: number, signal: AbortSignal) =>
      host.call('page', { ...query, offset, limit }, signal);
    const mayMove = search !== '' || orderBy !== '';
    // Rows of another order come in the room of those before, without an instant in which there are none.
    const before = totals.get(entityType) ?? 0;
    return new RowPages({ key, pageSize, mayMove, read }, before === 0 ? null : before);
  }, [host, totals, entityType, key, search, orderBy, pageSize]);
  useEffect(() => {
    const unlisten = host.listen((news) => {
      if (news.kind === 'state') pages.readAgain();
      if (news.kind !== 'commit') return;
      for (const delta of news.event.entities) if (delta.entityType === entityType) pages.commit(delta);
    });
    return () => {
      unlisten();
      pages.dispose();
    };
  }, [host, entityType, pages]);
  useSyncExternalStore(pages.subscribe, pages.getVersion);
  const { isLoading, total } = pages;
  useEffect(() => {
    if (!isLoading) totals.set(entityType, total);
  }, [totals, entityType, isLoading, total]);
  return pages;
}
