// One entity: its fields, editable, and its changes with what can be done about them. Drafts outlive hiding and reload.
import { type KeyboardEvent, type ReactNode, useCallback, useEffect, useState } from 'react';
import { useStore } from 'zustand';
import {
  type Change,
  type ChangeOrigin,
  type Entity,
  type JsonObject,
  type JsonValue,
  WAITING_STATUSES,
} from '../protocol/changes.ts';
import type { ColumnInfo, EntityTypeInfo } from '../protocol/engine.ts';
import { conflictLines } from './conflict-lines.ts';
import { editText, parseText, timeOf } from './format-value.ts';
import { useLiveChanges, usePanel } from './panel-context.ts';
import { StatusMark } from './status-mark.tsx';
import { changeDraft, draftKey, dropDraft, viewStore } from './view-state.ts';

/** What a draft holds for a field that is to be null: a sign no one types. */
const NULL_TEXT = '\u2400';
const NO_DRAFT: Readonly<Record<string, string>> = {};

interface Props {
  readonly info: EntityTypeInfo;
  readonly entityId: string;
  readonly onClose: () => void;
}

interface Loaded {
  readonly entity: Entity | null;
  readonly changes: readonly Change[];
}

export function EntityDetails({ info, entityId, onClose }: Props): ReactNode {
  const { host, stores } = usePanel();
  const { entityType } = info;
  // Counts up with commits too large to name what they touched.
  const reloads = useStore(stores.entities, (entities) => entities.types.get(entityType)?.reloads ?? 0);
  const [loaded, setLoaded] = useState<Loaded | undefined>();
  const [error, setError] = useState<string | null>(null);
  const load = useCallback(() => {
    host.call('entity', { entityType, entityId }).then(
      (answer) => {
        setLoaded(answer);
        setError(null);
      },
      (reason: unknown) => setError(reason instanceof Error ? reason.message : String(reason)),
    );
  }, [host, entityType, entityId]);
  useEffect(load, [load, reloads]);
  useLiveChanges({ entityType, entityId }, load);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    onClose();
  };
  return (
    <section className="details" aria-label={`${entityType} ${entityId}`} onKeyDown={onKeyDown}>
      <header className="details-head">
        <h2 title={entityId}>
          <span className="details-type">{entityType}</span> {entityId}
        </h2>
        {loaded?.entity !== null && (
          <button
            type="button"
            className="icon"
            aria-label={`Delete ${entityType} ${entityId}…`}
            title="Delete…"
            onClick={() => host.run('localData.deleteEntity', { target: { entityType, entityId } })}
          >
            <span className="codicon codicon-trash" aria-hidden="true" />
          </button>
        )}
        <button
          type="button"
          className="icon close"
          aria-label="Close details"
          title="Close (Escape)"
          onClick={onClose}
        >
          <span className="codicon codicon-close" aria-hidden="true" />
        </button>
      </header>
      <div className="details-body">
        {error !== null && (
          <p className="error" role="alert">
            {error}
          </p>
        )}
        {loaded?.entity === null && <p className="absent">There is no such {entityType} now. Its changes tell why.</p>}
        {loaded !== undefined && (
          <Changes title="Needs attention" changes={loaded.changes.filter(isWaiting).toReversed()} />
        )}
        {loaded !== undefined && loaded.entity !== null && (
          <Fields info={info} entityId={entityId} entity={loaded.entity} />
        )}
        {loaded !== undefined && (
          <Changes title="Changes done" changes={loaded.changes.filter((change) => !isWaiting(change))} />
        )}
      </div>
    </section>
  );
}

interface FieldsProps {
  readonly info: EntityTypeInfo;
  readonly entityId: string;
  readonly entity: Entity;
}

function Fields({ info, entityId, entity }: FieldsProps): ReactNode {
  const { host } = usePanel();
  const { entityType } = info;
  const draft = useStore(viewStore, (state) => state.drafts[draftKey(entityType, entityId)] ?? NO_DRAFT);
  const [error, setError] = useState<string | null>(null);
  const [isSaving, setIsSaving] = useState(false);
  const isDirty = Object.keys(draft).length > 0;
  const save = async (): Promise<void> => {
    setIsSaving(true);
    setError(null);
    try {
      await host.call('save', { entityType, entityId, data: readDraft(info, draft) });
      dropDraft(entityType, entityId);
    } catch (reason) {
      setError(reason instanceof Error ? reason.message : String(reason));
    } finally {
      setIsSaving(false);
    }
  };
  const revert = (): void => {
    setError(null);
    dropDraft(entityType, entityId);
  };
  const saveOnKeys = (event: KeyboardEvent): void => {
    if (event.key !== 's' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (isDirty) void save();
  };
  return (
    <section className="fields" aria-label="Fields" onKeyDown={saveOnKeys}>
      {fieldsOf(info, entity).map((column) => (
        <Field
          key={column.name}
          column={column}
          isDocument={info.kind === 'document'}
          isReadOnly={column.generated || column.name === info.key}
          value={entity[column.name]}
          draft={draft[column.name]}
          onDraft={(text) => changeDraft(entityType, entityId, column.name, text)}
        />
      ))}
      {isDirty && (
        <div className="save-bar">
          {error !== null && (
            <p className="error" role="alert">
              {error}
            </p>
          )}
          <div className="buttons">
            <button type="button" disabled={isSaving} onClick={() => void save()}>
              {isSaving ? 'Saving…' : 'Save'}
            </button>
            <button type="button" className="secondary" disabled={isSaving} onClick={revert}>
              Revert
            </button>
          </div>
        </div>
      )}
    </section>
  );
}

function readDraft(info: EntityTypeInfo, draft: Readonly<Record<string, string>>): JsonObject {
  const data: JsonObject = {};
  for (const [name, text] of Object.entries(draft)) {
    const type = info.columns.find((column) => column.name === name)?.type ?? 'text';
    try {
      data[name] = text === NULL_TEXT ? null : parseText(text, type, info.kind === 'document');
    } catch (reason) {
      throw new Error(`${name}: ${reason instanceof Error ? reason.message : String(reason)}`, { cause: reason });
    }
  }
  return data;
}

function fieldsOf(info: EntityTypeInfo, entity: Entity): ColumnInfo[] {
  if (info.kind === 'table') return [...info.columns];
  const names = [info.key, ...Object.keys(entity).filter((name) => name !== info.key)];
  return names.map((name) => ({
    name,
    type: jsonType(entity[name]),
    notNull: false,
    hasDefault: false,
    generated: false,
  }));
}

function jsonType(value: JsonValue | undefined): string {
  if (value === null || value === undefined) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

interface FieldProps {
  readonly column: ColumnInfo;
  readonly isDocument: boolean;
  readonly isReadOnly: boolean;
  readonly value: JsonValue | undefined;
  readonly draft: string | undefined;
  readonly onDraft: (text: string | null) => void;
}

function Field({ column, isDocument, isReadOnly, value, draft, onDraft }: FieldProps): ReactNode {
  const id = `field-${column.name}`;
  const original = editText(value);
  const isNull = draft === undefined ? value === null || value === undefined : draft === NULL_TEXT;
  const text = draft === undefined ? original : draft === NULL_TEXT ? '' : draft;
  const change = (next: string): void => onDraft(next === original && value !== null ? null : next);
  const mayBeNull = !isReadOnly && !column.notNull && !isDocument;
  return (
    <div className={draft === undefined ? 'field' : 'field changed'}>
      <div className="field-head">
        <label htmlFor={id}>{column.name}</label>
        <span className="field-type">
          {column.type}
          {column.generated ? ' · generated' : ''}
        </span>
        {mayBeNull && !isNull && (
          <button type="button" className="set-null" onClick={() => onDraft(value === null ? null : NULL_TEXT)}>
            Set null
          </button>
        )}
      </div>
      <FieldInput id={id} column={column} text={text} isNull={isNull} isReadOnly={isReadOnly} onChange={change} />
    </div>
  );
}

interface FieldInputProps {
  readonly id: string;
  readonly column: ColumnInfo;
  readonly text: string;
  readonly isNull: boolean;
  readonly isReadOnly: boolean;
  readonly onChange: (text: string) => void;
}

function FieldInput({ id, column, text, isNull, isReadOnly, onChange }: FieldInputProps): ReactNode {
  if (!isReadOnly && (column.type === 'boolean' || column.enumValues !== undefined)) {
    const choices = column.enumValues ?? ['true', 'false'];
    return (
      <select id={id} value={text} onChange={(event) => onChange(event.target.value)}>
        {isNull && <option value="">null</option>}
        {choices.map((choice) => (
          <option key={choice} value={choice}>
            {choice}
          </option>
        ))}
      </select>
    );
  }
  const lines = text.split('\n').length;
  if (lines > 1 || text.length > 60 || /^jsonb?$/.test(column.type)) {
    return (
      <textarea
        id={id}
        value={text}
        rows={Math.min(12, Math.max(2, lines))}
        placeholder={isNull ? 'null' : ''}
        readOnly={isReadOnly}
        spellCheck={false}
        onChange={(event) => onChange(event.target.value)}
      />
    );
  }
  return (
    <input
      id={id}
      type="text"
      value={text}
      placeholder={isNull ? 'null' : ''}
      readOnly={isReadOnly}
      spellCheck={false}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

/** Not done: waits for the processor or for a person; what stands in the way comes before the fields. */
function isWaiting(change: Change): boolean {
  return WAITING_STATUSES.some((status) => status === change.status);
}

function Changes({ title, changes }: { readonly title: string; readonly changes: readonly Change[] }): ReactNode {
  if (changes.length === 0) return null;
  return (
    <section className="changes" aria-label={title}>
      <h3 className="section-title">{title}</h3>
      <ul>
        {changes.map((change) => (
          <ChangeItem key={change.id} change={change} />
        ))}
      </ul>
    </section>
  );
}

const ORIGINS: Readonly<Record<ChangeOrigin, string>> = { local: '', sql: ' · SQL', remote: ' · from the server' };

function ChangeItem({ change }: { readonly change: Change }): ReactNode {
  const { host } = usePanel();
  const { id: changeId, status } = change;
  const isRepairable = status === 'failed' || status === 'retrying';
  const waits = isWaiting(change);
  const isOurs = change.origin !== 'remote';
  const isInEffect = status === 'applied' || status === 'synced';
  return (
    <li className={`change ${status}`}>
      <StatusMark status={status} reason={change.reason} />
      <div className="change-text">
        <div className="change-title">
          {change.operation} <span className="change-status">{status}</span>
          <span className="change-seq">{change.seq}</span>
        </div>
        {change.reason !== null && <div className="change-reason">{change.reason}</div>}
        {conflictLines(change).map((line) => (
          <div className="change-conflict" key={line}>
            {line}
          </div>
        ))}
        <div className="change-time">
          {timeOf(change.timestamp)}
          {ORIGINS[change.origin]}
          {change.attempts > 0 ? ` · ${change.attempts} ${change.attempts === 1 ? 'attempt' : 'attempts'}` : ''}
        </div>
      </div>
      <div className="change-actions">
        {isRepairable && (
          <IconAction
            icon="debug-restart"
            label="Retry"
            onClick={() => host.run('localData.change.retry', { changeId })}
          />
        )}
        {isOurs && waits && change.operation !== 'delete' && (
          <IconAction
            icon="edit"
            label="Edit & Retry"
            onClick={() => host.run('localData.change.edit', { changeId })}
          />
        )}
        {isOurs && waits && (
          <IconAction
            icon="trash"
            label="Discard…"
            onClick={() => host.run('localData.change.discard', { changeId })}
          />
        )}
        {status === 'discarded' && (
          <IconAction icon="redo" label="Restore" onClick={() => host.run('localData.change.restore', { changeId })} />
        )}
        {isInEffect && (
          <IconAction
            icon="discard"
            label="Undo Change"
            onClick={() => host.run('localData.change.undo', { changeId })}
          />
        )}
        <IconAction icon="diff" label="Show Change" onClick={() => host.run('localData.change.show', { changeId })} />
      </div>
    </li>
  );
}

function IconAction({
  icon,
  label,
  onClick,
}: {
  readonly icon: string;
  readonly label: string;
  readonly onClick: () => void;
}): ReactNode {
  return (
    <button type="button" className="icon" title={label} aria-label={label} onClick={onClick}>
      <span className={`codicon codicon-${icon}`} aria-hidden="true" />
    </button>
  );
}
