// The entities of one type: a virtualised grid with search, sort, live rows and marks for changes that are not done.
import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, type ReactNode, useCallback, useEffect, useRef, useState } from 'react';
import { useStore } from 'zustand';
import type { Entity, EntityMark } from '../protocol/changes.ts';
import type { TypeView } from '../protocol/panel.ts';
import type { EntityWindow } from '../stores/entities-store.ts';
import { ColumnHeading } from './column-heading.tsx';
import { type Column, useColumns } from './columns.ts';
import { cellText, kindOf } from './format-value.ts';
import { usePanel, usePanelVersion } from './panel-context.ts';
import { StatusMark } from './status-mark.tsx';
import type { RowPages } from './row-pages.ts';
import { useEntityPages } from './use-entity-pages.ts';
import { changeTypeView, typeView, viewStore } from './view-state.ts';

const ROW_HEIGHT = 24;
const SEARCH_AFTER_MS = 200;
const GHOSTS_SHOWN = 20;

export function EntityTable({ window }: { readonly window: EntityWindow }): ReactNode {
  const model = usePanel();
  usePanelVersion();
  const { entityType } = window.info;
  const view = useStore(viewStore, (state) => typeView(state, entityType));
  const pages = useEntityPages(window, view.search, view.orderBy);
  return (
    <section className="entities" id="entities" role="tabpanel" aria-labelledby={`type-${entityType}`}>
      <Toolbar window={window} view={view} total={pages.total} />
      <NotInserted entityType={entityType} marks={model.waiting.notInserted} />
      <Body window={window} view={view} pages={pages} />
    </section>
  );
}

function Toolbar({
  window,
  view,
  total,
}: {
  readonly window: EntityWindow;
  readonly view: TypeView;
  readonly total: number;
}): ReactNode {
  const { host } = usePanel();
  const { entityType } = window.info;
  const [text, setText] = useState(view.search);
  // Cleared or set from elsewhere: the field follows.
  useEffect(() => setText(view.search), [view.search]);
  useEffect(() => {
    const timer = setTimeout(() => {
      if (text !== view.search) changeTypeView(entityType, { search: text, scrollTop: 0 });
    }, SEARCH_AFTER_MS);
    return () => clearTimeout(timer);
    // What is searched for now is no new word typed.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [text, entityType]);
  const found =
    view.search === '' ? total.toLocaleString() : `${total.toLocaleString()} of ${window.count.toLocaleString()}`;
  return (
    <div className="toolbar">
      <div className="search">
        <span className="codicon codicon-search" aria-hidden="true" />
        <input
          id="search"
          type="search"
          value={text}
          placeholder={`Filter ${entityType} ( / )`}
          aria-label={`Filter ${entityType}`}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === 'Escape') setText('');
            if (event.key !== 'ArrowDown') return;
            event.preventDefault();
            document.querySelector<HTMLElement>('.grid')?.focus();
          }}
        />
        {text !== '' && (
          <button
            type="button"
            className="icon clear"
            title="Clear Filter (Escape)"
            aria-label="Clear Filter"
            onClick={() => {
              setText('');
              document.querySelector<HTMLInputElement>('#search')?.focus();
            }}
          >
            <span className="codicon codicon-close" aria-hidden="true" />
          </button>
        )}
      </div>
      <span className="found" role="status">
        {found} {total === 1 && view.search === '' ? 'entity' : 'entities'}
      </span>
      <button
        type="button"
        className="icon"
        title={`New ${entityType}…`}
        aria-label={`New ${entityType}…`}
        onClick={() => host.run('localData.upsertEntity', { target: { entityType } })}
      >
        <span className="codicon codicon-add" aria-hidden="true" />
      </button>
      <button
        type="button"
        className="icon"
        title="Import…"
        aria-label="Import…"
        onClick={() => host.run('localData.import', { target: { entityType } })}
      >
        <span className="codicon codicon-cloud-download" aria-hidden="true" />
      </button>
    </div>
  );
}

/** Entities that are not there because their insert waits: without this a failed insert would be nowhere. */
function NotInserted({
  entityType,
  marks,
}: {
  readonly entityType: string;
  readonly marks: readonly EntityMark[];
}): ReactNode {
  if (marks.length === 0) return null;
  return (
    <ul className="ghosts" aria-label="Not inserted yet">
      {marks.slice(0, GHOSTS_SHOWN).map(({ entityId, status, reason }) => (
        <li key={entityId}>
          <button
            type="button"
            className="ghost"
            title={reason ?? ''}
            onClick={() => changeTypeView(entityType, { selectedId: entityId })}
          >
            <StatusMark status={status} reason={reason} />
            <span className="ghost-id">{entityId}</span>
            <span className="ghost-reason">{reason ?? 'waits'}</span>
          </button>
        </li>
      ))}
      {marks.length > GHOSTS_SHOWN && <li className="more">and more in the Changes view</li>}
    </ul>
  );
}

interface BodyProps {
  readonly window: EntityWindow;
  readonly view: TypeView;
  readonly pages: RowPages;
}

function Body({ window, view, pages }: BodyProps): ReactNode {
  const { waiting } = usePanel();
  const { entityType, key } = window.info;
  const scroller = useRef<HTMLDivElement>(null);
  const columns = useColumns(window, pages, view.widths);
  const [headingStop, setHeadingStop] = useState(0);
  const virtual = useVirtualizer({
    count: pages.total,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 12,
    initialOffset: view.scrollTop,
  });
  const items = virtual.getVirtualItems();
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  useEffect(() => pages.show(first, last), [pages, first, last]);
  const shownIds = JSON.stringify(items.map(({ index }) => idOf(pages.row(index), key)).filter((id) => id !== null));
  useEffect(
    () => waiting.show({ entityType, entityIds: JSON.parse(shownIds) as string[] }),
    [waiting, entityType, shownIds],
  );
  const [moved, setActive] = useState<number>();
  const selectedIndex = items.find(({ index }) => String(pages.row(index)?.[key]) === view.selectedId)?.index;
  const active = Math.min(moved ?? selectedIndex ?? 0, Math.max(0, pages.total - 1));
  const selectRead = useSelectionOnceRead(pages, entityType, key);
  const select = (index: number): void => {
    setActive(index);
    selectRead(index);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    // A heading has keys of its own.
    if (event.target !== event.currentTarget) return;
    const pageRows = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_HEIGHT) - 2);
    const next = moveActive(event.key, active, pages.total, pageRows);
    if (next !== undefined) {
      event.preventDefault();
      setActive(next);
      virtual.scrollToIndex(next);
      if (view.selectedId !== null) select(next);
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      select(active);
      if (event.key === 'Enter')
        requestAnimationFrame(() => document.querySelector<HTMLElement>('.details .close')?.focus());
    } else if (event.key === 'Escape') changeTypeView(entityType, { selectedId: null });
  };
  if (pages.error !== null) {
    return (
      <Empty icon="error" text={pages.error}>
        <button type="button" onClick={() => pages.retry()}>
          Try Again
        </button>
      </Empty>
    );
  }
  if (pages.total === 0)
    return pages.isLoading ? <Empty icon="loading" text="Reading…" /> : <NothingThere window={window} view={view} />;
  const template = `28px ${columns.map((column) => `${column.width}px`).join(' ')} minmax(0, 1fr)`;
  return (
    <div
      ref={scroller}
      className="grid"
      role="grid"
      tabIndex={0}
      aria-label={`${entityType} entities`}
      aria-rowcount={pages.total + 1}
      aria-colcount={columns.length + 1}
      aria-activedescendant={items.some((item) => item.index === active) ? `row-${active}` : undefined}
      onKeyDown={onKeyDown}
      onScrollEnd={({ currentTarget }) => changeTypeView(entityType, { scrollTop: currentTarget.scrollTop })}
    >
      <div className="grid-head" role="rowgroup">
        <div
          className="grid-row"
          role="row"
          aria-rowindex={1}
          style={{ gridTemplateColumns: template }}
          onKeyDown={moveAmongHeadings}
        >
          <span role="columnheader" aria-colindex={1} className="mark-head">
            <span className="hidden-text">Changes</span>
          </span>
          {columns.map((column, index) => (
            <ColumnHeading
              key={column.name}
              column={column}
              colIndex={index + 2}
              orderBy={view.orderBy}
              isTabStop={index === Math.min(headingStop, columns.length - 1)}
              onFocus={() => setHeadingStop(index)}
              onOrder={(orderBy) => changeTypeView(entityType, { orderBy })}
              onWidth={(width) => changeTypeView(entityType, { widths: { ...view.widths, [column.name]: width } })}
            />
          ))}
        </div>
      </div>
      <div className="grid-body" role="rowgroup" style={{ height: `${virtual.getTotalSize()}px` }}>
        {items.map((item) => (
          <Row
            key={item.index}
            index={item.index}
            top={item.start}
            template={template}
            columns={columns}
            idField={key}
            entity={pages.row(item.index)}
            isActive={item.index === active}
            selectedId={view.selectedId}
            mark={waiting.markOf(idOf(pages.row(item.index), key) ?? '')}
            onSelect={() => select(item.index)}
          />
        ))}
      </div>
    </div>
  );
}

function idOf(entity: Entity | undefined, key: string): string | null {
  return entity === undefined ? null : String(entity[key]);
}

/** Left and right between the headings, of which one is a stop of the Tab key. */
function moveAmongHeadings(event: KeyboardEvent<HTMLElement>): void {
  const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
  const headings = [...event.currentTarget.querySelectorAll<HTMLElement>('.sort')];
  const at = headings.findIndex((heading) => heading === document.activeElement);
  if (step === 0 || at === -1) return;
  event.preventDefault();
  headings[Math.max(0, Math.min(headings.length - 1, at + step))]?.focus();
}

interface RowProps {
  readonly index: number;
  readonly top: number;
  readonly template: string;
  readonly columns: readonly Column[];
  readonly idField: string;
  readonly entity: Entity | undefined;
  readonly isActive: boolean;
  readonly selectedId: string | null;
  readonly mark: EntityMark | undefined;
  readonly onSelect: () => void;
}

function Row({
  index,
  top,
  template,
  columns,
  idField,
  entity,
  isActive,
  selectedId,
  mark,
  onSelect,
}: RowProps): ReactNode {
  const id = entity === undefined ? undefined : String(entity[idField]);
  const flashes = useChanged(entity, id);
  const classes = ['grid-row', isActive ? 'active' : '', flashes ? 'flash' : '', index % 2 === 1 ? 'odd' : ''];
  return (
    <div
      role="row"
      id={`row-${index}`}
      aria-rowindex={index + 2}
      aria-selected={id !== undefined && id === selectedId}
      className={classes.join(' ')}
      style={{ gridTemplateColumns: template, transform: `translateY(${top}px)` }}
      onClick={onSelect}
    >
      <span role="gridcell" aria-colindex={1} className="mark">
        {mark !== undefined && <StatusMark status={mark.status} reason={mark.reason} />}
      </span>
      {columns.map(({ name }, column) => {
        const value = entity?.[name];
        return (
          <span
            key={name}
            role="gridcell"
            aria-colindex={column + 2}
            className={`cell ${entity === undefined ? 'unread' : kindOf(value)}`}
          >
            {entity === undefined ? '' : cellText(value)}
          </span>
        );
      })}
    </div>
  );
}

/** Selects the entity of a row: a row that was jumped to, once it has been read, unless another is selected meanwhile. */
function useSelectionOnceRead(pages: RowPages, entityType: string, key: string): (index: number) => void {
  const awaited = useRef<number>(undefined);
  const trySelecting = useCallback(() => {
    const entity = awaited.current === undefined ? undefined : pages.row(awaited.current);
    if (entity === undefined) return;
    awaited.current = undefined;
    changeTypeView(entityType, { selectedId: String(entity[key]) });
  }, [pages, entityType, key]);
  useEffect(() => {
    awaited.current = undefined;
    return pages.subscribe(trySelecting);
  }, [pages, trySelecting]);
  return (index) => {
    awaited.current = index;
    trySelecting();
  };
}

/** By content: a page that is read again brings new objects of the same entities. */
function isSame(one: Entity, other: Entity | undefined): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

/** True for a moment after an entity shown here changed. */
function useChanged(entity: Entity | undefined, id: string | undefined): boolean {
  const before = useRef<{ entity: Entity | undefined; id: string | undefined }>({ entity, id });
  const [flashes, setFlashes] = useState(false);
  useEffect(() => {
    const changed =
      before.current.id === id && before.current.entity !== undefined && !isSame(before.current.entity, entity);
    before.current = { entity, id };
    if (!changed) return undefined;
    setFlashes(true);
    const timer = setTimeout(() => setFlashes(false), 900);
    return () => clearTimeout(timer);
  }, [entity, id]);
  return flashes;
}

function moveActive(key: string, active: number, total: number, pageRows: number): number | undefined {
  const within = (index: number): number => Math.max(0, Math.min(total - 1, index));
  switch (key) {
    case 'ArrowDown':
      return within(active + 1);
    case 'ArrowUp':
      return within(active - 1);
    case 'PageDown':
      return within(active + pageRows);
    case 'PageUp':
      return within(active - pageRows);
    case 'Home':
      return 0;
    case 'End':
      return within(total - 1);
    default:
      return undefined;
  }
}

function NothingThere({ window, view }: { readonly window: EntityWindow; readonly view: TypeView }): ReactNode {
  const { host } = usePanel();
  const { entityType } = window.info;
  if (view.search !== '') {
    return (
      <Empty icon="search" text={`No ${entityType} contains “${view.search}”.`}>
        <button type="button" onClick={() => changeTypeView(entityType, { search: '' })}>
          Clear Filter
        </button>
      </Empty>
    );
  }
  return (
    <Empty icon="inbox" text={`There is no ${entityType} yet.`}>
      <button type="button" onClick={() => host.run('localData.upsertEntity', { target: { entityType } })}>
        New {entityType}…
      </button>
      <button
        type="button"
        className="secondary"
        onClick={() => host.run('localData.import', { target: { entityType } })}
      >
        Import…
      </button>
    </Empty>
  );
}

function Empty({
  icon,
  text,
  children,
}: {
  readonly icon: string;
  readonly text: string;
  readonly children?: ReactNode;
}): ReactNode {
  return (
    <div className="notice within">
      <span
        className={`codicon codicon-${icon} notice-icon${icon === 'loading' ? ' codicon-modifier-spin' : ''}`}
        aria-hidden="true"
      />
      <p>{text}</p>
      <div className="buttons">{children}</div>
    </div>
  );
}
