// One entity: its fields, and the changes that made it what it is or that still wait, each with what can be done.
import { useEffect, useState } from 'react';
import type { Change, Entity } from '../protocol/changes.ts';
import type { PanelCommand } from '../protocol/panel.ts';
import { ask, send } from './bridge.ts';
import { textOf } from './table.tsx';
import { useCommits } from './use-live-changes.ts';

interface DetailProps {
  readonly entityType: string;
  readonly entityId: string;
  readonly onClose: () => void;
}

interface Shown {
  readonly entity: Entity | null;
  readonly changes: readonly Change[];
}

export function Detail({ entityType, entityId, onClose }: DetailProps) {
  const version = useCommits({ entityType, entityId });
  const [shown, setShown] = useState<Shown>();
  useEffect(() => {
    let outdated = false;
    ask('entity', { entityType, entityId }).then(
      (answer) => !outdated && setShown(answer),
      () => !outdated && setShown({ entity: null, changes: [] }),
    );
    return () => {
      outdated = true;
    };
  }, [entityType, entityId, version]);
  const target = { entityType, entityId };
  return (
    <section className="detail" aria-label={`${entityType} ${entityId}`}>
      <header>
        <h2>
          {entityType} {entityId}
        </h2>
        <button type="button" className="plain" onClick={onClose} aria-label="Close details">
          ✕
        </button>
      </header>
      <div className="actions">
        <button type="button" onClick={() => send({ kind: 'command', command: 'localData.upsertEntity', target })}>
          Upsert…
        </button>
        <button
          type="button"
          className="secondary"
          onClick={() => send({ kind: 'command', command: 'localData.deleteEntity', target })}
        >
          Delete…
        </button>
      </div>
      {shown?.entity === null && (
        <p className="quiet">Not there: it was deleted, or its insert has not been applied.</p>
      )}
      {shown?.entity && <Fields entity={shown.entity} />}
      <h3>Changes</h3>
      <ul className="changes">
        {shown?.changes.map((change) => (
          <ChangeItem key={change.id} change={change} />
        ))}
      </ul>
    </section>
  );
}

function Fields({ entity }: { readonly entity: Entity }) {
  return (
    <dl>
      {Object.entries(entity).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value === null ? <em>null</em> : textOf(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

function ChangeItem({ change }: { readonly change: Change }) {
  const { id, seq, operation, status, reason, data, timestamp } = change;
  const waits = ['failed', 'conflicted', 'retrying', 'blocked', 'pending'].includes(status);
  const failed = status === 'failed' || status === 'conflicted';
  return (
    <li className={status}>
      <div>
        <span className={`status ${status}`}>{status}</span> {operation} <span className="quiet">#{seq}</span>{' '}
        <time className="quiet" dateTime={new Date(timestamp).toISOString()}>
          {new Date(timestamp).toLocaleString()}
        </time>
      </div>
      {reason !== null && <div className="reason">{reason}</div>}
      {data !== null && operation === 'update' && <code>{JSON.stringify(data)}</code>}
      <div className="actions">
        {failed && <Action title="Retry" command="localData.change.retry" changeId={id} />}
        {waits && operation !== 'delete' && (
          <Action title="Edit & Retry" command="localData.change.edit" changeId={id} />
        )}
        {waits && <Action title="Discard…" command="localData.change.discard" changeId={id} />}
        {status === 'discarded' && <Action title="Restore" command="localData.change.restore" changeId={id} />}
        <Action title="Show" command="localData.change.show" changeId={id} />
      </div>
    </li>
  );
}

function Action({
  title,
  command,
  changeId,
}: {
  readonly title: string;
  readonly command: PanelCommand;
  readonly changeId: string;
}) {
  return (
    <button type="button" className="link" onClick={() => send({ kind: 'command', command, changeId })}>
      {title}
    </button>
  );
}
