// The composition root: makes the host, registers every feature, returns the public API. A new feature does not touch it.
import { loadingSince } from './host/loading-since.ts';
import type * as vscode from 'vscode';
import type { LocalDataExports } from './api.ts';
import { createExports } from './host/exported-api.ts';
import { features } from './host/features.ts';
import { createHost } from './host/host.ts';

const loadMs = performance.now() - loadingSince;

let close = async () => {};

export function activate(context: vscode.ExtensionContext): LocalDataExports {
  const started = performance.now();
  const host = createHost(context);
  close = () => host.database.close();
  for (const register of features) context.subscriptions.push(register(host));
  const exports = createExports(host);
  host.activationMs = loadMs + performance.now() - started;
  host.log.info(`Activated in ${host.activationMs.toFixed(1)} ms (${loadMs.toFixed(1)} ms of it loading)`);
  return exports;
}

/** VS Code waits for this a few seconds, and not always calls it: nothing may depend on it. */
export async function deactivate(): Promise<void> {
  await close();
}
