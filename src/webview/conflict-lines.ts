// What became of a change's conflict and what was given up in it, as short lines beside the change.
import type { Change, JsonObject } from '../protocol/changes.ts';
import type { ConflictResolution } from '../protocol/sync-state.ts';
import { cellText } from './format-value.ts';

const OUTCOMES: Readonly<Record<ConflictResolution['outcome'], string>> = {
  mine: 'mine was kept',
  theirs: 'theirs was taken',
  merged: 'both were merged',
};
const LONGEST = 80;
const LISTED = 5;

/** Empty where there was no conflict, or it still waits. */
export function conflictLines({ conflict }: Change): string[] {
  const resolution = conflict?.resolution ?? null;
  if (conflict === null || resolution === null) return [];
  const { by, outcome, lost } = resolution;
  const how = `Conflict, ${by === 'person' ? 'by hand' : conflict.policy}: ${OUTCOMES[outcome]}`;
  return [how, ...givenUp('mine', lost.mine), ...givenUp('theirs', lost.theirs)];
}

function givenUp(whose: string, lost: JsonObject): string[] {
  const fields = Object.entries(lost);
  if (fields.length === 0) return [];
  const listed = fields.slice(0, LISTED).map(([field, value]) => `${field} “${shortened(cellText(value))}”`);
  const more = fields.length > LISTED ? `, and ${fields.length - LISTED} more` : '';
  return [`Given up of ${whose}: ${listed.join(', ')}${more}`];
}

function shortened(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}
