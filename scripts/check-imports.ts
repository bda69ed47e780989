// Keeps the import directions of the house: each folder of src imports only what stands below it, and `vscode` is
// imported in src/host and the composition root alone.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const src = fileURLToPath(new URL('../src', import.meta.url));

const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  stores: ['protocol'],
  db: ['protocol'],
  sync: ['protocol', 'db'],
  entities: ['protocol', 'db'],
  engine: ['protocol', 'db', 'sync', 'entities', 'stores'],
  worker: ['protocol', 'db', 'sync', 'engine', 'stores'],
  // Of db the lock alone: a data directory has one owner, whoever it is.
  server: ['protocol', 'db'],
  host: ['protocol', 'stores', 'engine', 'worker', 'api.ts'],
  webview: ['protocol', 'stores'],
  'api.ts': ['protocol', 'sync'],
  'extension.ts': ['host', 'api.ts'],
};
const MAY_IMPORT_VSCODE = ['host', 'extension.ts', 'api.ts'];

const faults = sourceFiles().flatMap(faultsOf);
for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exitCode = 1;
else console.log('imports point downwards only');

function sourceFiles(): string[] {
  const entries = readdirSync(src, { recursive: true, encoding: 'utf8' });
  return entries.filter((file) => /\.tsx?$/.test(file)).map((file) => join(src, file));
}

function faultsOf(file: string): string[] {
  const room = roomOf(file);
  const allowed = MAY_IMPORT[room];
  if (allowed === undefined)
    return [`${relative(src, file)}: no import rule for "${room}"; add one to scripts/check-imports.ts`];
  return importsOf(file).flatMap((specifier) => {
    if (specifier === 'vscode') {
      return MAY_IMPORT_VSCODE.includes(room)
        ? []
        : [`${relative(src, file)}: imports vscode, which only src/host may`];
    }
    if (!specifier.startsWith('.')) return [];
    const target = roomOf(resolve(dirname(file), specifier));
    if (target === room || allowed.includes(target)) return [];
    return [
      `${relative(src, file)}: imports ${specifier}, but ${room} may import only ${allowed.join(', ') || 'nothing of ours'}`,
    ];
  });
}

function roomOf(file: string): string {
  return relative(src, file).split(/[\\/]/)[0] ?? '';
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)].map((match) => match[1] ?? '');
}
