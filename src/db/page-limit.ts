// How many rows a page holds: what is asked for, within bounds that keep one read small.
const DEFAULT_PAGE = 100;
export const LARGEST_PAGE = 1_000;

export function pageLimit(asked: number | undefined): number {
  return Math.min(LARGEST_PAGE, Math.max(1, Math.trunc(asked ?? DEFAULT_PAGE)));
}
