// The panel as a whole: entity types at the left, the chosen type's entities in the middle, one entity's details beside.
import { type KeyboardEvent, type ReactNode, useEffect } from 'react';
import { useStore } from 'zustand';
import type { ClosedCause, PanelCommand } from '../protocol/panel.ts';
import { EntityDetails } from './entity-details.tsx';
import { EntityTable } from './entity-table.tsx';
import { usePanel, usePanelVersion } from './panel-context.ts';
import { TypeList } from './type-list.tsx';
import { changeTypeView, typeView, viewStore } from './view-state.ts';

export function App(): ReactNode {
  const { state, stores } = usePanel();
  usePanelVersion();
  useStore(stores.entities, (entities) => entities.version);
  const view = useStore(viewStore);
  if (state === undefined)
    return (
      <Notice icon="loading" spins title="Opening…" text="The panel is being connected to the database." actions={[]} />
    );
  if (state.kind === 'closed') return <Closed why={state.why} cause={state.cause} />;
  const types = [...stores.entities.getState().types.values()].sort((a, b) =>
    a.info.entityType.localeCompare(b.info.entityType),
  );
  const [first] = types;
  if (first === undefined) return <NoTypes />;
  const chosen = types.find((type) => type.info.entityType === view.entityType) ?? first;
  const { entityType } = chosen.info;
  const { selectedId } = typeView(view, entityType);
  return (
    <main className={selectedId === null ? 'panel' : 'panel with-details'} onKeyDown={focusSearchOnSlash}>
      <h1 className="hidden-text">Entities</h1>
      <TypeList types={types} chosen={entityType} />
      <EntityTable key={entityType} window={chosen} />
      {selectedId !== null && (
        <EntityDetails
          key={`${entityType}/${selectedId}`}
          info={chosen.info}
          entityId={selectedId}
          onClose={() => {
            changeTypeView(entityType, { selectedId: null });
            // Once the table is shown again, where the details had taken its place.
            requestAnimationFrame(() => document.querySelector<HTMLElement>('.grid')?.focus());
          }}
        />
      )}
    </main>
  );
}

/** `/` and Ctrl+F go to the search box from anywhere but a field. */
function focusSearchOnSlash(event: KeyboardEvent): void {
  const inField = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
  const asks = (event.key === '/' && !inField) || (event.key === 'f' && (event.ctrlKey || event.metaKey));
  if (!asks) return;
  event.preventDefault();
  document.querySelector<HTMLInputElement>('#search')?.focus();
}

function Closed({ why, cause }: { readonly why: string; readonly cause: ClosedCause }): ReactNode {
  switch (cause) {
    case 'starting':
      return <Notice icon="loading" spins title="The database is being opened…" text={why} actions={[]} />;
    case 'none':
      return <Notice icon="database" title="No database yet" text={NONE_YET} actions={[CREATE_DATABASE]} />;
    case 'unavailable':
      return <Notice icon="database" title="No database is open" text={why} actions={[]} />;
    case 'trouble':
      return <Notice icon="database" title="No database is open" text={why} actions={[TRY_AGAIN, SHOW_LOG]} />;
  }
}

function NoTypes(): ReactNode {
  return (
    <Notice
      icon="symbol-class"
      title="No entity types yet"
      text="An entity type is a Postgres table whose every modification goes through the changes table. Start with sample data, bring a file, or register a table of your own."
      actions={[
        { label: 'Create Sample Data', command: 'localData.createSampleData' },
        { label: 'Import…', command: 'localData.import' },
        { label: 'Register Entity Type…', command: 'localData.registerEntityType' },
      ]}
    />
  );
}

interface Action {
  readonly label: string;
  readonly command: PanelCommand;
}

const NONE_YET =
  'Creating one makes a Postgres data directory in VS Code’s storage for this extension. Your workspace stays untouched, and nothing leaves this machine.';
const CREATE_DATABASE: Action = { label: 'Create Database', command: 'localData.createDatabase' };
const TRY_AGAIN: Action = { label: 'Try Again', command: 'localData.tryAgain' };
const SHOW_LOG: Action = { label: 'Show Log', command: 'localData.showLog' };

interface NoticeProps {
  readonly icon: string;
  readonly spins?: boolean;
  readonly title: string;
  readonly text: string;
  readonly actions: readonly Action[];
}

function Notice({ icon, spins, title, text, actions }: NoticeProps): ReactNode {
  const { host } = usePanel();
  useEffect(() => {
    document.title = title;
  }, [title]);
  return (
    <main className="notice">
      <span
        className={`codicon codicon-${icon} notice-icon${spins ? ' codicon-modifier-spin' : ''}`}
        aria-hidden="true"
      />
      <h1>{title}</h1>
      <p>{text}</p>
      <div className="buttons">
        {actions.map(({ label, command }, index) => (
          <button
            key={command}
            type="button"
            className={index === 0 ? '' : 'secondary'}
            onClick={() => host.run(command)}
          >
            {label}
          </button>
        ))}
      </div>
    </main>
  );
}
