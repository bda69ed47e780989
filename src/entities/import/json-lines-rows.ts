// Rows of a JSON Lines file: each line is one object. A line that is none is refused alone; the others go on.
import type { ImportRow } from './read-rows.ts';
import { isJsonObject, nameOfValue, parseJson } from './parse-json.ts';
import { importUnreadable } from './read-text.ts';

const LINE_CHARACTERS = 64 * 1024 * 1024;

export async function* jsonLinesRows(file: string, text: AsyncIterable<string>): AsyncGenerator<ImportRow> {
  let rest = '';
  let row = 0;
  for await (const piece of text) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > LINE_CHARACTERS) {
      const what = `the line is longer than ${LINE_CHARACTERS} characters. Check that the file has one object to a line.`;
      throw importUnreadable(file, row + lines.length + 1, what);
    }
    for (const line of lines) {
      row++;
      if (line.trim() !== '') yield toRow(line, row);
    }
  }
  if (rest.trim() !== '') yield toRow(rest, row + 1);
}

function toRow(line: string, row: number): ImportRow {
  try {
    const value = parseJson(line);
    return isJsonObject(value) ? { row, value } : { row, refused: `The line is ${nameOfValue(value)}, not an object.` };
  } catch (error) {
    return { row, refused: `The line is no JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
}
