// Writes what src/host/contributions.ts declares into package.json; with --check it writes nothing and fails on drift.
import { readFileSync, writeFileSync } from 'node:fs';
import { manifest } from '../src/host/manifest.ts';

const file = new URL('../package.json', import.meta.url);
const before = readFileSync(file, 'utf8');
const after = `${JSON.stringify({ ...(JSON.parse(before) as object), ...manifest() }, null, 2)}\n`;

if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('package.json does not match src/host/contributions.ts. Run: npm run contributions');
    process.exitCode = 1;
  }
} else if (after === before) {
  console.log('package.json already matches src/host/contributions.ts');
} else {
  writeFileSync(file, after);
  console.log('package.json now matches src/host/contributions.ts');
}
