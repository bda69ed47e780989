// What the panel shows and how: filter, sort, selection, scroll, drafts. Whatever comes back from where it was kept is
// checked before it is believed.
import { createStore } from 'zustand/vanilla';
import type { PanelView, TypeView } from '../protocol/panel.ts';
import { withinWidths } from './columns.ts';

const EMPTY_TYPE: TypeView = { search: '', orderBy: '', selectedId: null, scrollTop: 0, widths: {} };

export const EMPTY_VIEW: PanelView = { entityType: null, types: {}, drafts: {} };

export const viewStore = createStore<PanelView>()(() => EMPTY_VIEW);

export function typeView(state: PanelView, entityType: string): TypeView {
  return state.types[entityType] ?? EMPTY_TYPE;
}

export function changeTypeView(entityType: string, change: Partial<TypeView>): void {
  viewStore.setState((state) => ({
    types: { ...state.types, [entityType]: { ...typeView(state, entityType), ...change } },
  }));
}

export function draftKey(entityType: string, entityId: string): string {
  return JSON.stringify([entityType, entityId]);
}

export function changeDraft(entityType: string, entityId: string, field: string, text: string | null): void {
  viewStore.setState((state) => {
    const key = draftKey(entityType, entityId);
    const draft = { ...state.drafts[key] };
    if (text === null) delete draft[field];
    else draft[field] = text;
    const drafts = { ...state.drafts, [key]: draft };
    if (Object.keys(draft).length === 0) delete drafts[key];
    return { drafts };
  });
}

export function dropDraft(entityType: string, entityId: string): void {
  viewStore.setState((state) => {
    const drafts = { ...state.drafts };
    delete drafts[draftKey(entityType, entityId)];
    return { drafts };
  });
}

/** What of a kept value is a view. */
export function readView(kept: unknown): PanelView {
  if (!isObject(kept)) return EMPTY_VIEW;
  const types: Record<string, TypeView> = {};
  for (const [name, value] of Object.entries(isObject(kept['types']) ? kept['types'] : {})) {
    if (isObject(value)) types[name] = readTypeView(value);
  }
  const drafts: Record<string, Record<string, string>> = {};
  for (const [key, value] of Object.entries(isObject(kept['drafts']) ? kept['drafts'] : {})) {
    if (!isObject(value)) continue;
    drafts[key] = Object.fromEntries(
      Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    );
  }
  const entityType = typeof kept['entityType'] === 'string' ? kept['entityType'] : null;
  return { entityType, types, drafts };
}

function readTypeView(value: Readonly<Record<string, unknown>>): TypeView {
  return {
    search: typeof value['search'] === 'string' ? value['search'] : '',
    orderBy: typeof value['orderBy'] === 'string' ? value['orderBy'] : '',
    selectedId: typeof value['selectedId'] === 'string' ? value['selectedId'] : null,
    scrollTop: typeof value['scrollTop'] === 'number' ? value['scrollTop'] : 0,
    widths: readWidths(value['widths']),
  };
}

function readWidths(value: unknown): Record<string, number> {
  const entries = Object.entries(isObject(value) ? value : {});
  const widths = entries.filter((entry): entry is [string, number] => Number.isFinite(entry[1]));
  return Object.fromEntries(widths.map(([name, width]) => [name, withinWidths(width)]));
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
