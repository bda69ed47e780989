// Live changes for the panel: read once, and read again when a commit touches what the filter lets through, at most
// four times a second.
import { useEffect, useRef, useState } from 'react';
import { type Change, type ChangeFilter, matchesFilter } from '../protocol/changes.ts';
import { onCommit } from './panel-stores.ts';

const REFRESH_EVERY_MS = 250;

/** Counts up whenever something that the filter lets through has changed; a dependency for whoever reads it. */
export function useCommits(filter: ChangeFilter): number {
  const [version, setVersion] = useState(0);
  const { entityType, entityId } = filter;
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = onCommit((event) => {
      const ours =
        event.changes.some((change) => matchesFilter(change, given({ entityType, entityId }))) ||
        event.entities.some((delta) => entityType === undefined || delta.entityType === entityType);
      if (ours) timer ??= setTimeout(() => ((timer = undefined), setVersion((count) => count + 1)), REFRESH_EVERY_MS);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [entityType, entityId]);
  return version;
}

/** The changes that `read` gives, current; undefined until they are here for the first time. */
export function useLiveChanges(
  filter: ChangeFilter,
  read: () => Promise<readonly Change[]>,
): readonly Change[] | undefined {
  const version = useCommits(filter);
  const [changes, setChanges] = useState<readonly Change[]>();
  const latest = useRef(read);
  latest.current = read;
  const key = `${filter.entityType ?? ''} ${filter.entityId ?? ''}`;
  useEffect(() => {
    let outdated = false;
    latest.current().then(
      (answer) => {
        if (!outdated) setChanges(answer);
      },
      () => {
        if (!outdated) setChanges([]);
      },
    );
    return () => {
      outdated = true;
    };
  }, [key, version]);
  return changes;
}

function given({
  entityType,
  entityId,
}: {
  entityType: string | undefined;
  entityId: string | undefined;
}): ChangeFilter {
  return { ...(entityType === undefined ? {} : { entityType }), ...(entityId === undefined ? {} : { entityId }) };
}
