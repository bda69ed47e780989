// Reads a payload a person has typed. What does not parse, or is no object, is refused with its place and nothing changes.
import { type ParseError, parse, printParseErrorCode } from 'jsonc-parser';
import type { JsonObject } from '../../protocol/changes.ts';
import { LocalDataError } from '../../protocol/errors.ts';

/** `leaveOut` names top-level fields that are no part of the payload. */
export function parsePayload(
  text: string,
  leaveOut: (key: string, value: unknown) => boolean = () => false,
): JsonObject {
  const errors: ParseError[] = [];
  const value: unknown = parse(text, errors, { disallowComments: true, allowTrailingComma: false });
  const [first] = errors;
  if (first !== undefined) {
    const { line, column } = placeOf(text, first.offset);
    throw new LocalDataError(
      'INVALID_PAYLOAD',
      `The payload is not JSON: ${wordsOf(first)} at line ${line}, column ${column}. Correct it there and save again; nothing was changed.`,
      { line, column },
    );
  }
  if (!isJsonObject(value)) {
    throw new LocalDataError(
      'INVALID_PAYLOAD',
      `The payload is ${kindOf(value)}, and must be a JSON object such as { "title": "…" }. Nothing was changed.`,
    );
  }
  return Object.fromEntries(Object.entries(value).filter(([key, field]) => !leaveOut(key, field)));
}

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'empty';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}

function placeOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/** `PropertyNameExpected` → `property name expected`. */
function wordsOf({ error }: ParseError): string {
  return printParseErrorCode(error)
    .replace(/(?<=[a-z])(?=[A-Z])/g, ' ')
    .toLowerCase();
}
