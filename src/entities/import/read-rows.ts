// The rows of an import file, one at a time and whatever its size. A row that cannot be read is given with the reason; a
// file that cannot be read is an error that names file, line and remedy. Looks at the file only, never at the database.
import { extname } from 'node:path';
import type { JsonObject } from '../../protocol/changes.ts';
import type { ImportFormat, ImportOptions } from '../../protocol/engine.ts';
import { csvRows } from './csv-rows.ts';
import { jsonLinesRows } from './json-lines-rows.ts';
import { jsonRows } from './json-rows.ts';
import { type ReadCall, importUnreadable, readText } from './read-text.ts';

/** `row` is the line (CSV: where the record ends; JSON Lines) or the index from 1 (JSON). */
export type ImportRow =
  { readonly row: number; readonly value: JsonObject } | { readonly row: number; readonly refused: string };

export function readRows(
  options: Pick<ImportOptions, 'file' | 'format'>,
  call: ReadCall = {},
): AsyncGenerator<ImportRow> {
  const { file } = options;
  const text = readText(file, call);
  switch (formatOf(options)) {
    case 'json':
      return jsonRows(file, text);
    case 'jsonl':
      return jsonLinesRows(file, text);
    case 'csv':
      return csvRows(file, text);
  }
}

const ENDINGS: Readonly<Record<string, ImportFormat>> = {
  '.json': 'json',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.csv': 'csv',
  '.tsv': 'csv',
};

export function formatOf(options: Pick<ImportOptions, 'file' | 'format'>): ImportFormat {
  if (options.format !== undefined) return options.format;
  const ending = extname(options.file).toLowerCase();
  const format = ENDINGS[ending];
  if (format !== undefined) return format;
  const known = Object.keys(ENDINGS).join(', ');
  const what = `the ending "${ending}" names no format that can be imported (${known}). Rename the file, or name the format.`;
  throw importUnreadable(options.file, null, what);
}
