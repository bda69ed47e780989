// A sync server of one's own, as docs/server.md says: `npm run server` in a second terminal, at one address over all its
// starts. What a person does with such a server is done here: another secret, an empty data directory.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';

const LIMIT_MS = 60_000;

export class OwnServer implements AsyncDisposable {
  readonly url: string;
  readonly #project: string;
  readonly #dataDir: string;
  readonly #environment: NodeJS.ProcessEnv;
  #secret = newSecret();
  #child: ChildProcess | undefined;

  private constructor(project: string, dataDir: string, port: number, environment: NodeJS.ProcessEnv) {
    this.url = `http://127.0.0.1:${port}`;
    this.#project = project;
    this.#dataDir = dataDir;
    this.#environment = { ...environment, PORT: String(port), DATA_DIR: dataDir, LOG_LEVEL: 'silent' };
  }

  static async start(project: string, home: string, environment: NodeJS.ProcessEnv): Promise<OwnServer> {
    const dataDir = join(home, 'own-server/data');
    const server = new OwnServer(project, dataDir, await freePort(), environment);
    await server.#start();
    return server;
  }

  token(space: string): string {
    const words = ['run', '--silent', 'server', '--', 'token', '--space', space];
    return execFileSync('npm', words, { cwd: this.#project, env: this.#env(), encoding: 'utf8' }).trim();
  }

  /** Tokens that it gave before are no longer accepted. */
  async restartWithAnotherSecret(): Promise<void> {
    await this.stop();
    this.#secret = newSecret();
    await this.#start();
  }

  /** It has nothing, and is another one than before. */
  async restartEmpty(): Promise<void> {
    await this.stop();
    rmSync(dirname(this.#dataDir), { recursive: true, force: true });
    await this.#start();
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child?.pid === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    // As Ctrl+C in the terminal does: the signal goes to all of the foreground group.
    process.kill(-child.pid, 'SIGINT');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #start(): Promise<void> {
    console.log('$ npm run server');
    const child = spawn('npm', ['run', 'server'], {
      cwd: this.#project,
      env: this.#env(),
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('npm run server said no address within a minute.')), LIMIT_MS);
      let said = '';
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (!said.includes(`sync server is at ${this.url}`)) return;
        clearTimeout(late);
        resolve();
      });
      child.once('close', (code) => {
        clearTimeout(late);
        reject(new Error(`npm run server ended with ${code}:\n${said}`));
      });
    });
  }

  #env(): NodeJS.ProcessEnv {
    return { ...this.#environment, LOCAL_DATA_SECRET: this.#secret };
  }
}

function newSecret(): string {
  return randomBytes(32).toString('base64url');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
