// Rows of a CSV file with a header, as text. A cell that looks like a formula (=, +, -, @ in front) is data: it is kept
// exactly as it stands and never evaluated. Nothing of this project writes CSV, so nothing is escaped for spreadsheets.
import { Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import type { JsonObject } from '../../protocol/changes.ts';
import type { ImportRow } from './read-rows.ts';
import { importUnreadable } from './read-text.ts';

const DELIMITERS = [',', ';', '\t'] as const;
const RECORD_CHARACTERS = 64 * 1024 * 1024;

interface CsvRecord {
  readonly record: string[];
  readonly info: { readonly lines: number };
}

export async function* csvRows(file: string, text: AsyncIterable<string>): AsyncGenerator<ImportRow> {
  const source = await withFirstPiece(text);
  if (source.first === '')
    throw importUnreadable(file, null, 'the file is empty. Its first line must name the columns.');
  const parser = parse({
    delimiter: detectDelimiter(source.first),
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: RECORD_CHARACTERS,
  });
  const input = Readable.from(source.all);
  input.on('error', (error) => parser.destroy(error));
  let header: string[] | undefined;
  try {
    for await (const item of input.pipe(parser)) {
      const { record, info } = asRecord(item);
      if (header === undefined) header = readHeader(file, record);
      else yield toRow(header, record, info.lines);
    }
  } catch (error) {
    throw error instanceof CsvError ? badCsv(file, error) : error;
  } finally {
    input.destroy();
    parser.destroy();
  }
}

/** Of comma, semicolon and tab the one that stands most often in the header; comma when none does. */
export function detectDelimiter(start: string): string {
  const counts = new Map<string, number>(DELIMITERS.map((delimiter) => [delimiter, 0]));
  let inQuotes = false;
  for (const character of start) {
    if (character === '"') inQuotes = !inQuotes;
    else if (character === '\n' && !inQuotes) break;
    else if (!inQuotes) counts.set(character, (counts.get(character) ?? 0) + 1);
  }
  return DELIMITERS.reduce<string>((best, one) => ((counts.get(one) ?? 0) > (counts.get(best) ?? 0) ? one : best), ',');
}

async function withFirstPiece(text: AsyncIterable<string>): Promise<{ first: string; all: AsyncIterable<string> }> {
  const pieces = text[Symbol.asyncIterator]();
  const start = await pieces.next();
  const first = start.done === true ? '' : start.value;
  async function* all(): AsyncGenerator<string> {
    if (first !== '') yield first;
    for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) {
      if (next.value !== '') yield next.value;
    }
  }
  return { first, all: all() };
}

/** With `info` the parser gives a record and where it stood; its types do not say so. */
function asRecord(item: CsvRecord): CsvRecord {
  return item;
}

function readHeader(file: string, record: string[]): string[] {
  const names = record.map((name) => name.trim());
  const nameless = names.indexOf('');
  if (nameless >= 0) {
    throw importUnreadable(
      file,
      1,
      `column ${nameless + 1} has no name in the header. Name it, then import the file again.`,
    );
  }
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw importUnreadable(
      file,
      1,
      `the header names the column "${twice}" twice. Rename one, then import the file again.`,
    );
  }
  return names;
}

function toRow(header: readonly string[], record: readonly string[], row: number): ImportRow {
  if (record.length !== header.length) {
    return { row, refused: `It has ${record.length} cells where the header names ${header.length} columns.` };
  }
  const value: JsonObject = {};
  for (const [index, name] of header.entries()) value[name] = record[index] ?? '';
  return { row, value };
}

function badCsv(file: string, error: CsvError): Error {
  const line = 'lines' in error && typeof error.lines === 'number' ? error.lines : null;
  const what = `the file is no CSV that can be read: ${error.message}. Correct the quotes there, then import it again.`;
  return importUnreadable(file, line, what, error);
}
