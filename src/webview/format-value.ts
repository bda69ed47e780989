// How values look in a cell and in a form. Text goes in and out without loss: what is shown for editing parses back.
import type { JsonValue } from '../protocol/changes.ts';

export type ValueKind = 'null' | 'boolean' | 'number' | 'text' | 'json' | 'time';

export function kindOf(value: JsonValue | undefined): ValueKind {
  if (value === null || value === undefined) return 'null';
  if (typeof value === 'boolean') return 'boolean';
  if (typeof value === 'number') return 'number';
  if (typeof value === 'object') return 'json';
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(value) ? 'time' : 'text';
}

export function cellText(value: JsonValue | undefined): string {
  if (value === null || value === undefined) return 'null';
  if (typeof value === 'object') return JSON.stringify(value);
  if (typeof value === 'string' && kindOf(value) === 'time') return shortTime(value);
  return String(value);
}

export function shortTime(iso: string): string {
  return iso.replace('T', ' ').replace(/(:\d\d)\.0+(Z?)$/, '$1$2');
}

/** Text to edit a value by. */
export function editText(value: JsonValue | undefined): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value, null, 2) : String(value);
}

const NUMERIC_TYPES = /^(smallint|integer|real|double precision)/;

/** A typed text as the value it means for a column; throws with a sentence when it means none. */
export function parseText(text: string, columnType: string, isDocument: boolean): JsonValue {
  if (isDocument) return parseLoosely(text);
  if (text === '') return columnType.startsWith('text') || columnType.startsWith('character') ? '' : null;
  if (columnType === 'boolean') return text === 'true';
  if (/^jsonb?$/.test(columnType)) return parseJson(text);
  if (NUMERIC_TYPES.test(columnType) && text.trim() !== '' && Number.isFinite(Number(text))) return Number(text);
  return text;
}

function parseJson(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch (error) {
    throw new Error(`This is no JSON: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** A document's field has no type: what reads as JSON is JSON, the rest is text. */
function parseLoosely(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return text;
  }
}

export function timeOf(milliseconds: number): string {
  return new Date(milliseconds).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}
