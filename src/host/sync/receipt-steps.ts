// The way of one change in steps, as its receipt shows them: saved, applied, accepted, seen; and where the way ended early,
// why. Pure; must not import `vscode`.
import type { Change } from '../../protocol/changes.ts';
import type { Receipt } from '../../protocol/sync-state.ts';
import { isGivenUp, resolutionLines } from './resolution-lines.ts';

export interface ReceiptStep {
  /** `never`: the way ended before it, for good or until somebody brings the change back. */
  readonly kind: 'done' | 'waiting' | 'never' | 'failed' | 'conflict';
  readonly label: string;
  /** Milliseconds since epoch. */
  readonly at: number | null;
  readonly detail: string | null;
}

export interface ReceiptView {
  /** The whole of it in one sentence. */
  readonly summary: string;
  readonly steps: readonly ReceiptStep[];
}

export function receiptOf(change: Change, receipt: Receipt, hasServer: boolean): ReceiptView {
  return change.origin === 'remote' ? remoteReceipt(change, receipt) : localReceipt(change, receipt, hasServer);
}

function remoteReceipt(change: Change, receipt: Receipt): ReceiptView {
  const { acceptedVersion, clientId } = change;
  const isApplied = change.status === 'applied' || change.status === 'synced';
  const who = clientId === null ? 'another client' : `client ${clientId}`;
  return {
    summary: isApplied
      ? 'It came from the server: another client wrote it'
      : 'It came from the server and is set aside: it cannot be applied here',
    steps: [
      step('done', 'Written elsewhere', change.timestamp, `by ${who}, as its clock says`),
      step('done', `Accepted by the server${asVersion(acceptedVersion)}`, null),
      step('done', 'Received here', receipt.seenInFeedAt ?? change.acceptedAt),
      isApplied
        ? step('done', 'Applied to the entity here', change.appliedAt)
        : step('failed', 'Set aside: it could not be applied here', change.failure?.at ?? null, change.error),
    ],
  };
}

function localReceipt(change: Change, receipt: Receipt, hasServer: boolean): ReceiptView {
  const ending = endingOf(change);
  return {
    summary: ending ?? summaryOf(change, receipt, hasServer),
    steps: [
      step('done', 'Saved in the changes table', receipt.savedAt),
      appliedStep(change, receipt),
      ...conflictSteps(change),
      acceptedStep(change, receipt, hasServer, ending),
      seenStep(receipt, ending),
      ...(change.discardedAt === null
        ? []
        : [step('done', 'Discarded', change.discardedAt, 'Restore brings it back.')]),
    ],
  };
}

/** Why it goes no further; null where it does, or is through. */
function endingOf(change: Change): string | null {
  if (change.status === 'discarded') {
    return change.processedLocal ? 'Discarded: its effect here was taken back' : 'Discarded before it was applied';
  }
  if (!change.processedSync || change.acceptedAt !== null) return null;
  if (isGivenUp(change)) return 'Given up in a conflict: what the server has was taken instead';
  return capitalised(change.note ?? 'never sent: there was nothing to send');
}

function summaryOf(change: Change, { acceptedAt, seenInFeedAt }: Receipt, hasServer: boolean): string {
  if (seenInFeedAt !== null && acceptedAt !== null) return 'All the way: every client can see it';
  if (acceptedAt !== null) return 'The server has it';
  if (change.status === 'conflicted') return 'In conflict with what the server has: it waits for you';
  if (change.failure?.stage === 'push') return 'Refused by the server: it waits for you';
  if (change.status === 'applied') return hasServer ? 'Applied here; the server has still to get it' : 'Applied here';
  return capitalised(change.reason === null ? change.status : `${change.status}: ${change.reason}`);
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function appliedStep(change: Change, { appliedAt }: Receipt): ReceiptStep {
  const label = 'Applied to the entity here';
  if (change.processedLocal) return step('done', label, appliedAt);
  if (change.status === 'discarded') return step('never', label, null, 'never applied');
  if (change.status === 'failed')
    return step('failed', 'Could not be applied here', change.failure?.at ?? null, change.error);
  return step('waiting', label, null, change.reason);
}

function conflictSteps(change: Change): ReceiptStep[] {
  const { conflict } = change;
  if (conflict === null) return [];
  const [how, ...lost] = resolutionLines(change);
  if (how === undefined)
    return [step('conflict', 'In conflict with what the server has', conflict.at, 'waits for you')];
  const detail = lost.length === 0 ? null : lost.join(' ');
  return [step('conflict', how, conflict.resolution?.at ?? null, detail)];
}

function acceptedStep(change: Change, receipt: Receipt, hasServer: boolean, ending: string | null): ReceiptStep {
  const { acceptedAt, acceptedVersion } = receipt;
  const label = 'Accepted by the server';
  if (acceptedAt !== null) return step('done', `${label}${asVersion(acceptedVersion)}`, acceptedAt);
  if (ending !== null) return step('never', label, null, 'never sent');
  if (change.failure?.stage === 'push') return step('failed', 'Refused by the server', change.failure.at, change.error);
  if (!hasServer) return step('waiting', label, null, 'there is no server');
  return step('waiting', label, null, change.status === 'applied' ? (change.reason ?? 'its type stays here') : null);
}

function seenStep({ acceptedAt, seenInFeedAt }: Receipt, ending: string | null): ReceiptStep {
  const label = 'Seen in the feed that every client reads';
  if (acceptedAt !== null && seenInFeedAt !== null) return step('done', label, seenInFeedAt);
  return step(ending === null || acceptedAt !== null ? 'waiting' : 'never', label, null);
}

function asVersion(version: number | null): string {
  return version === null ? '' : ` as version ${version.toLocaleString()}`;
}

function step(kind: ReceiptStep['kind'], label: string, at: number | null, detail: string | null = null): ReceiptStep {
  return { kind, label, at, detail };
}
