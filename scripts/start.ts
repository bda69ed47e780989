// `npm start`: builds, packages and installs the extension into a VS Code with folders of its own, and opens the demo
// workspace in it, with a server and a second client beside it. Options: --web, --desktop, --port N, --no-open,
// --no-server, --fresh. Never touches a person's own editor.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { builtVsix } from './built-vsix.ts';
import { run } from './processes.ts';
import { projectRoot } from './project.ts';
import { type DemoServer, forgetDemoServer, startDemoServer } from './run-demo-server.ts';
import { QUIET_SETTINGS, startVscodeServer } from './vscode-server.ts';

const demo = join(process.env.LOCAL_DATA_DEMO ?? projectRoot, '.localdata-demo');
const workspace = join(demo, 'workspace');
const windows = process.platform === 'win32';
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => stop.abort());

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
  const options = readOptions(process.argv.slice(2));
  const code = options.web ? undefined : desktopCode(options);
  if (options.fresh) rmSync(demo, { recursive: true, force: true });
  if (!existsSync(workspace)) cpSync(join(projectRoot, 'demo'), workspace, { recursive: true });
  const vsix = await builtVsix(stop.signal);
  const server = await serverBeside(options);
  try {
    if (code === undefined) await startWeb(vsix, options, server);
    else await startDesktop(code, vsix, server);
  } finally {
    await server?.stop();
  }
}

async function serverBeside({ serves }: Options): Promise<DemoServer | undefined> {
  if (!serves) {
    forgetDemoServer(workspace);
    return undefined;
  }
  const server = await startDemoServer(demo, workspace, stop.signal);
  if (server === undefined) console.log('The demo server did not start; the demo goes on without one.');
  void server?.ended.then((how) => {
    if (how === 'by itself') console.log('The demo server has ended; the demo goes on without one.');
  });
  return server;
}

async function startWeb(vsix: string, options: Options, beside: DemoServer | undefined): Promise<void> {
  console.log('Starting VS Code with the extension installed');
  const server = await startVscodeServer({
    home: join(demo, 'vscode'),
    vsixFiles: [vsix],
    port: options.port,
    token: keptToken(),
    signal: stop.signal,
  });
  try {
    const address = server.address(workspace);
    console.log(`\n  Local Data is open at\n\n  ${address}\n`);
    if (beside?.isRunning === true) console.log(`  ${besideOf(beside)}`);
    console.log('  Ctrl+C stops it. --fresh starts over with new sample data.\n');
    if (options.opens) openInBrowser(address);
    await server.ended;
    if (!stop.signal.aborted) throw new Error("VS Code's server ended by itself; run npm start again.");
    console.log('\nStopped.');
  } finally {
    await server.kill();
  }
}

/** A conflict that was resolved in an earlier start is not there any more. */
function besideOf({ isNew }: DemoServer): string {
  const conflict = isNew ? '; one conflict waits for you' : '';
  return `A server and a simulated colleague run beside it${conflict}.`;
}

/** Its window outlives this program: a person closes it as any other. */
async function startDesktop(code: string, vsix: string, beside: DemoServer | undefined): Promise<void> {
  const home = join(demo, 'desktop');
  const settings = join(home, 'user/User/settings.json');
  mkdirSync(join(home, 'user/User'), { recursive: true });
  if (!existsSync(settings)) writeFileSync(settings, `${JSON.stringify(QUIET_SETTINGS, null, 2)}\n`);
  const own = ['--user-data-dir', join(home, 'user'), '--extensions-dir', join(home, 'extensions')];
  console.log('Installing the extension into a VS Code with folders of its own');
  await runCode(code, [...own, '--install-extension', vsix, '--force']);
  await runCode(code, [...own, '--new-window', '--disable-workspace-trust', workspace]);
  console.log(`VS Code shows ${workspace}. --web opens it in a browser instead; --fresh starts over.`);
  if (beside?.isRunning !== true) return;
  console.log('The demo server runs until Ctrl+C.');
  await beside.ended;
}

interface Options {
  readonly web: boolean;
  readonly desktop: boolean;
  readonly port: number;
  readonly opens: boolean;
  /** A sync server and a second client run beside VS Code. */
  readonly serves: boolean;
  readonly fresh: boolean;
}

function readOptions(words: string[]): Options {
  const { web, desktop, port, 'no-open': closed, 'no-server': alone, fresh } = parsed(words);
  if (web && desktop) throw new Error('--web and --desktop are two places for one VS Code; give one of them.');
  if (desktop && (port !== undefined || closed))
    throw new Error('--port and --no-open are for VS Code in a browser; give them with --web.');
  return { web, desktop, port: checkedPort(port ?? '0'), opens: !closed, serves: !alone, fresh };
}

function parsed(args: string[]) {
  const flag = { type: 'boolean', default: false } as const;
  try {
    const options = {
      web: flag,
      desktop: flag,
      port: { type: 'string' },
      'no-open': flag,
      'no-server': flag,
      fresh: flag,
    } as const;
    return parseArgs({ args, options }).values;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${why}\nThe options are --web, --desktop, --port N, --no-open, --no-server and --fresh.`, {
      cause: error,
    });
  }
}

/** In an integrated terminal `code` is the person's own window: then the one from npm is taken. */
function desktopCode({ desktop }: Options): string | undefined {
  const isInsideVscode = process.env.VSCODE_IPC_HOOK_CLI !== undefined;
  if (isInsideVscode && desktop)
    throw new Error('--desktop: here `code` is the window of this terminal. Use a terminal outside VS Code, or --web.');
  if (isInsideVscode) return undefined;
  const name = windows ? 'code.cmd' : 'code';
  const folders = (process.env.PATH ?? '').split(delimiter);
  const found = folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
  if (found === undefined && desktop)
    throw new Error(
      '--desktop: no `code` command is on the PATH. VS Code installs it (command palette: "Shell Command: Install"); or start with --web.',
    );
  return found;
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

async function runCode(command: string, words: readonly string[]): Promise<void> {
  // Windows runs a .cmd through its shell only, which takes the words as one line.
  const line = [command, ...words].map((word) => `"${word}"`).join(' ');
  const status = windows
    ? await run(line, [], { stdio: 'inherit', shell: true }, stop.signal)
    : await run(command, words, { stdio: 'inherit' }, stop.signal);
  stop.signal.throwIfAborted();
  if (status !== 0) throw new Error(`${command} ${words.join(' ')} ended with ${status}.`);
}
