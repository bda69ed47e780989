// Finds a Chromium for the tests: the one named by CHROMIUM_PATH, one of the system, or the one that comes from npm,
// which is unpacked into the cache with the libraries a bare machine lacks.
import { spawnSync } from 'node:child_process';
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext } from 'playwright-core';
import { projectRoot } from './project.ts';

export interface Chromium {
  readonly executablePath: string;
  readonly env: Readonly<Record<string, string>>;
}

const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
];

const OF_THE_SYSTEM = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

export async function launchChromium(): Promise<Browser> {
  const { executablePath, env } = await findChromium();
  return chromium.launch({ executablePath, args: CHROMIUM_FLAGS, env: { ...process.env, ...env } });
}

/** A browser with a profile that is kept in the folder, as a person's is: its window, its clipboard, no animations. */
export async function launchPersonsBrowser(profile: string): Promise<BrowserContext> {
  const { executablePath, env } = await findChromium();
  return chromium.launchPersistentContext(profile, {
    executablePath,
    args: CHROMIUM_FLAGS,
    env: { ...process.env, ...env },
    headless: true,
    viewport: { width: 1280, height: 800 },
    permissions: ['clipboard-read', 'clipboard-write'],
    reducedMotion: 'reduce',
  });
}

/** `CHROMIUM_PATH=npm` asks for the one from npm even where the system has one. */
async function findChromium(): Promise<Chromium> {
  const named = process.env.CHROMIUM_PATH;
  if (named === 'npm') return fromNpm();
  if (named !== undefined && named !== '') {
    if (!existsSync(named)) throw new Error(`CHROMIUM_PATH names ${named}, which is not there.`);
    return { executablePath: named, env: {} };
  }
  const found = OF_THE_SYSTEM.find((path) => existsSync(path));
  return found === undefined ? fromNpm() : { executablePath: found, env: {} };
}

async function fromNpm(): Promise<Chromium> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`No Chromium found and npm has none for ${process.platform}-${process.arch}; set CHROMIUM_PATH.`);
  }
  const packed = join(projectRoot, 'node_modules/@sparticuz/chromium');
  const version = /"version": "([^"]+)"/.exec(readFileSync(join(packed, 'package.json'), 'utf8'))?.[1] ?? 'unknown';
  const cache = process.env.LOCAL_DATA_CACHE ?? join(projectRoot, '.vscode-test');
  const target = join(cache, `chromium-${version}-linux-x64`);
  if (!existsSync(target)) await unpack(join(packed, 'bin'), target);
  const libraries = [join(target, 'lib'), process.env.LD_LIBRARY_PATH].filter((path) => path !== undefined);
  // A machine without fonts gets the one that the package carries; its own settings name folders of another place.
  const fonts: Record<string, string> = existsSync('/etc/fonts/fonts.conf')
    ? {}
    : { FONTCONFIG_FILE: join(target, 'own-fonts.conf') };
  return { executablePath: join(target, 'chromium'), env: { LD_LIBRARY_PATH: libraries.join(delimiter), ...fonts } };
}

async function unpack(bin: string, target: string): Promise<void> {
  console.log(`Unpacking Chromium from npm into ${target}`);
  const work = `${target}.${process.pid}`;
  mkdirSync(work, { recursive: true });
  try {
    await inflate(join(bin, 'chromium.br'), join(work, 'chromium'), 0o755);
    for (const name of ['al2023', 'swiftshader', 'fonts']) await unpackTar(join(bin, `${name}.tar.br`), work);
    const folders = `<dir>${join(target, 'fonts')}</dir><cachedir>${join(target, 'fonts-cache')}</cachedir>`;
    writeFileSync(join(work, 'own-fonts.conf'), `<?xml version="1.0"?><fontconfig>${folders}</fontconfig>\n`);
    // Another process may have been quicker; its copy is the same.
    if (!existsSync(target)) renameSync(work, target);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function unpackTar(from: string, folder: string): Promise<void> {
  const tarFile = join(folder, 'unpacking.tar');
  await inflate(from, tarFile, 0o644);
  const { status } = spawnSync('tar', ['-xf', tarFile, '-C', dirname(tarFile)], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`tar could not unpack ${from}; is there room in ${folder}?`);
  rmSync(tarFile);
}

async function inflate(from: string, to: string, mode: number): Promise<void> {
  await pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(to, { mode }));
}
