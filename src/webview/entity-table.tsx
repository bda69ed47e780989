// The entities of one type: a virtualised grid with search, sort, live rows and marks for changes that are not done.
import { useVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { useStore } from 'zustand';
import type { Change, Entity } from '../protocol/changes.ts';
import type { TypeView } from '../protocol/panel.ts';
import type { EntityWindow } from '../stores/entities-store.ts';
import { cellText, kindOf } from './format-value.ts';
import { usePanel, usePanelVersion } from './panel-context.ts';
import { StatusMark, mostTroubled } from './status-mark.tsx';
import { type EntityPages, useEntityPages } from './use-entity-pages.ts';
import { changeTypeView, typeView, viewStore } from './view-state.ts';

const ROW_HEIGHT = 24;
const SEARCH_AFTER_MS = 200;
const GHOSTS_SHOWN = 20;
const KEY_WIDTH = 112;

interface Column {
  readonly name: string;
  readonly width: number;
}

export function EntityTable({ window }: { readonly window: EntityWindow }): ReactNode {
  const model = usePanel();
  usePanelVersion();
  const { entityType } = window.info;
  const view = useStore(viewStore, (state) => typeView(state, entityType));
  const pages = useEntityPages(window, view.search, view.orderBy);
  useEffect(() => void model.loadWaiting(entityType), [model, entityType, model.state]);
  const waiting = model.waitingOf(entityType);
  return (
    <section className="entities" id="entities" role="tabpanel" aria-labelledby={`type-${entityType}`}>
      <Toolbar window={window} view={view} total={pages.total} />
      <Ghosts entityType={entityType} waiting={waiting} />
      <Body window={window} view={view} pages={pages} waiting={waiting} />
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
function Ghosts({
  entityType,
  waiting,
}: {
  readonly entityType: string;
  readonly waiting: ReadonlyMap<string, readonly Change[]>;
}): ReactNode {
  const ghosts = [...waiting].filter(([, lane]) => lane[0]?.operation === 'insert' && lane[0].status !== 'pending');
  if (ghosts.length === 0) return null;
  return (
    <ul className="ghosts" aria-label="Not inserted yet">
      {ghosts.slice(0, GHOSTS_SHOWN).map(([entityId, lane]) => {
        const change = mostTroubled(lane);
        return (
          <li key={entityId}>
            <button
              type="button"
              className="ghost"
              title={change?.reason ?? ''}
              onClick={() => changeTypeView(entityType, { selectedId: entityId })}
            >
              {change !== undefined && <StatusMark status={change.status} reason={change.reason} />}
              <span className="ghost-id">{entityId}</span>
              <span className="ghost-reason">{change?.reason ?? 'waits'}</span>
            </button>
          </li>
        );
      })}
      {ghosts.length > GHOSTS_SHOWN && (
        <li className="more">and {ghosts.length - GHOSTS_SHOWN} more in the Changes view</li>
      )}
    </ul>
  );
}

interface BodyProps {
  readonly window: EntityWindow;
  readonly view: TypeView;
  readonly pages: EntityPages;
  readonly waiting: ReadonlyMap<string, readonly Change[]>;
}

function Body({ window, view, pages, waiting }: BodyProps): ReactNode {
  const { entityType, key } = window.info;
  const scroller = useRef<HTMLDivElement>(null);
  const columns = useColumns(window, pages);
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
  const [moved, setActive] = useState<number>();
  const selectedIndex = items.find(({ index }) => String(pages.row(index)?.[key]) === view.selectedId)?.index;
  const active = Math.min(moved ?? selectedIndex ?? 0, Math.max(0, pages.total - 1));
  const select = (index: number): void => {
    const entity = pages.row(index);
    setActive(index);
    if (entity !== undefined) changeTypeView(entityType, { selectedId: String(entity[key]) });
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
        <button type="button" onClick={pages.retry}>
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
          <span role="columnheader" className="mark-head">
            <span className="hidden-text">Changes</span>
          </span>
          {columns.map((column, index) => (
            <Header
              key={column.name}
              column={column}
              isFirst={index === 0}
              entityType={entityType}
              orderBy={view.orderBy}
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
            waiting={waiting}
            onSelect={() => select(item.index)}
          />
        ))}
      </div>
    </div>
  );
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

function Header({
  column,
  isFirst,
  entityType,
  orderBy,
}: {
  readonly column: Column;
  readonly isFirst: boolean;
  readonly entityType: string;
  readonly orderBy: string;
}): ReactNode {
  const direction = orderBy === column.name ? 'ascending' : orderBy === `-${column.name}` ? 'descending' : 'none';
  const next = direction === 'none' ? column.name : direction === 'ascending' ? `-${column.name}` : '';
  return (
    <span role="columnheader" aria-sort={direction}>
      <button
        type="button"
        className="sort"
        tabIndex={isFirst ? 0 : -1}
        onClick={() => changeTypeView(entityType, { orderBy: next })}
        title={`Sort by ${column.name}`}
      >
        {column.name}
        {direction !== 'none' && (
          <span className={`codicon codicon-arrow-${direction === 'ascending' ? 'up' : 'down'}`} aria-hidden="true" />
        )}
      </button>
    </span>
  );
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
  readonly waiting: ReadonlyMap<string, readonly Change[]>;
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
  waiting,
  onSelect,
}: RowProps): ReactNode {
  const id = entity === undefined ? undefined : String(entity[idField]);
  const change = id === undefined ? undefined : mostTroubled(waiting.get(id) ?? []);
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
      <span role="gridcell" className="mark">
        {change !== undefined && <StatusMark status={change.status} reason={change.reason} />}
      </span>
      {columns.map(({ name }) => {
        const value = entity?.[name];
        return (
          <span key={name} role="gridcell" className={`cell ${entity === undefined ? 'unread' : kindOf(value)}`}>
            {entity === undefined ? '' : cellText(value)}
          </span>
        );
      })}
    </div>
  );
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

function useColumns(window: EntityWindow, pages: EntityPages): Column[] {
  const { info } = window;
  const sample = info.kind === 'document' ? Array.from({ length: 50 }, (_, index) => pages.row(index)) : [];
  const documentFields = [...new Set(sample.flatMap((entity) => Object.keys(entity ?? {})))].filter(
    (name) => name !== info.key,
  );
  const names = JSON.stringify(documentFields.slice(0, 40));
  return useMemo(() => {
    if (info.kind === 'document') {
      const fields = JSON.parse(names) as string[];
      return [{ name: info.key, width: 180 }, ...fields.map((name) => ({ name, width: 160 }))];
    }
    return info.columns.map(({ name, type }) => {
      const width = name === info.key && type === 'text' ? KEY_WIDTH : widthOf(type);
      return { name, width: Math.max(width, name.length * 8 + 28) };
    });
  }, [info, names]);
}

function widthOf(type: string): number {
  if (type === 'boolean') return 72;
  if (/^(smallint|integer|bigint|numeric|real|double)/.test(type)) return 96;
  if (type.startsWith('timestamp')) return 176;
  if (type === 'date') return 100;
  if (type === 'uuid') return 280;
  return type.startsWith('json') ? 220 : 160;
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
