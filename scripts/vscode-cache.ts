// VS Code from the npm registry, in a cache folder of its own: fetched once, built in a temporary folder and renamed at
// the end, so that whatever interrupts it, what stands under the final name is complete. Never a dependency of the project.
import { mkdirSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { run } from './processes.ts';
import { projectRoot } from './project.ts';

const VERSION = '4.139.1';
const EXPECTED_MB = 590;

/** The folder of VS Code's server and workbench, fetched first where it is not there yet. */
export async function vscodeFolder(signal?: AbortSignal): Promise<string> {
  const cache = process.env.LOCAL_DATA_CACHE ?? join(projectRoot, '.vscode-test');
  const target = join(cache, `code-server-${VERSION}-${process.platform}-${process.arch}`);
  const inside = 'node_modules/code-server/lib/vscode';
  if (existsSync(join(target, inside))) return join(target, inside);
  mkdirSync(cache, { recursive: true });
  const release = await lock(`${target}.lock`, signal);
  try {
    if (!existsSync(target)) await fetchInto(cache, target, inside, signal);
  } finally {
    release();
  }
  return join(target, inside);
}

async function fetchInto(cache: string, target: string, inside: string, signal?: AbortSignal): Promise<void> {
  const started = Date.now();
  const work = join(cache, `fetching-${process.pid}`);
  console.log(`Fetching VS Code from npm (code-server ${VERSION}, about ${EXPECTED_MB} MB) into ${target}`);
  try {
    mkdirSync(work, { recursive: true });
    // A package.json of its own: else npm would take the project above for the place to install to.
    writeFileSync(join(work, 'package.json'), '{ "private": true }\n');
    await install(work, work, [`code-server@${VERSION}`], signal);
    await install(work, join(work, inside), ['--omit=dev'], signal);
    renameSync(work, target);
    console.log(`VS Code is there: ${sizeMb(target)} MB in ${((Date.now() - started) / 1000).toFixed(0)} s`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** One `npm install`, telling every three seconds how much is there. Its scripts are not run: no compiler is needed. */
async function install(work: string, folder: string, words: readonly string[], signal?: AbortSignal): Promise<void> {
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--no-package-lock'];
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const telling = setInterval(() => console.log(`  … ${sizeMb(work)} of about ${EXPECTED_MB} MB`), 3_000);
  try {
    const code = await run(
      npm,
      ['install', ...flags, ...words],
      {
        cwd: folder,
        stdio: ['ignore', 'inherit', 'inherit'],
        env: environmentOutsideThisRun(),
        shell: process.platform === 'win32',
      },
      signal,
    );
    signal?.throwIfAborted();
    if (code !== 0) throw new Error(failed(words, code));
  } finally {
    clearInterval(telling);
  }
}

function failed(words: readonly string[], code: number | null): string {
  return `npm install ${words.join(' ')} ended with ${code}. Is the npm registry reached (npm ping)? Then run it again.`;
}

/** An npm inside an npm script inherits that run's settings; `allow-scripts` and the prefix among them must not leak. */
function environmentOutsideThisRun(): NodeJS.ProcessEnv {
  const leaking = /^npm_(config_(local_prefix|prefix|ignore_scripts|allow_scripts)|package_|lifecycle_)/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !leaking.test(name)));
}

/** Waits while another living process fetches; a lock whose process is gone is taken over. */
async function lock(file: string, signal?: AbortSignal): Promise<() => void> {
  for (let told = false; ;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const owner = ownerOf(file);
    if (owner !== undefined && !isAlive(owner)) rmSync(file, { force: true });
    else {
      if (!told) console.log(`Waiting for process ${owner ?? 'unknown'}, which fetches VS Code (lock: ${file})`);
      told = true;
      await pause(500, undefined, signal === undefined ? {} : { signal });
    }
  }
}

function ownerOf(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, 'utf8'));
    return pid > 0 ? pid : undefined;
  } catch {
    // Released in between: the next attempt sees it.
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** In whole megabytes; files that come and go while it counts are passed over. */
function sizeMb(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return Math.round(bytes / 1_000_000);
}
