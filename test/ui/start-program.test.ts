// `npm start` as a program: what it says of wrong options, how it calls a desktop VS Code, and that Ctrl+C leaves no
// process behind at any stage. Its demo lies in a temporary folder; a person's own stays untouched.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { launchChromium } from '../../scripts/chromium.ts';
import { node24, projectRoot, vsixFile } from '../../scripts/project.ts';

describe('npm start', () => {
  let home: string;
  let started: StartProgram[] = [];

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'local-data-start-'));
  });

  afterEach(async () => {
    await Promise.all(started.map((program) => program.interrupt()));
    started = [];
    rmSync(home, { recursive: true, force: true, maxRetries: 3 });
  });

  function start(words: readonly string[], env: NodeJS.ProcessEnv = {}): StartProgram {
    const program = new StartProgram(words, { LOCAL_DATA_DEMO: home, ...env });
    started.push(program);
    return program;
  }

  /** A program of that name in the home folder, first on the PATH. */
  function pathWith(name: string, script: string): string {
    const file = join(home, name);
    writeFileSync(file, `#!${node24()}\n${script}\n`);
    chmodSync(file, 0o755);
    return [home, process.env.PATH ?? ''].join(delimiter);
  }

  for (const [words, meaning] of [
    [['--prot', '3000'], /Unknown option '--prot'[^]*--port N/],
    [['--port', 'http'], /--port http: a port is a number from 1 to 65535/],
    [['--port', '65536'], /--port 65536: a port is a number/],
    [['--web', '--desktop'], /--web and --desktop .* give one of them/],
    [['--desktop', '--no-open'], /--port and --no-open are for VS Code in a browser/],
  ] as const) {
    it(`says what is wrong with ${words.join(' ')}, and does nothing`, async () => {
      const program = start(words);
      assert.equal(await program.ended, 1);
      assert.match(program.said, meaning);
      assert.doesNotMatch(program.said, /^\s+at /m);
      assert.deepEqual(readdirSync(home), []);
    });
  }

  it('says how to come by a desktop VS Code where --desktop finds none', async () => {
    const program = start(['--desktop'], { PATH: home });
    assert.equal(await program.ended, 1);
    assert.match(program.said, /--desktop: no `code` command is on the PATH.*--web/);
  });

  it('does not take the window of its own terminal for a desktop VS Code', async () => {
    const PATH = pathWith('code', 'throw new Error("called")');
    const program = start(['--desktop'], { PATH, VSCODE_IPC_HOOK_CLI: '/a/socket' });
    assert.equal(await program.ended, 1);
    assert.match(program.said, /--desktop: here `code` is the window of this terminal/);
  });

  it('installs into and opens a desktop VS Code with folders of its own', async () => {
    const calls = join(home, 'calls');
    const record = `require('node:fs').appendFileSync(${JSON.stringify(calls)}, JSON.stringify(process.argv.slice(2)) + '\\n')`;
    const PATH = pathWith('code', record);
    const program = start(['--no-server'], { PATH, VSCODE_IPC_HOOK_CLI: undefined });
    assert.equal(await program.ended, 0, program.said);
    const demo = join(home, '.localdata-demo');
    const own = ['--user-data-dir', join(demo, 'desktop/user'), '--extensions-dir', join(demo, 'desktop/extensions')];
    const made = readFileSync(calls, 'utf8').trim().split('\n');
    assert.deepEqual(
      made.map((line) => JSON.parse(line) as unknown),
      [
        [...own, '--install-extension', vsixFile, '--force'],
        [...own, '--new-window', '--disable-workspace-trust', join(demo, 'workspace')],
      ],
    );
    assert.ok(existsSync(join(demo, 'workspace/places.csv')), 'the demo workspace is there');
  });

  it('keeps the server running beside a desktop VS Code until Ctrl+C, with its address in the workspace', async () => {
    const PATH = pathWith('code', '');
    const program = start([], { PATH, VSCODE_IPC_HOOK_CLI: undefined });
    await program.says(/The demo server runs until Ctrl\+C/);
    const file = join(home, '.localdata-demo/workspace/.localdata/server.json');
    const { url } = JSON.parse(readFileSync(file, 'utf8')) as { url: string };
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    await program.interrupt();
    assert.deepEqual(program.left(), []);
    await assert.rejects(fetch(`${url}/healthz`));
    assert.ok(!existsSync(file), 'the address of a server that is gone is not left behind');
  });

  it('says that the demo server did not start, and neither promises it nor leaves an address of it', async () => {
    const demo = join(home, '.localdata-demo');
    mkdirSync(demo);
    // Where its data directory should be.
    writeFileSync(join(demo, 'server'), 'no directory');
    const program = start(['--web', '--no-open']);
    await program.says(/Ctrl\+C stops it/);
    assert.match(program.said, /The demo server did not start; the demo goes on without one/);
    assert.doesNotMatch(program.said, /run beside it/);
    assert.ok(!existsSync(join(demo, 'workspace/.localdata/server.json')));
  });

  it('does not wait beside a desktop VS Code for a demo server that did not start', async () => {
    mkdirSync(join(home, '.localdata-demo'));
    writeFileSync(join(home, '.localdata-demo/server'), 'no directory');
    const program = start([], { PATH: pathWith('code', ''), VSCODE_IPC_HOOK_CLI: undefined });
    assert.equal(await program.ended, 0);
    assert.match(program.said, /The demo server did not start/);
    assert.doesNotMatch(program.said, /runs until Ctrl\+C/);
  });

  it('promises a conflict only before the first meeting, says when the server ends by itself, and forgets its address', async () => {
    const demo = join(home, '.localdata-demo');
    const file = join(demo, 'workspace/.localdata/server.json');
    const first = start(['--web', '--no-open']);
    await first.says(/A server and a simulated colleague run beside it; one conflict waits for you\./);
    assert.ok(existsSync(file));
    await first.interrupt();
    assert.ok(!existsSync(file), 'after Ctrl+C');
    const second = start(['--web', '--no-open']);
    await second.says(/A server and a simulated colleague run beside it\./);
    const { pid } = JSON.parse(readFileSync(join(demo, 'server.lock'), 'utf8')) as { pid: number };
    process.kill(pid);
    await second.says(/The demo server has ended; the demo goes on without one/);
    assert.ok(!existsSync(file), 'after it ended');
    await second.interrupt();
  });

  it('says so when the port is in use', async () => {
    const other = await listening();
    const program = start(['--web', '--no-open', '--port', String(other.port)]);
    assert.equal(await program.ended, 1);
    await other.close();
    assert.match(program.said, /found its port in use; choose another with --port/);
    assert.deepEqual(program.left(), []);
  });

  it('keeps address and state over starts at one port, and starts over with --fresh', async () => {
    const own = join(home, '.localdata-demo/workspace/own.txt');
    const port = String(await freePort());
    const first = start(['--web', '--no-open', '--port', port]);
    const address = (await first.says(ADDRESS))[0];
    assert.equal(new URL(address).port, port);
    writeFileSync(own, 'mine');
    await first.interrupt();
    const second = start(['--web', '--no-open', '--port', port]);
    assert.equal((await second.says(ADDRESS))[0], address);
    assert.equal(readFileSync(own, 'utf8'), 'mine');
    await second.interrupt();
    const third = start(['--web', '--no-open', '--fresh']);
    await third.says(ADDRESS);
    assert.ok(!existsSync(own));
  });

  it('is stopped by Ctrl+C while VS Code is fetched, and leaves no half of it', async () => {
    const cache = join(home, 'cache');
    const PATH = pathWith('npm', 'console.log("fetching"); setInterval(() => {}, 1000)');
    const program = start(['--web', '--no-open'], { PATH, LOCAL_DATA_CACHE: cache });
    await program.says(/^fetching$/m);
    await program.interrupt();
    assert.match(program.said, /Stopped\./);
    assert.equal(await program.ended, 0);
    assert.deepEqual(readdirSync(cache), []);
    assert.deepEqual(program.left(), []);
  });

  it('is stopped by Ctrl+C while the extension is installed', async () => {
    const program = start(['--web', '--no-open']);
    await program.says(/Starting VS Code with the extension installed/);
    await program.interrupt();
    assert.match(program.said, /Stopped\./);
    assert.deepEqual(program.left(), []);
  });

  it('is stopped by Ctrl+C while VS Code runs with the database open', async () => {
    const program = start(['--web', '--no-open']);
    const address = (await program.says(ADDRESS))[0];
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await page.goto(address);
      await page.locator('.pane-body .monaco-list-row').filter({ hasText: 'Failed' }).waitFor({ timeout: 90_000 });
      assert.ok(program.left().length > 2, 'the server has an extension host');
      await program.interrupt();
      assert.match(program.said, /Stopped\./);
      assert.equal(await program.ended, 0);
      assert.deepEqual(program.left(), []);
    } finally {
      await browser.close();
    }
  });
});

const ADDRESS = /http:\/\/127\.0\.0\.1:\d+\/\?tkn=\S+/;

async function freePort(): Promise<number> {
  const { port, close } = await listening();
  await close();
  return port;
}

async function listening(): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return {
    port: address.port,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** `scripts/start.ts` in a process group of its own, as a terminal has it. */
class StartProgram {
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #mark: string;
  #said = '';

  constructor(words: readonly string[], env: NodeJS.ProcessEnv) {
    this.#mark = `LOCAL_DATA_DEMO=${env.LOCAL_DATA_DEMO}`;
    this.#child = spawn(node24(), ['scripts/start.ts', ...words], {
      cwd: projectRoot,
      env: { ...process.env, ...env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.#said += chunk.toString();
      });
    }
    this.ended = new Promise((resolve) => this.#child.once('close', resolve));
  }

  get said(): string {
    return this.#said;
  }

  /** Waits until its output matches. */
  says(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = pattern.exec(this.#said);
        if (found !== null) resolve(found);
      };
      this.#child.stdout?.on('data', look);
      this.#child.once('close', () => reject(new Error(`It ended before it said ${pattern.source}:\n${this.#said}`)));
      look();
    });
  }

  /** As Ctrl+C does: the signal goes to the whole foreground group. */
  async interrupt(): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, 'SIGINT');
    await this.ended;
  }

  /** The processes it started, whosever children they are by now: those that inherited its environment. */
  left(): number[] {
    return processesWithEnvironment().flatMap(([pid, environment]) => (environment.includes(this.#mark) ? [pid] : []));
  }
}

/** From /proc where there is one; elsewhere `ps` shows the environment behind the command. */
function processesWithEnvironment(): (readonly [pid: number, environment: string])[] {
  if (existsSync('/proc/self/environ')) {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.map((pid) => [Number(pid), environmentOf(pid)] as const);
  }
  const lines = execFileSync('ps', ['-A', '-E', '-ww', '-o', 'pid=,command='], { encoding: 'utf8' }).split('\n');
  return lines.map((line) => [Number.parseInt(line, 10), line] as const);
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    // Ended while the list was read, or another user's.
    return '';
  }
}
