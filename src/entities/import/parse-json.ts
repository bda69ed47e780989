// JSON for imports: one value at a time. Integers that a JavaScript number would change come through as text, so that
// 9007199254740993 stays itself.
import type { JsonObject, JsonValue } from '../../protocol/changes.ts';

const MAY_HOLD_LARGE_INTEGER = /\d{16}/;

/** Throws a SyntaxError when the text is no JSON. */
export function parseJson(text: string): JsonValue {
  const value: JsonValue = MAY_HOLD_LARGE_INTEGER.test(text) ? JSON.parse(text, keepLargeInteger) : JSON.parse(text);
  return value;
}

export function isJsonObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** In words, for a sentence that says what was found instead. */
export function nameOfValue(value: JsonValue): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : `the ${typeof value} ${JSON.stringify(value).slice(0, 40)}`;
}

/** The third argument is the number as written; runtimes that do not give it keep the number as it was parsed. */
function keepLargeInteger(_key: string, value: JsonValue, context?: { readonly source?: string }): JsonValue {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && /^-?\d+$/.test(source) ? source : value;
}
