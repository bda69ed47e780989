// The packaged extension of the sources as they are: built when it is missing or older than what it is made from.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './processes.ts';
import { node24, projectRoot, vsixFile } from './project.ts';

const MADE_FROM = ['src', 'media', 'package.json', 'package-lock.json', 'esbuild.mjs', '.vscodeignore', 'README.md'];

export async function builtVsix(signal?: AbortSignal): Promise<string> {
  if (existsSync(vsixFile) && newest(MADE_FROM) < statSync(vsixFile).mtimeMs) return vsixFile;
  console.log('Building and packaging the extension');
  const code = await run(
    node24(),
    [join(projectRoot, 'scripts/package.ts')],
    { cwd: projectRoot, stdio: ['ignore', 'ignore', 'inherit'] },
    signal,
  );
  signal?.throwIfAborted();
  if (code !== 0)
    throw new Error(`The extension was not packaged (ended with ${code}); run npm run package to see why.`);
  return vsixFile;
}

function newest(names: readonly string[]): number {
  return Math.max(...names.map((name) => newestIn(join(projectRoot, name))));
}

function newestIn(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newestIn(join(path, name))));
}
