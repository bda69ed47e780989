// The entity types with their counts, and a mark where changes need a person.
import type { KeyboardEvent, ReactNode } from 'react';
import type { EntityWindow } from '../stores/entities-store.ts';
import { usePanel } from './panel-context.ts';
import { viewStore } from './view-state.ts';

interface Props {
  readonly types: readonly EntityWindow[];
  readonly chosen: string;
}

export function TypeList({ types, chosen }: Props): ReactNode {
  const names = types.map((type) => type.info.entityType);
  const onKeyDown = (event: KeyboardEvent<HTMLElement>): void => {
    const next = stepTo(event.key, names.indexOf(chosen), names.length);
    const name = next === undefined ? undefined : names[next];
    if (name === undefined) return;
    event.preventDefault();
    viewStore.setState({ entityType: name });
    event.currentTarget.querySelectorAll<HTMLElement>('[role=tab]')[next ?? 0]?.focus();
  };
  return (
    <nav className="types" aria-label="Entity types">
      <div className="section-title" id="types-title">
        Entity types
      </div>
      <div role="tablist" aria-orientation="vertical" aria-labelledby="types-title" onKeyDown={onKeyDown}>
        {types.map((type) => (
          <TypeTab key={type.info.entityType} type={type} isChosen={type.info.entityType === chosen} />
        ))}
      </div>
    </nav>
  );
}

function TypeTab({ type, isChosen }: { readonly type: EntityWindow; readonly isChosen: boolean }): ReactNode {
  const model = usePanel();
  const { entityType, table, kind } = type.info;
  const failed = model.waiting.failedOf(entityType);
  const icon = kind === 'document' ? 'json' : 'table';
  return (
    <button
      type="button"
      role="tab"
      id={`type-${entityType}`}
      aria-selected={isChosen}
      aria-controls="entities"
      tabIndex={isChosen ? 0 : -1}
      className="type"
      title={kind === 'document' ? `${entityType}: documents` : `${entityType}: table ${table}`}
      onClick={() => viewStore.setState({ entityType })}
    >
      <span className={`codicon codicon-${icon}`} aria-hidden="true" />
      <span className="type-name">{entityType}</span>
      {failed > 0 && (
        <span
          className="codicon codicon-error mark-failed"
          role="img"
          aria-label={`${failed} failed ${failed === 1 ? 'change' : 'changes'}`}
        />
      )}
      <span className="count">{type.count.toLocaleString()}</span>
    </button>
  );
}

function stepTo(key: string, index: number, length: number): number | undefined {
  switch (key) {
    case 'ArrowDown':
      return Math.min(length - 1, index + 1);
    case 'ArrowUp':
      return Math.max(0, index - 1);
    case 'Home':
      return 0;
    case 'End':
      return length - 1;
    default:
      return undefined;
  }
}
