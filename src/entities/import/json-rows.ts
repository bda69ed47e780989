// Rows of a JSON file, which holds one array of objects. Elements are cut out as the text streams by and parsed one by
// one, so that a file of any size needs the memory of its largest element only.
import type { ImportRow } from './read-rows.ts';
import { isJsonObject, nameOfValue, parseJson } from './parse-json.ts';
import { importUnreadable } from './read-text.ts';

const ELEMENT_CHARACTERS = 64 * 1024 * 1024;
const BACKSLASH = 92;
const CLOSE_BRACE = 125;
const CLOSE_BRACKET = 93;
const COMMA = 44;
const LINE_FEED = 10;
const OPEN_BRACE = 123;
const OPEN_BRACKET = 91;
const QUOTE = 34;

interface Element {
  readonly text: string;
  readonly line: number;
}

export async function* jsonRows(file: string, text: AsyncIterable<string>): AsyncGenerator<ImportRow> {
  const cutter = new ArrayCutter(file);
  let row = 0;
  for await (const piece of text) {
    for (const element of cutter.cut(piece)) yield toRow(file, element, ++row);
  }
  cutter.end();
}

function toRow(file: string, element: Element, row: number): ImportRow {
  try {
    const value = parseJson(element.text);
    return isJsonObject(value) ? { row, value } : { row, refused: `It is ${nameOfValue(value)}, not an object.` };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const what = `element ${row} of the array is no JSON (${reason}). Correct it, then import the file again.`;
    throw importUnreadable(file, element.line, what, error);
  }
}

/** Cuts the elements of one top-level array out of text that comes in pieces. */
class ArrayCutter {
  readonly #file: string;
  #state: 'before' | 'inside' | 'after' = 'before';
  #depth = 0;
  #inString = false;
  #escaped = false;
  #line = 1;
  #elementLine = 1;
  #elementText = '';
  #elements = 0;

  constructor(file: string) {
    this.#file = file;
  }

  *cut(piece: string): Generator<Element> {
    let start = 0;
    for (let at = 0; at < piece.length; at++) {
      const code = piece.charCodeAt(at);
      if (code === LINE_FEED) this.#line++;
      if (this.#state !== 'inside') {
        this.#outside(piece, at, code);
        start = at + 1;
      } else if (this.#endsElement(code)) {
        const element = this.#take(piece.slice(start, at), code);
        if (element !== undefined) yield element;
        start = at + 1;
      }
    }
    if (this.#state === 'inside') this.#keep(piece.slice(start));
  }

  end(): void {
    if (this.#state === 'after') return;
    const what = this.#state === 'before' ? 'the file is empty' : 'the file ends before its array does';
    const line = this.#state === 'before' ? null : this.#lineOf(this.#elementText);
    throw importUnreadable(
      this.#file,
      line,
      `${what}. It must hold one JSON array of objects: complete it, then import it again.`,
    );
  }

  #outside(piece: string, at: number, code: number): void {
    const isSpace = code === 32 || code === 9 || code === LINE_FEED || code === 13;
    if (isSpace) return;
    if (this.#state === 'before' && code === OPEN_BRACKET) {
      this.#state = 'inside';
      this.#elementLine = this.#line;
      return;
    }
    const found = JSON.stringify(piece.slice(at, at + 20));
    const what =
      this.#state === 'before'
        ? `the file must hold a JSON array of objects, but begins with ${found}. Put the objects into [ ], or import it as JSON Lines if each line is an object.`
        : `after the array comes ${found}. The file must hold one JSON array and nothing else.`;
    throw importUnreadable(this.#file, this.#line, what);
  }

  /** Follows strings and nesting; true at the comma or bracket behind an element. */
  #endsElement(code: number): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (code === BACKSLASH) this.#escaped = true;
      else if (code === QUOTE) this.#inString = false;
      return false;
    }
    switch (code) {
      case QUOTE:
        this.#inString = true;
        return false;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        this.#depth++;
        return false;
      case CLOSE_BRACE:
        this.#depth--;
        return false;
      case CLOSE_BRACKET:
        if (this.#depth > 0) {
          this.#depth--;
          return false;
        }
        this.#state = 'after';
        return true;
      default:
        return code === COMMA && this.#depth === 0;
    }
  }

  #take(rest: string, code: number): Element | undefined {
    const all = this.#elementText + rest;
    const text = all.trim();
    const line = this.#lineOf(all);
    this.#elementText = '';
    this.#elementLine = this.#line;
    const isEmptyArray = text === '' && code === CLOSE_BRACKET && this.#elements === 0;
    if (isEmptyArray) return undefined;
    if (text === '') {
      throw importUnreadable(
        this.#file,
        line,
        'there is nothing between two commas of the array. Remove one, then import the file again.',
      );
    }
    this.#elements++;
    return { text, line };
  }

  /** The line on which the element itself begins, behind the space in front of it. */
  #lineOf(text: string): number {
    const space = text.slice(0, text.length - text.trimStart().length);
    return this.#elementLine + space.split('\n').length - 1;
  }

  #keep(rest: string): void {
    this.#elementText += rest;
    if (this.#elementText.length <= ELEMENT_CHARACTERS) return;
    const what = `element ${this.#elements + 1} of the array is larger than ${ELEMENT_CHARACTERS} characters. Check for a missing quote or bracket.`;
    throw importUnreadable(this.#file, this.#elementLine, what);
  }
}
