// A Chromium to drive VS Code with: the machine's own where there is one, else the one from npm, unpacked once.
import { spawnSync } from 'node:child_process';
import { createReadStream, createWriteStream, chmodSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createBrotliDecompress } from 'node:zlib';
import { type Browser, chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
const FLAGS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

export async function launchChromium(): Promise<Browser> {
  const own = process.env['LOCAL_DATA_CHROMIUM'] ?? onPath();
  if (own !== undefined) return chromium.launch({ executablePath: own, args: FLAGS });
  const { executable, libraries } = await fromNpm();
  const path = [libraries, process.env['LD_LIBRARY_PATH']].filter((part) => part !== undefined).join(delimiter);
  return chromium.launch({ executablePath: executable, args: FLAGS, env: { ...process.env, LD_LIBRARY_PATH: path } });
}

function onPath(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find((file) => existsSync(file));
}

async function fromNpm(): Promise<{ executable: string; libraries: string }> {
  const bin = join(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')), '../../bin');
  const folder = fileURLToPath(new URL('../.vscode-test/chromium/', import.meta.url));
  const executable = join(folder, 'chromium');
  if (!existsSync(executable)) {
    console.log('No Chromium on this machine: unpacking the one from npm.');
    mkdirSync(folder, { recursive: true });
    for (const name of ['al2023', 'swiftshader', 'fonts']) {
      const tar = join(folder, `${name}.tar`);
      await decompress(join(bin, `${name}.tar.br`), tar);
      const target = name === 'al2023' ? folder : join(folder, name === 'swiftshader' ? '.' : name);
      mkdirSync(target, { recursive: true });
      const { status } = spawnSync('tar', ['-xf', tar, '-C', target]);
      if (status !== 0) throw new Error(`${tar} could not be unpacked; is there a tar command?`);
    }
    const half = `${executable}.${process.pid}`;
    await decompress(join(bin, 'chromium.br'), half);
    chmodSync(half, 0o755);
    renameSync(half, executable);
  }
  return { executable, libraries: join(folder, 'lib') };
}

async function decompress(from: string, to: string): Promise<void> {
  await pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(to));
}
