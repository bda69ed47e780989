// Writes what src/host/contributions.ts declares into package.json, and the JSON schema of the workspace's file beside it;
// with --check it writes nothing and fails on drift.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { RULES_FILE_SCHEMA, manifest } from '../src/host/manifest.ts';
import { rulesFileJsonSchema } from '../src/host/sync/sync-rules.ts';
import { projectRoot } from './project.ts';

const written = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as object;
keepInStep('package.json', `${JSON.stringify({ ...written, ...manifest() }, null, 2)}\n`);
keepInStep(RULES_FILE_SCHEMA, await formatted(RULES_FILE_SCHEMA, JSON.stringify(rulesFileJsonSchema())));

function keepInStep(name: string, wanted: string): void {
  const file = join(projectRoot, name);
  const before = existsSync(file) ? readFileSync(file, 'utf8') : '';
  if (process.argv.includes('--check')) {
    if (before === wanted) return;
    console.error(`${name} does not match what src/host declares. Run: npm run contributions`);
    process.exitCode = 1;
  } else if (before === wanted) {
    console.log(`${name} already matches what src/host declares`);
  } else {
    writeFileSync(file, wanted);
    console.log(`${name} now matches what src/host declares`);
  }
}

async function formatted(name: string, text: string): Promise<string> {
  const filepath = join(projectRoot, name);
  return format(text, { ...(await resolveConfig(filepath)), filepath });
}
