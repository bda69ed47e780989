// What a person's choice, field by field, comes to. Pure; must not import `vscode`.
import type { JsonObject, JsonValue } from '../../protocol/changes.ts';
import type { Conflict } from '../../protocol/sync-state.ts';

export type ChosenSide = 'mine' | 'theirs' | 'base';

export function fieldsToChoose({ fields }: Conflict): string[] {
  return Object.keys(fields).sort();
}

/** Both sides' writes together, and of the fields that both wrote the chosen side's. */
export function mergedData(conflict: Conflict, sides: ReadonlyMap<string, ChosenSide>): JsonObject {
  const merged = withoutConflict(conflict);
  for (const [field, side] of sides) {
    const values = conflict.fields[field];
    if (values !== undefined) merged[field] = values[side];
  }
  return merged;
}

/** Theirs with what only this side wrote: where both wrote, theirs. */
export function withoutConflict({ base, mine, theirs, fields }: Conflict): Record<string, JsonValue> {
  const merged: Record<string, JsonValue> = { ...theirs };
  for (const [field, value] of Object.entries(mine ?? {})) {
    const isWrittenHere = JSON.stringify(base?.[field]) !== JSON.stringify(value);
    if (isWrittenHere && fields[field] === undefined) merged[field] = value;
  }
  return merged;
}

/** One line, for a list. */
export function textOf(value: JsonValue): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const line = text.replaceAll(/\s+/g, ' ').trim();
  if (line === '') return '(empty)';
  return line.length > 100 ? `${line.slice(0, 99)}…` : line;
}
