// One text for one JSON value, whatever the order of its keys: what hashes of entities are made of, here and on the server.
import type { JsonValue } from './changes.ts';

/** Keys in order of their UTF-16 code units, no white space; numbers and strings as JSON.stringify writes them. */
export function canonicalJson(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const pairs = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key] ?? null)}`);
  return `{${pairs.join(',')}}`;
}

/** Whether two values mean the same: order of keys does not matter, and an absent value is null. */
export function sameJson(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  return a === b || canonicalJson(a ?? null) === canonicalJson(b ?? null);
}
