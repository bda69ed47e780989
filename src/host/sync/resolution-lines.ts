// What became of a conflict and what was given up in it, in sentences. Pure; must not import `vscode`.
import type { Change, JsonObject } from '../../protocol/changes.ts';
import type { Conflict, ConflictResolution } from '../../protocol/sync-state.ts';
import { textOf } from './merge-fields.ts';

const LISTED = 12;
const OUTCOMES: Readonly<Record<ConflictResolution['outcome'], string>> = {
  mine: 'mine was kept',
  theirs: 'theirs was taken',
  merged: 'both were merged',
};

/** The first says how it was resolved; the others what was given up. Empty where there was no conflict, or it waits. */
export function resolutionLines({ conflict }: Pick<Change, 'conflict'>): string[] {
  const resolution = conflict?.resolution ?? null;
  if (conflict === null || resolution === null) return [];
  const by = resolution.by === 'person' ? 'by hand' : `by its policy, ${conflict.policy}`;
  return [
    `Conflict resolved ${by}: ${OUTCOMES[resolution.outcome]}.`,
    ...givenUp('mine', conflict, resolution),
    ...givenUp('theirs', conflict, resolution),
  ];
}

/** It is through, and nothing of it was left to send. */
export function isGivenUp({
  conflict,
  processedSync,
  acceptedAt,
}: Pick<Change, 'conflict' | 'processedSync' | 'acceptedAt'>): boolean {
  return (conflict?.resolution ?? null) !== null && processedSync && acceptedAt === null;
}

function givenUp(side: 'mine' | 'theirs', conflict: Conflict, { outcome, lost }: ConflictResolution): string[] {
  const whose = side === 'mine' ? 'of mine' : 'of theirs';
  const won = side === 'mine' ? 'theirs' : 'mine';
  if (conflict[side] === null) return outcome === won ? [`Given up ${whose}: the delete.`] : [];
  const fields = fieldsOf(lost[side]);
  return fields === '' ? [] : [`Given up ${whose}: ${fields}.`];
}

function fieldsOf(lost: JsonObject): string {
  const all = Object.entries(lost).map(([field, value]) => `${field} ${quoted(textOf(value))}`);
  const listed = all.slice(0, LISTED).join(', ');
  return all.length > LISTED ? `${listed} and ${all.length - LISTED} more fields` : listed;
}

function quoted(text: string): string {
  return `“${text}”`;
}
