// Copies what a person would send with a question: versions, state, sizes, counts, timings. No payloads, no names of entities.
import * as vscode from 'vscode';
import { defineCommand } from '../command.ts';
import type { Host } from '../host.ts';

export const copyDiagnostics = defineCommand('localData.copyDiagnostics', async (host) => {
  const text = JSON.stringify(await collect(host), null, 2);
  await vscode.env.clipboard.writeText(text);
  vscode.window.setStatusBarMessage('$(check) Diagnostics copied', 5_000);
  return text;
});

async function collect({ context, database, activationMs, settings }: Host): Promise<object> {
  const { state } = database;
  const version: unknown = (context.extension.packageJSON as { version?: unknown }).version;
  return {
    extension: version,
    vscode: vscode.version,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    activationMs: Math.round(activationMs * 10) / 10,
    trusted: vscode.workspace.isTrusted,
    state: state.kind,
    ...(state.kind === 'failed' ? { error: state.error.message } : {}),
    settings: settings(),
    engine: state.kind === 'ready' ? await state.data.diagnostics() : null,
  };
}
