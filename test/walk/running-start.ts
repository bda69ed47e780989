// One run of `npm start` as a person has it in a terminal: its words are shown and kept, its printed address is found,
// and Ctrl+C ends it with everything it started.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

const LIMIT_MS = 15 * 60_000;

export interface RunningStart {
  readonly address: string;
  /** As Ctrl+C in the terminal does: the signal goes to all of the foreground group. */
  interrupt(): Promise<void>;
}

export async function runStart(line: string, cwd: string, env: NodeJS.ProcessEnv): Promise<RunningStart> {
  console.log(`$ ${line}`);
  const child = spawn('bash', ['-c', line], { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  // Not a kill: npm start then ends its server itself.
  const killWithUs = (): void => signal(child, 'SIGINT');
  process.once('exit', killWithUs);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  try {
    const address = await printedAddress(child);
    return {
      address,
      interrupt: async () => {
        signal(child, 'SIGINT');
        await ended;
        process.removeListener('exit', killWithUs);
      },
    };
  } catch (error) {
    signal(child, 'SIGINT');
    throw error;
  }
}

function printedAddress(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    const late = setTimeout(() => reject(new Error('npm start printed no address in 15 minutes.')), LIMIT_MS);
    const hear = (chunk: Buffer): void => {
      process.stdout.write(chunk);
      said = (said + chunk.toString()).slice(-100_000);
      const address = /http:\/\/127\.0\.0\.1:\d+\/\?tkn=\S+/.exec(said)?.[0];
      if (address === undefined) return;
      clearTimeout(late);
      resolve(address);
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    child.once('close', (code) => {
      clearTimeout(late);
      reject(new Error(`npm start ended with ${code} before it printed an address.`));
    });
  });
}

function signal({ pid, exitCode }: ChildProcess, name: NodeJS.Signals): void {
  if (pid === undefined || exitCode !== null) return;
  try {
    process.kill(-pid, name);
  } catch {
    // It has ended already.
  }
}
