// Writes docs/openapi.json from the protocol's schemas; `--check` says whether it is what they would give.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { openApiDocument } from '../src/server/open-api.ts';
import { projectRoot } from './project.ts';

const file = join(projectRoot, 'docs/openapi.json');
const style = await resolveConfig(file);
const text = await format(JSON.stringify(openApiDocument()), { ...style, filepath: file });
if (!process.argv.includes('--check')) {
  writeFileSync(file, text);
} else if (readFileSync(file, 'utf8') !== text) {
  console.error('docs/openapi.json is not what the protocol says; run npm run openapi.');
  process.exitCode = 1;
} else {
  console.log('docs/openapi.json is what the protocol says');
}
