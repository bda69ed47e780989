// The Entities panel as a whole: types, filter, table, detail. What a person has set up is kept at every step.
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from 'react';
import type { Change } from '../protocol/changes.ts';
import type { PanelState, PanelTarget } from '../protocol/panel.ts';
import { ask, keep, keptState, listen, send } from './bridge.ts';
import { Detail } from './detail.tsx';
import { useChanges, useEntities } from './panel-stores.ts';
import { Table } from './table.tsx';
import { useLiveChanges } from './use-live-changes.ts';
import { useRows } from './use-rows.ts';

const SEARCH_AFTER_MS = 200;

export function App() {
  const [state, setState] = useState<PanelState>();
  const [target, setTarget] = useState<PanelTarget>();
  useEffect(() => {
    const stop = listen((message) => {
      if (message.kind === 'state') setState(message.state);
      if (message.kind === 'show') setTarget(message.target);
    });
    send({ kind: 'ready' });
    return stop;
  }, []);
  if (state === undefined) return <p className="message quiet">Loading…</p>;
  if (state.kind === 'closed') return <Closed why={state.why} />;
  return <Browser pageSize={state.pageSize} target={target} />;
}

function Closed({ why }: { readonly why: string }) {
  return (
    <main className="message">
      <p>{why}</p>
      <div className="actions">
        <button type="button" onClick={() => send({ kind: 'command', command: 'localData.tryAgain' })}>
          Try Again
        </button>
      </div>
    </main>
  );
}

function Browser({ pageSize, target }: { readonly pageSize: number; readonly target: PanelTarget | undefined }) {
  useEntities(({ version }) => version);
  const types = useEntities((state) => state.types);
  const kept = keptState();
  const [entityType, setType] = useState(kept.entityType);
  const [entityId, setId] = useState(kept.entityId);
  useEffect(() => {
    if (target?.entityType === undefined) return;
    setType(target.entityType);
    setId(target.entityId);
    keep({ entityType: target.entityType, ...(target.entityId === undefined ? {} : { entityId: target.entityId }) });
  }, [target]);
  const names = [...types.keys()].sort();
  const chosen = entityType !== undefined && types.has(entityType) ? entityType : names[0];
  if (chosen === undefined) return <Empty />;
  const choose = (name: string) => {
    setType(name);
    setId(undefined);
    keep({ entityType: name, entityId: '', search: '', orderBy: '', scrollTop: 0 });
  };
  const select = (id: string | undefined) => {
    setId(id);
    keep({ entityType: chosen, entityId: id ?? '' });
  };
  return (
    <main className="panel">
      <nav aria-label="Entity types">
        <ul>
          {names.map((name) => (
            <li key={name}>
              <button type="button" aria-current={name === chosen} onClick={() => choose(name)}>
                <span>{name}</span>
                <span className="count">{types.get(name)?.count.toLocaleString()}</span>
              </button>
            </li>
          ))}
        </ul>
      </nav>
      <TypeView
        key={chosen}
        entityType={chosen}
        pageSize={pageSize}
        selected={entityId === '' ? undefined : entityId}
        onSelect={select}
      />
    </main>
  );
}

function Empty() {
  return (
    <main className="message">
      <h2>No entity types yet</h2>
      <p className="quiet">
        An entity type is a table, or a collection of JSON documents, whose every change is recorded.
      </p>
      <div className="actions">
        <button type="button" onClick={() => send({ kind: 'command', command: 'localData.createSampleData' })}>
          Create Sample Data
        </button>
        <button
          type="button"
          className="secondary"
          onClick={() => send({ kind: 'command', command: 'localData.import' })}
        >
          Import…
        </button>
      </div>
    </main>
  );
}

interface TypeViewProps {
  readonly entityType: string;
  readonly pageSize: number;
  readonly selected: string | undefined;
  readonly onSelect: (entityId: string | undefined) => void;
}

function TypeView({ entityType, pageSize, selected, onSelect }: TypeViewProps) {
  const kept = keptState();
  const isKept = kept.entityType === entityType;
  const [typed, setTyped] = useState(isKept ? (kept.search ?? '') : '');
  const [orderBy, setOrderBy] = useState(isKept ? (kept.orderBy ?? '') : '');
  const search = useSettled(typed);
  const window = useEntities((state) => state.types.get(entityType));
  const rows = useRows({ entityType, search, orderBy, pageSize, version: window?.version ?? 0 });
  const waiting = useWaiting(entityType);
  const filter = useRef<HTMLInputElement>(null);
  if (window === undefined) return null;
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === '/' && event.target !== filter.current) {
      event.preventDefault();
      filter.current?.focus();
    }
    if (event.key === 'Escape' && selected !== undefined) onSelect(undefined);
  };
  return (
    <div className={selected === undefined ? 'content' : 'content with-detail'} onKeyDown={onKeyDown}>
      <div className="bar">
        <input
          ref={filter}
          type="search"
          value={typed}
          placeholder={`Filter ${entityType} entities ( / )`}
          aria-label={`Filter ${entityType} entities`}
          onChange={({ target }) => {
            setTyped(target.value);
            keep({ entityType, search: target.value });
          }}
        />
        <Total total={rows.total} all={window.count} />
      </div>
      {rows.error === undefined ? null : <p role="alert">{rows.error}</p>}
      {rows.total === 0 && (
        <p className="quiet nothing">{typed === '' ? 'No entities yet.' : 'Nothing matches the filter.'}</p>
      )}
      <Table
        info={window.info}
        rows={rows}
        waiting={waiting}
        orderBy={orderBy}
        selected={selected}
        onSelect={onSelect}
        onOrder={(order) => {
          setOrderBy(order);
          keep({ entityType, orderBy: order });
        }}
      />
      {selected !== undefined && (
        <Detail entityType={entityType} entityId={selected} onClose={() => onSelect(undefined)} />
      )}
    </div>
  );
}

function Total({ total, all }: { readonly total: number | undefined; readonly all: number }) {
  const processor = useChanges((state) => state.processor);
  const text =
    total === undefined || total === all
      ? all.toLocaleString()
      : `${total.toLocaleString()} of ${all.toLocaleString()}`;
  return (
    <span className="quiet" role="status">
      {text}
      {processor === 'stopped' ? ' · processing is paused' : ''}
    </span>
  );
}

/** By entity the change that is in its way: the first of its lane that is not done. */
function useWaiting(entityType: string): ReadonlyMap<string, Change> {
  const changes = useLiveChanges({ entityType }, async () => (await ask('waiting', { entityType })).changes);
  return useMemo(() => {
    const byEntity = new Map<string, Change>();
    for (const change of changes ?? []) if (!byEntity.has(change.entityId)) byEntity.set(change.entityId, change);
    return byEntity;
  }, [changes]);
}

function useSettled(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), SEARCH_AFTER_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
