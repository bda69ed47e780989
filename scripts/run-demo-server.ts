// The demo's server as a process beside `npm start`: started, waited for until somebody can connect, and ended with all it
// left behind. What is said of it is what it said itself; one that cannot start is no reason to have no demo.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { codeOf, killTree } from './processes.ts';
import { node24, projectRoot } from './project.ts';

export interface DemoServer {
  /** It has never been started in this demo before: what is to be seen at the first meeting is still to come. */
  readonly isNew: boolean;
  readonly isRunning: boolean;
  /** Resolves when it is gone, and says whether it was told to go. */
  readonly ended: Promise<'by itself' | 'stopped'>;
  stop(): Promise<void>;
}

/** Undefined where it did not start; the reason it gave itself. */
export async function startDemoServer(
  demo: string,
  workspace: string,
  signal: AbortSignal,
): Promise<DemoServer | undefined> {
  forgetDemoServer(workspace);
  const isNew = !existsSync(join(demo, 'server'));
  const words = [join(projectRoot, 'scripts/demo-server.ts'), demo, workspace];
  const child = spawn(node24(), words, { cwd: projectRoot, stdio: ['ignore', 'pipe', 'inherit'] });
  let isRunning = true;
  let isStopped = false;
  // One that cannot be spawned has ended as well.
  const ended = codeOf(child, signal)
    .catch(() => null)
    .then(() => {
      isRunning = false;
      forgetDemoServer(workspace);
      return isStopped || signal.aborted ? 'stopped' : 'by itself';
    });
  await Promise.race([saysReady(child), ended]);
  if (signal.aborted) await ended;
  signal.throwIfAborted();
  if (!isRunning) return undefined;
  return {
    isNew,
    get isRunning() {
      return isRunning;
    },
    ended,
    stop: async () => {
      isStopped = true;
      killTree(child);
      await ended;
    },
  };
}

/** The address of a server that is gone would be tried in vain. */
export function forgetDemoServer(workspace: string): void {
  rmSync(join(workspace, '.localdata/server.json'), { force: true });
}

function saysReady({ stdout }: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (stdout === null) return;
    createInterface(stdout).on('line', (line) => {
      if (line === 'ready') resolve();
    });
  });
}
