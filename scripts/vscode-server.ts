// One VS Code server on this machine: installs a packaged extension, starts, says where it listens, and when disposed ends
// with every process it started. Listens on 127.0.0.1 only and never without a token.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, killTree, whenGone } from './processes.ts';
import { node24 } from './project.ts';
import { vscodeFolder } from './vscode-cache.ts';

export interface ServerOptions {
  /** Holds user data, extensions and the server's own files; nothing is read or written elsewhere. */
  readonly home: string;
  /** Packaged extensions to install before the start. */
  readonly vsixFiles?: readonly string[];
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly port?: number;
  /** Kept over starts where a printed address is to stay good; else a new one each time. */
  readonly token?: string;
  /** Off: every workspace is trusted. On: VS Code asks, as it does for people. */
  readonly workspaceTrust?: boolean;
  /** For tests only: without it the development parameters of the address are ignored. */
  readonly testDriver?: boolean;
  readonly signal?: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
}

export interface VscodeServer extends AsyncDisposable {
  readonly port: number;
  readonly token: string;
  /** The address that opens this folder, token included. */
  address(folder?: string, parameters?: Readonly<Record<string, string>>): string;
  /** Settles when the server has ended, whoever ended it. */
  readonly ended: Promise<void>;
  /** Ends the server with all its processes, as a crash of the machine would. */
  kill(): Promise<void>;
}

/** A workbench that opens empty and quiet: no welcome page, no tips, no assistant, nothing asked. */
export const QUIET_SETTINGS: Readonly<Record<string, unknown>> = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.enableExperiments': false,
  'workbench.colorTheme': 'Default Dark Modern',
  'window.commandCenter': false,
  'workbench.layoutControl.enabled': false,
  'chat.disableAIFeatures': true,
  'chat.commandCenter.enabled': false,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'git.enabled': false,
  'git.openRepositoryInParentFolders': 'never',
  'npm.autoDetect': 'off',
  'security.workspace.trust.banner': 'never',
};

export async function startVscodeServer(options: ServerOptions): Promise<VscodeServer> {
  const vscode = await vscodeFolder(options.signal);
  const folders = prepareFolders(options);
  for (const vsix of options.vsixFiles ?? []) await installExtension(vscode, folders, vsix, options.signal);
  options.signal?.throwIfAborted();
  const token = options.token ?? randomBytes(16).toString('hex');
  const child = spawn(node24(), [join(vscode, 'out/server-main.js'), ...serverFlags(options, folders, token)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environment(options),
    detached: process.platform !== 'win32',
  });
  const stopOnAbort = (): void => killTree(child);
  options.signal?.addEventListener('abort', stopOnAbort);
  process.once('exit', stopOnAbort);
  const end = async (): Promise<void> => {
    options.signal?.removeEventListener('abort', stopOnAbort);
    process.removeListener('exit', stopOnAbort);
    const gone = whenGone(child);
    killTree(child);
    await gone;
  };
  try {
    const port = await listeningPort(child, options.signal);
    return {
      port,
      token,
      address: (folder, parameters = {}) => addressOf(port, token, folder, parameters),
      ended: whenGone(child),
      kill: end,
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

interface Folders {
  readonly server: string;
  readonly user: string;
  readonly extensions: string;
}

function prepareFolders({ home, settings }: ServerOptions): Folders {
  const folders = { server: join(home, 'server'), user: join(home, 'user'), extensions: join(home, 'extensions') };
  for (const folder of Object.values(folders)) mkdirSync(folder, { recursive: true });
  // User settings of the workbench in a browser come from the server's user data folder, machine settings from its own.
  mkdirSync(join(folders.user, 'User'), { recursive: true });
  const file = join(folders.user, 'User/settings.json');
  // What a person has set in this VS Code since stays.
  const own: object = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as object) : {};
  writeFileSync(file, `${JSON.stringify({ ...QUIET_SETTINGS, ...own, ...settings }, null, 2)}\n`);
  return folders;
}

function folderFlags({ server, user, extensions }: Folders): string[] {
  return ['--server-data-dir', server, '--user-data-dir', user, '--extensions-dir', extensions];
}

function serverFlags(options: ServerOptions, folders: Folders, token: string): string[] {
  return [
    ...['--host', '127.0.0.1', '--port', String(options.port ?? 0), '--connection-token', token],
    ...['--accept-server-license-terms', '--telemetry-level', 'off', '--reconnection-grace-time', '10'],
    ...folderFlags(folders),
    ...(options.workspaceTrust === true ? [] : ['--disable-workspace-trust']),
    ...(options.testDriver === true ? ['--enable-smoke-test-driver'] : []),
  ];
}

/** The server must not take itself for a part of the editor whose terminal this may be. */
function environment({ env }: ServerOptions): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(VSCODE_|ELECTRON_|NODE_OPTIONS$)/.test(name));
  return { ...Object.fromEntries(inherited), ...env };
}

async function installExtension(vscode: string, folders: Folders, vsix: string, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const words = ['--install-extension', vsix, '--force', '--accept-server-license-terms', ...folderFlags(folders)];
  const child = spawn(node24(), [join(vscode, 'out/server-main.js'), ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environment({ home: '' }),
  });
  const said = collectOutput(child);
  const code = await codeOf(child, signal);
  signal?.throwIfAborted();
  if (code !== 0 || /failed installing/i.test(said())) {
    throw new Error(`VS Code did not install ${vsix} (ended with ${code}):\n${said()}`);
  }
}

/** On a busy port the process stays alive without listening: only its own line says that it listens, and where. */
async function listeningPort(child: ChildProcess, signal?: AbortSignal): Promise<number> {
  const said = collectOutput(child);
  return new Promise<number>((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`VS Code's server ${why}:\n${said()}`));
    const late = setTimeout(() => fail('did not listen within 60 s'), 60_000);
    const look = (): void => {
      const port = /Extension host agent listening on (\d+)/.exec(said())?.[1];
      if (port !== undefined) settle(() => resolve(Number(port)));
      else if (/EADDRINUSE/.test(said())) settle(() => fail('found its port in use; choose another with --port'));
    };
    const settle = (then: () => void): void => {
      clearTimeout(late);
      then();
    };
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    child.on('error', (error) => settle(() => reject(error)));
    child.on('exit', (code) => settle(() => fail(`ended with ${code}`)));
    signal?.addEventListener('abort', () => settle(() => reject(new Error('Stopped.'))));
  });
}

/** Keeps what a process says, for the error that may need it; not more than its last 20,000 characters. */
function collectOutput(child: ChildProcess): () => string {
  let text = '';
  const keep = (chunk: Buffer): void => {
    text = (text + chunk.toString()).slice(-20_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  return () => text;
}

function addressOf(
  port: number,
  token: string,
  folder: string | undefined,
  parameters: Readonly<Record<string, string>>,
): string {
  const query = new URLSearchParams({
    tkn: token,
    ...(folder === undefined ? { ew: 'true' } : { folder }),
    ...parameters,
  });
  return `http://127.0.0.1:${port}/?${query.toString()}`;
}
