// Where the project stands, its packaged extension, and its own Node 24, for the programs in scripts and test.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const projectRoot = fileURLToPath(new URL('..', import.meta.url)).replace(/[\\/]$/, '');
export const vsixFile = join(projectRoot, 'dist/local-data.vsix');

/** The Node that VS Code's server runs on: version 24, from npm, whatever Node the machine has. */
export function node24(): string {
  const own = join(projectRoot, 'node_modules/node/bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (existsSync(own)) return own;
  if (process.versions.node.startsWith('24.')) return process.execPath;
  throw new Error(`Node 24 is missing at ${own}; run npm ci (with install scripts of the package "node" allowed).`);
}
