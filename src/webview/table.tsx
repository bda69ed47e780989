// The table of one entity type: only the rows in sight exist. Whole use by keyboard: arrows, Page Up and Down, Home, End.
import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, useEffect, useRef } from 'react';
import type { Change, ChangeStatus, Entity, JsonValue } from '../protocol/changes.ts';
import type { EntityTypeInfo } from '../protocol/engine.ts';
import { keep, keptState } from './bridge.ts';
import type { Rows } from './use-rows.ts';

const ROW_HEIGHT = 26;
const COLUMNS_SHOWN = 12;

export interface TableProps {
  readonly info: EntityTypeInfo;
  readonly rows: Rows;
  readonly waiting: ReadonlyMap<string, Change>;
  readonly orderBy: string;
  readonly selected: string | undefined;
  readonly onSelect: (entityId: string) => void;
  readonly onOrder: (orderBy: string) => void;
}

export function Table({ info, rows, waiting, orderBy, selected, onSelect, onOrder }: TableProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const focused = useRef(0);
  const columns = columnsOf(info, rows.row(0));
  const total = rows.total ?? 0;
  const virtual = useVirtualizer({
    count: total,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 12,
    initialOffset: keptState().scrollTop ?? 0,
  });
  const items = virtual.getVirtualItems();
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  useEffect(() => rows.see(first, last), [rows, first, last]);
  const select = (index: number) => {
    const at = Math.max(0, Math.min(total - 1, index));
    const entity = rows.row(at);
    focused.current = at;
    virtual.scrollToIndex(at);
    if (entity !== undefined) onSelect(String(entity[info.key]));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = stepOf(event.key, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_HEIGHT), total);
    if (step === undefined) return;
    event.preventDefault();
    select(selected === undefined ? 0 : focused.current + step);
  };
  const widths = columns.map((name) => widthOf(info, name));
  const template = `28px ${widths.map((width) => `minmax(${width}px, ${width}fr)`).join(' ')}`;
  const minWidth = widths.reduce((sum, width) => sum + width, 28);
  return (
    <div
      className="table"
      role="grid"
      aria-label={`${info.entityType} entities`}
      aria-rowcount={total + 1}
      aria-colcount={columns.length + 1}
      ref={scroller}
      tabIndex={0}
      aria-activedescendant={selected === undefined ? undefined : rowId(selected)}
      onKeyDown={onKeyDown}
      onScroll={() => keep({ scrollTop: scroller.current?.scrollTop ?? 0 })}
    >
      <div className="head row" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template, minWidth }}>
        <div role="columnheader" className="cell mark" aria-label="State" />
        {columns.map((name) => (
          <ColumnHead
            key={name}
            name={name}
            orderBy={orderBy}
            canSort={info.kind === 'table' || name === info.key}
            onOrder={onOrder}
          />
        ))}
      </div>
      <div className="body" role="presentation" style={{ height: virtual.getTotalSize(), minWidth }}>
        {items.map(({ index, start }) => {
          const entity = rows.row(index);
          const id = entity === undefined ? undefined : String(entity[info.key]);
          const isSelected = id !== undefined && id === selected;
          if (isSelected) focused.current = index;
          return (
            <div
              key={index}
              id={id === undefined ? undefined : rowId(id)}
              role="row"
              aria-rowindex={index + 2}
              aria-selected={isSelected}
              className={isSelected ? 'row selected' : 'row'}
              style={{ gridTemplateColumns: template, transform: `translateY(${start}px)` }}
              onClick={() => select(index)}
            >
              <Mark status={id === undefined ? undefined : waiting.get(id)?.status} />
              {columns.map((name) => (
                <div key={name} role="gridcell" className="cell" title={textOf(entity?.[name])}>
                  {textOf(entity?.[name])}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface ColumnHeadProps {
  readonly name: string;
  readonly orderBy: string;
  readonly canSort: boolean;
  readonly onOrder: (orderBy: string) => void;
}

function ColumnHead({ name, orderBy, canSort, onOrder }: ColumnHeadProps) {
  const direction = orderBy === name ? 'ascending' : orderBy === `-${name}` ? 'descending' : 'none';
  const next = direction === 'ascending' ? `-${name}` : direction === 'descending' ? '' : name;
  const arrow = direction === 'ascending' ? ' ↑' : direction === 'descending' ? ' ↓' : '';
  return (
    <div role="columnheader" className="cell" aria-sort={direction}>
      {canSort ? (
        <button type="button" onClick={() => onOrder(next)} title={`Sort by ${name}`}>
          {name}
          {arrow}
        </button>
      ) : (
        name
      )}
    </div>
  );
}

const MARKS: Partial<Record<ChangeStatus, readonly [sign: string, words: string]>> = {
  failed: ['✕', 'A change failed'],
  conflicted: ['✕', 'A change is in conflict'],
  blocked: ['◼', 'A change is blocked'],
  retrying: ['↻', 'A change is being retried'],
  pending: ['•', 'A change is pending'],
};

function Mark({ status }: { readonly status: ChangeStatus | undefined }) {
  const [sign, words] = (status === undefined ? undefined : MARKS[status]) ?? ['', ''];
  return (
    <div role="gridcell" className={`cell mark ${status ?? ''}`} title={words}>
      {sign !== '' && (
        <span role="img" aria-label={words}>
          {sign}
        </span>
      )}
    </div>
  );
}

/** The key first; of documents what the first of them has. */
function columnsOf(info: EntityTypeInfo, sample: Entity | undefined): string[] {
  const names = info.kind === 'table' ? info.columns.map(({ name }) => name) : Object.keys(sample ?? {});
  return [info.key, ...names.filter((name) => name !== info.key)].slice(0, COLUMNS_SHOWN);
}

/** The same for the head and for each row, whatever they hold. */
function widthOf({ key, columns }: EntityTypeInfo, name: string): number {
  if (name === key) return 110;
  const type = columns.find((column) => column.name === name)?.type ?? '';
  if (/^(integer|smallint|bigint|numeric|real|double|boolean)/.test(type)) return 96;
  return /^(timestamp|json)/.test(type) ? 200 : 140;
}

function stepOf(key: string, page: number, total: number): number | undefined {
  const steps: Record<string, number> = {
    ArrowDown: 1,
    ArrowUp: -1,
    PageDown: page,
    PageUp: -page,
    Home: -total,
    End: total,
  };
  return steps[key];
}

function rowId(entityId: string): string {
  return `row-${encodeURIComponent(entityId)}`;
}

export function textOf(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
