// A change's status as icon and word, the same wherever the panel shows one.
import type { ReactNode } from 'react';
import type { ChangeStatus } from '../protocol/changes.ts';

const ICONS: Readonly<Record<ChangeStatus, string>> = {
  pending: 'circle-outline',
  retrying: 'history',
  failed: 'error',
  conflicted: 'git-merge',
  blocked: 'circle-slash',
  applied: 'check',
  synced: 'check-all',
  discarded: 'trash',
};

export function StatusMark({
  status,
  reason,
}: {
  readonly status: ChangeStatus;
  readonly reason: string | null;
}): ReactNode {
  const label = reason === null ? status : `${status}: ${reason}`;
  return (
    <span className={`codicon codicon-${ICONS[status]} mark-${status}`} role="img" aria-label={label} title={label} />
  );
}
