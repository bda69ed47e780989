// What a person's choice, field by field, comes to. Pure; must not import `vscode`.
import { sameJson } from '../../protocol/canonical-json.ts';
import type { JsonObject, JsonValue } from '../../protocol/changes.ts';
import type { Conflict } from '../../protocol/sync-state.ts';

export type ChosenSide = 'mine' | 'theirs' | 'base';

export function fieldsToChoose({ fields }: Conflict): string[] {
  return Object.keys(fields).sort();
}

/** What the entity is to be. */
export interface Merged {
  readonly data: JsonObject;
  /** Fields that the server has and the entity is not to have. */
  readonly removed: readonly string[];
}

/** Both sides' writes together, and of the fields that both wrote the chosen side's. */
export function mergedData(conflict: Conflict, sides: ReadonlyMap<string, ChosenSide>): Merged {
  const data = withoutConflict(conflict);
  for (const [field, side] of sides) {
    const value = valueOf(conflict, field, side);
    if (value === undefined) delete data[field];
    else data[field] = value;
  }
  return mergedTo(conflict, data);
}

/** What a person wrote as the whole entity: what they left out of what the server has is to go. */
export function mergedTo({ theirs }: Conflict, data: JsonObject): Merged {
  return { data, removed: Object.keys(theirs ?? {}).filter((field) => !(field in data)) };
}

/** Undefined where the side has no such field. */
export function valueOf(conflict: Conflict, field: string, side: ChosenSide): JsonValue | undefined {
  const values = conflict.fields[field];
  const entity = conflict[side];
  return values !== undefined && entity !== null && field in entity ? values[side] : undefined;
}

/** Theirs with what only this side wrote or took out: where both wrote, theirs. */
export function withoutConflict({ base, mine, theirs, fields }: Conflict): Record<string, JsonValue> {
  const merged: Record<string, JsonValue> = { ...theirs };
  if (mine === null) return merged;
  const isOurs = (field: string) => fields[field] === undefined;
  for (const [field, value] of Object.entries(mine)) {
    const isWrittenHere = base === null || !(field in base) || !sameJson(base[field], value);
    if (isWrittenHere && isOurs(field)) merged[field] = value;
  }
  for (const field of Object.keys(base ?? {})) if (!(field in mine) && isOurs(field)) delete merged[field];
  return merged;
}

/** One line, for a list. */
export function textOf(value: JsonValue | undefined): string {
  if (value === undefined) return '(not there)';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const line = text.replaceAll(/\s+/g, ' ').trim();
  if (line === '') return '(empty)';
  return line.length > 100 ? `${line.slice(0, 99)}…` : line;
}
