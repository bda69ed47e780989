// `npm start`: builds, packages and installs the extension into a VS Code with folders of its own, and opens the demo
// workspace in it. Options: --web, --desktop, --port N, --no-open, --fresh. Never touches a person's own editor.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { builtVsix } from './built-vsix.ts';
import { projectRoot } from './project.ts';
import { QUIET_SETTINGS, startVscodeServer } from './vscode-server.ts';

const demo = join(projectRoot, '.localdata-demo');
const workspace = join(demo, 'workspace');
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort());

const { values: options } = parseArgs({
  options: {
    web: { type: 'boolean', default: false },
    desktop: { type: 'boolean', default: false },
    port: { type: 'string', default: '0' },
    'no-open': { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false },
  },
});

try {
  await start();
} catch (error) {
  if (stop.signal.aborted) console.log('\nStopped.');
  else {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}

async function start(): Promise<void> {
  const port = checkedPort(options.port);
  const code = options.web ? undefined : desktopCode();
  if (options.desktop && code === undefined) {
    throw new Error('--desktop: no `code` command is on the PATH. Install it from VS Code, or start with --web.');
  }
  if (options.fresh) rmSync(demo, { recursive: true, force: true });
  if (!existsSync(workspace)) cpSync(join(projectRoot, 'demo'), workspace, { recursive: true });
  const vsix = await builtVsix(stop.signal);
  if (code === undefined) await startWeb(vsix, port);
  else await startDesktop(code, vsix);
}

async function startWeb(vsix: string, port: number): Promise<void> {
  console.log('Starting VS Code with the extension installed');
  const server = await startVscodeServer({
    home: join(demo, 'vscode'),
    vsixFiles: [vsix],
    port,
    token: keptToken(),
    signal: stop.signal,
  });
  try {
    const address = server.address(workspace);
    console.log(`\n  Local Data is open at\n\n  ${address}\n`);
    console.log('  Ctrl+C stops it. --fresh starts over with new sample data.\n');
    if (!options['no-open']) openInBrowser(address);
    await server.ended;
    if (!stop.signal.aborted) throw new Error("VS Code's server ended by itself; run npm start again.");
    console.log('\nStopped.');
  } finally {
    await server.kill();
  }
}

/** Its window outlives this program: a person closes it as any other. */
async function startDesktop(code: string, vsix: string): Promise<void> {
  const home = join(demo, 'desktop');
  const settings = join(home, 'user/User/settings.json');
  mkdirSync(join(home, 'user/User'), { recursive: true });
  if (!existsSync(settings)) writeFileSync(settings, `${JSON.stringify(QUIET_SETTINGS, null, 2)}\n`);
  const own = ['--user-data-dir', join(home, 'user'), '--extensions-dir', join(home, 'extensions')];
  console.log('Installing the extension into a VS Code with folders of its own');
  await run(code, [...own, '--install-extension', vsix, '--force']);
  await run(code, [...own, '--new-window', '--disable-workspace-trust', workspace]);
  console.log(`VS Code shows ${workspace}. --web opens it in a browser instead; --fresh starts over.`);
}

/** In an integrated terminal `code` is the person's own window: then the one from npm is taken. */
function desktopCode(): string | undefined {
  if (process.env.VSCODE_IPC_HOOK_CLI !== undefined && !options.desktop) return undefined;
  const name = process.platform === 'win32' ? 'code.cmd' : 'code';
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
}

function checkedPort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new Error(`--port ${text}: a port is a number from 1 to 65535, or 0 for any that is free.`);
}

/** The same over starts, so that with --port an open tab finds its server again. */
function keptToken(): string {
  const file = join(demo, 'token');
  if (!existsSync(file)) writeFileSync(file, randomBytes(16).toString('hex'), { mode: 0o600 });
  return readFileSync(file, 'utf8').trim();
}

function openInBrowser(address: string): void {
  const [command, ...words] =
    process.platform === 'darwin'
      ? ['open', address]
      : process.platform === 'win32'
        ? ['cmd', '/c', 'start', '', address.replaceAll('&', '^&')]
        : ['xdg-open', address];
  if (command === undefined) return;
  const opener = spawn(command, words, { stdio: 'ignore', detached: true });
  // Without a browser the printed address is enough.
  opener.on('error', () => undefined);
  opener.unref();
}

async function run(command: string, words: readonly string[]): Promise<void> {
  const child = spawn(command, words, {
    stdio: 'inherit',
    shell: process.platform === 'win32',
    signal: stop.signal,
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (status !== 0) throw new Error(`${command} ${words.join(' ')} ended with ${status}.`);
}
