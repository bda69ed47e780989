// `npm start`: builds, packages and installs the extension into a VS Code with folders of its own, and opens the demo
// workspace in it. Options: --web, --desktop, --port N, --no-open, --fresh. Never touches a person's own editor.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { QUIET_SETTINGS, ensureServer, installExtension, startServer } from './vscode-server.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const demo = join(root, '.localdata-demo');
const workspace = join(demo, 'workspace');
const vsix = join(root, 'dist/local-data.vsix');

const { values: options } = parseArgs({
  options: {
    web: { type: 'boolean', default: false },
    desktop: { type: 'boolean', default: false },
    port: { type: 'string', default: '0' },
    'no-open': { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false },
  },
});

if (options.fresh) rmSync(demo, { recursive: true, force: true });
step('Building and packaging the extension');
runOrExit(process.execPath, [join(root, 'scripts/package.ts')]);
if (!existsSync(workspace)) cpSync(join(root, 'media/demo-workspace'), workspace, { recursive: true });
const desktop = options.web ? undefined : desktopCode();
if (options.desktop && desktop === undefined) {
  console.error('--desktop: no `code` command was found on the PATH. Install it from VS Code, or start with --web.');
  process.exit(1);
}
if (desktop === undefined) await startWeb();
else startDesktop(desktop);

async function startWeb(): Promise<void> {
  const server = await ensureServer();
  const home = join(demo, 'vscode');
  step('Installing the extension');
  installExtension(server, home, vsix);
  step('Starting VS Code');
  const running = await startServer(server, { home, port: Number(options.port), trustAll: true, token: keptToken() });
  const address = running.address({ folder: workspace });
  console.log(
    `\n  Local Data is open at\n\n  ${address}\n\n  Press Ctrl+C to stop. --fresh starts over with new sample data.\n`,
  );
  if (!options['no-open']) openInBrowser(address);
  const stop = () => void running.stop().then(() => process.exit(0));
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
}

function startDesktop(code: string): void {
  const home = join(demo, 'desktop');
  const settings = join(home, 'user/User/settings.json');
  mkdirSync(join(home, 'user/User'), { recursive: true });
  if (!existsSync(settings)) writeFileSync(settings, `${JSON.stringify(QUIET_SETTINGS, null, 2)}\n`);
  const own = ['--user-data-dir', join(home, 'user'), '--extensions-dir', join(home, 'extensions')];
  step('Installing the extension');
  runOrExit(code, [...own, '--install-extension', vsix, '--force']);
  step('Opening VS Code');
  runOrExit(code, [...own, '--new-window', '--disable-workspace-trust', workspace]);
}

/** In an integrated terminal `code` is the person's own window: then the one from npm is taken. */
function desktopCode(): string | undefined {
  if (process.env['VSCODE_IPC_HOOK_CLI'] !== undefined && !options.desktop) return undefined;
  const name = process.platform === 'win32' ? 'code.cmd' : 'code';
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
}

/** The same over starts, so that an open tab finds its server again. */
function keptToken(): string {
  const file = join(demo, 'token');
  if (!existsSync(file)) {
    mkdirSync(demo, { recursive: true });
    writeFileSync(file, randomBytes(16).toString('hex'), { mode: 0o600 });
  }
  return readFileSync(file, 'utf8').trim();
}

function openInBrowser(address: string): void {
  const [command, ...args] =
    process.platform === 'darwin'
      ? ['open', address]
      : process.platform === 'win32'
        ? ['cmd', '/c', 'start', '', address.replaceAll('&', '^&')]
        : ['xdg-open', address];
  if (command === undefined) return;
  const opener: ChildProcess = spawn(command, args, { stdio: 'ignore', detached: true });
  // Without a browser the printed address is enough.
  opener.on('error', () => undefined);
  opener.unref();
}

function runOrExit(command: string, args: readonly string[]): void {
  const { status } = spawnSync(command, [...args], {
    stdio: 'inherit',
    shell: process.platform === 'win32' && command.endsWith('.cmd'),
  });
  if (status !== 0) process.exit(status ?? 1);
}

function step(what: string): void {
  console.log(`${what} …`);
}
