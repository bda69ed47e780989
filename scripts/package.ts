// `npm run package`: builds and packs the VSIX that is installed by start, tests and people alike.
import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot as root, vsixFile } from './project.ts';

// Renamed at the end: what stands under the final name is whole, wherever this is interrupted.
const unfinished = join(root, 'dist/unfinished.vsix');

run([process.execPath, 'esbuild.mjs']);
mkdirSync(join(root, 'dist'), { recursive: true });
run([
  process.execPath,
  join(root, 'node_modules/@vscode/vsce/vsce'),
  'package',
  '--no-dependencies',
  '--allow-missing-repository',
  '--skip-license',
  '--no-rewrite-relative-links',
  '--out',
  unfinished,
]);
renameSync(unfinished, vsixFile);
console.log(`${vsixFile}: ${(statSync(vsixFile).size / 1_048_576).toFixed(1)} MB`);

function run([command = '', ...args]: readonly string[]): void {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
