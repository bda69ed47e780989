// A real VS Code from npm: fetched once into a cache beside the project, started on 127.0.0.1 behind a token, with
// folders of its own. Must never touch a person's own editor or its folders.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const VERSION = '4.139.1';
const root = fileURLToPath(new URL('..', import.meta.url));
const cache = process.env['LOCAL_DATA_VSCODE_CACHE'] ?? join(root, '.vscode-test');
const folder = join(cache, `code-server-${VERSION}-${process.platform}-${process.arch}`);

/** Folder of the server, fetched when it is not there: about 600 MB on disk. */
export async function ensureServer(say: (line: string) => void = console.log): Promise<string> {
  const server = serverIn(folder);
  if (existsSync(join(server, 'out/server-main.js')) && existsSync(join(server, 'node_modules'))) return server;
  const started = Date.now();
  const building = `${folder}.building-${process.pid}`;
  mkdirSync(building, { recursive: true });
  const removeHalf = () => rmSync(building, { recursive: true, force: true });
  try {
    say(`Fetching VS Code (code-server ${VERSION}) from npm, once; about 600 MB on disk.`);
    await npm(
      ['install', '--prefix', building, '--ignore-scripts', '--no-audit', '--no-fund', `code-server@${VERSION}`],
      building,
    );
    say(`  1 of 2: the workbench is here (${seconds(started)} s). Fetching the server's own packages.`);
    await npm(['install', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'], serverIn(building));
    // Whoever was quicker has made the same; renaming is the one step that others see.
    if (existsSync(folder)) removeHalf();
    else renameSync(building, folder);
    say(`  2 of 2: VS Code is ready (${seconds(started)} s).`);
  } catch (error) {
    removeHalf();
    throw error;
  }
  return server;
}

export interface ServerOptions {
  /** Holds user data, extensions and server data of this server alone. */
  readonly home: string;
  readonly port?: number;
  /** Without trust being asked for; false shows Restricted Mode as a person would see it. */
  readonly trustAll: boolean;
  /** Lets the address name an extension under development and a test suite. Never for people. */
  readonly forTests?: boolean;
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Kept over starts, so that a printed address stays good. */
  readonly token?: string;
}

export interface RunningServer {
  readonly port: number;
  readonly token: string;
  address(parameters: Readonly<Record<string, string>>): string;
  stop(): Promise<void>;
}

export const QUIET_SETTINGS: Readonly<Record<string, unknown>> = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.colorTheme': 'Default Dark Modern',
  'chat.disableAIFeatures': true,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'extensions.ignoreRecommendations': true,
};

export function installExtension(server: string, home: string, vsix: string): void {
  const args = [...commonArguments(server, home), '--install-extension', vsix, '--force'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`VS Code could not install ${vsix}: ${stdout}${stderr}`);
}

export async function startServer(server: string, options: ServerOptions): Promise<RunningServer> {
  writeSettings(options.home, { ...QUIET_SETTINGS, ...options.settings });
  const token = options.token ?? randomBytes(16).toString('hex');
  const args = [
    ...commonArguments(server, options.home),
    ...['--host', '127.0.0.1', '--port', String(options.port ?? 0), '--connection-token', token],
    ...['--telemetry-level', 'off', '--reconnection-grace-time', '10'],
    ...(options.trustAll ? ['--disable-workspace-trust'] : []),
    ...(options.forTests === true ? ['--enable-smoke-test-driver'] : []),
  ];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: process.platform !== 'win32',
  });
  const port = await portOf(child);
  return {
    port,
    token,
    address: (parameters) =>
      `http://127.0.0.1:${port}/?${new URLSearchParams({ tkn: token, ...parameters }).toString()}`,
    stop: () => stop(child),
  };
}

function serverIn(installed: string): string {
  return join(installed, 'node_modules/code-server/lib/vscode');
}

function commonArguments(server: string, home: string): string[] {
  return [
    join(server, 'out/server-main.js'),
    '--accept-server-license-terms',
    ...['--server-data-dir', join(home, 'server')],
    ...['--user-data-dir', join(home, 'user')],
    ...['--extensions-dir', join(home, 'extensions')],
  ];
}

/** What a person has set in this VS Code since stays; ours are only what it begins with. */
function writeSettings(home: string, settings: Readonly<Record<string, unknown>>): void {
  const file = join(home, 'user/User/settings.json');
  mkdirSync(join(home, 'user/User'), { recursive: true });
  mkdirSync(join(home, 'extensions'), { recursive: true });
  const own = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as object) : {};
  writeFileSync(file, `${JSON.stringify({ ...settings, ...own }, null, 2)}\n`);
}

/** From the server's own line: on a busy port it would stay alive without listening. */
function portOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = '';
    const hear = (chunk: Buffer) => {
      said += chunk.toString();
      const port = /listening on (\d+)/.exec(said)?.[1];
      if (port !== undefined) resolve(Number(port));
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    child.once('exit', (code) => reject(new Error(`VS Code ended with ${code} before it listened:\n${said}`)));
    child.once('error', reject);
  });
}

/** The whole group: the server's extension hosts would outlive it. */
function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.pid === undefined) return resolve();
    const killHard = setTimeout(() => signalGroup(child, 'SIGKILL'), 5_000);
    child.once('exit', () => {
      clearTimeout(killHard);
      signalGroup(child, 'SIGKILL');
      resolve();
    });
    signalGroup(child, 'SIGTERM');
  });
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, signal);
  } catch {
    // It has ended already.
  }
}

function npm(args: readonly string[], cwd: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('npm', [...args], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: process.platform === 'win32',
    });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.once('error', reject);
    child.once('exit', (code) => {
      if (code === 0) resolve();
      else
        reject(
          new Error(`npm ${args.join(' ')} ended with ${code}. Is the npm registry reachable?\n${said.slice(-2_000)}`),
        );
    });
  });
}

function seconds(since: number): string {
  return ((Date.now() - since) / 1_000).toFixed(0);
}
