// A column's heading: a button that sorts, and a separator that changes the width by mouse and by keyboard.
import { type KeyboardEvent, type PointerEvent, type ReactNode, useRef } from 'react';
import { type Column, NARROWEST, WIDEST, fittingWidth, withinWidths } from './columns.ts';

const STEP = 8;
const LARGE_STEP = 40;

interface HeadingProps {
  readonly column: Column;
  readonly colIndex: number;
  readonly orderBy: string;
  /** Of the headings one is a stop of the Tab key, and its separator the next. */
  readonly isTabStop: boolean;
  readonly onFocus: () => void;
  readonly onOrder: (orderBy: string) => void;
  readonly onWidth: (width: number) => void;
}

export function ColumnHeading(props: HeadingProps): ReactNode {
  const { column, colIndex, orderBy, isTabStop, onFocus, onOrder } = props;
  const direction = orderBy === column.name ? 'ascending' : orderBy === `-${column.name}` ? 'descending' : 'none';
  const next = direction === 'none' ? column.name : direction === 'ascending' ? `-${column.name}` : '';
  return (
    <span role="columnheader" aria-sort={direction} aria-colindex={colIndex} className="heading" onFocus={onFocus}>
      <button
        type="button"
        className="sort"
        tabIndex={isTabStop ? 0 : -1}
        onClick={() => onOrder(next)}
        title={`Sort by ${column.name}`}
      >
        <span className="heading-text">{column.name}</span>
        {direction !== 'none' && (
          <span className={`codicon codicon-arrow-${direction === 'ascending' ? 'up' : 'down'}`} aria-hidden="true" />
        )}
      </button>
      <WidthSeparator {...props} />
    </span>
  );
}

function WidthSeparator({ column, colIndex, isTabStop, onWidth }: HeadingProps): ReactNode {
  const dragged = useRef<{ readonly fromX: number; readonly fromWidth: number }>(undefined);
  const fit = (separator: Element): void => {
    const grid = separator.closest('[role="grid"]');
    if (grid !== null) onWidth(fittingWidth(grid, colIndex));
  };
  const onPointerDown = (event: PointerEvent<HTMLElement>): void => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    dragged.current = { fromX: event.clientX, fromWidth: column.width };
  };
  const onPointerMove = ({ clientX }: PointerEvent<HTMLElement>): void => {
    if (dragged.current === undefined) return;
    onWidth(withinWidths(dragged.current.fromWidth + clientX - dragged.current.fromX));
  };
  const onKeyDown = (event: KeyboardEvent<HTMLElement>): void => {
    const width = widthByKey(event, column.width);
    if (width === undefined && event.key !== 'Enter') return;
    event.preventDefault();
    if (width === undefined) fit(event.currentTarget);
    else onWidth(width);
  };
  return (
    <span
      role="separator"
      className="width-separator"
      aria-orientation="vertical"
      aria-label={`Width of ${column.name}`}
      aria-valuenow={column.width}
      aria-valuemin={NARROWEST}
      aria-valuemax={WIDEST}
      tabIndex={isTabStop ? 0 : -1}
      title="Drag to change the width; double-click to fit"
      onPointerDown={onPointerDown}
      onPointerMove={onPointerMove}
      onLostPointerCapture={() => (dragged.current = undefined)}
      onDoubleClick={({ currentTarget }) => fit(currentTarget)}
      onKeyDown={onKeyDown}
    />
  );
}

function widthByKey({ key, shiftKey }: KeyboardEvent, width: number): number | undefined {
  const step = shiftKey ? LARGE_STEP : STEP;
  switch (key) {
    case 'ArrowLeft':
      return withinWidths(width - step);
    case 'ArrowRight':
      return withinWidths(width + step);
    case 'Home':
      return NARROWEST;
    case 'End':
      return WIDEST;
    default:
      return undefined;
  }
}
