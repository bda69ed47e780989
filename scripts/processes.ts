// Child processes of the project's programs, ended with everything they started. A stop is waited for to its end: nothing
// may still run, or hold a file, once the program that was stopped says so.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';

/** The exit code of a program, or null when it was ended by a signal; `signal` ends it with all that it started. */
export async function codeOf(child: ChildProcess, signal?: AbortSignal): Promise<number | null> {
  const stop = (): void => killTree(child);
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted === true) stop();
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** Runs a program to its end; stopped by `signal`, it is gone when this settles. */
export function run(
  command: string,
  words: readonly string[],
  options: SpawnOptions,
  signal?: AbortSignal,
): Promise<number | null> {
  signal?.throwIfAborted();
  return codeOf(spawn(command, words, options), signal);
}

export function whenGone(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

/** The extension host and what it started are in groups of their own, so the tree is walked and not the group killed. */
export function killTree({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return;
  if (process.platform === 'win32') {
    spawnSync('taskkill', ['/pid', String(pid), '/T', '/F']);
    return;
  }
  const tree = new Set<number>();
  // Halted first, until none is new: one that starts another while the list is read would leave it behind.
  for (let fresh = [pid]; fresh.length > 0; fresh = descendantsOf(pid).filter((one) => !tree.has(one))) {
    for (const one of fresh) {
      tree.add(one);
      signalTo(one, 'SIGSTOP');
    }
  }
  for (const one of [...tree].toReversed()) signalTo(one, 'SIGKILL');
}

function signalTo(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone by itself in between.
  }
}

function descendantsOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const [one, parent] of processesWithParents()) children.set(parent, [...(children.get(parent) ?? []), one]);
  const found: number[] = [];
  for (let open = [pid]; open.length > 0;) {
    open = open.flatMap((one) => children.get(one) ?? []);
    found.push(...open);
  }
  return found;
}

/** From /proc where there is one, since a bare Linux may lack `ps`. */
function processesWithParents(): (readonly [pid: number, parent: number])[] {
  if (process.platform !== 'linux') {
    const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' });
    return stdout.split('\n').map((line) => {
      const [pid, parent] = line.trim().split(/\s+/).map(Number);
      return [pid ?? 0, parent ?? 0] as const;
    });
  }
  return readdirSync('/proc').flatMap((name) => {
    const parent = /^\d+$/.test(name) ? parentOf(name) : undefined;
    return parent === undefined ? [] : [[Number(name), parent] as const];
  });
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    // Ended while the list was read.
    return undefined;
  }
}
