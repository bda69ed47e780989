// The columns of a type's table: which there are, how wide each is, and how wide its content would have it.
import { useMemo } from 'react';
import type { EntityWindow } from '../stores/entities-store.ts';
import type { RowPages } from './row-pages.ts';

export const NARROWEST = 48;
export const WIDEST = 1_000;

const KEY_WIDTH = 112;
const MOST_FIELDS = 40;
/** Of a cell, beside its text; a heading has room for the arrow of its order too. */
const CELL_PADDING = 18;
const HEADING_PADDING = 36;

export interface Column {
  readonly name: string;
  readonly width: number;
}

/** `widths` are those that a person chose. */
export function useColumns(
  { info }: EntityWindow,
  pages: RowPages,
  widths: Readonly<Record<string, number>>,
): readonly Column[] {
  const documentFields = info.kind === 'document' ? pages.fields.filter((name) => name !== info.key) : [];
  const names = JSON.stringify(documentFields.slice(0, MOST_FIELDS));
  return useMemo(() => {
    const chosen = ({ name, width }: Column): Column => ({ name, width: widths[name] ?? width });
    if (info.kind === 'document') {
      const fields = JSON.parse(names) as string[];
      return [{ name: info.key, width: 180 }, ...fields.map((name) => ({ name, width: 160 }))].map(chosen);
    }
    return info.columns.map(({ name, type }) => {
      const width = name === info.key && type === 'text' ? KEY_WIDTH : widthOf(type);
      return chosen({ name, width: Math.max(width, name.length * 8 + 28) });
    });
  }, [info, names, widths]);
}

export function withinWidths(width: number): number {
  return Math.round(Math.min(WIDEST, Math.max(NARROWEST, width)));
}

/** The width at which a column's heading and its rows in view are whole; by `aria-colindex`. */
export function fittingWidth(grid: Element, colIndex: number): number {
  const range = document.createRange();
  const widths = [...grid.querySelectorAll(`[aria-colindex="${colIndex}"]`)].map((cell) => {
    const isHeading = cell.role === 'columnheader';
    range.selectNodeContents(isHeading ? (cell.firstElementChild ?? cell) : cell);
    return range.getBoundingClientRect().width + (isHeading ? HEADING_PADDING : CELL_PADDING);
  });
  return withinWidths(Math.max(NARROWEST, ...widths));
}

function widthOf(type: string): number {
  if (type === 'boolean') return 72;
  if (/^(smallint|integer|bigint|numeric|real|double)/.test(type)) return 96;
  if (type.startsWith('timestamp')) return 176;
  if (type === 'date') return 100;
  if (type === 'uuid') return 280;
  return type.startsWith('json') ? 220 : 160;
}
