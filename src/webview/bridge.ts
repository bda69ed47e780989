// The panel's only way to the outside: messages to and from its host, and the state VS Code keeps for it while it is
// hidden or reloaded.
import type { FromPanel, PanelCall, PanelCalls, ToPanel } from '../protocol/panel.ts';

interface VsCodeApi {
  postMessage(message: FromPanel): void;
  getState(): unknown;
  setState(state: unknown): void;
}

declare function acquireVsCodeApi(): VsCodeApi;

const vscode = acquireVsCodeApi();
const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
const listeners = new Set<(message: ToPanel) => void>();
let lastId = 0;

window.addEventListener('message', ({ data }: MessageEvent<ToPanel>) => {
  if (data.kind === 'answer' || data.kind === 'refused') {
    const call = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.kind === 'answer') call?.resolve(data.value as never);
    else call?.reject(new Error(data.message));
    return;
  }
  for (const listener of listeners) listener(data);
});

export function send(message: FromPanel): void {
  vscode.postMessage(message);
}

export function ask<Call extends PanelCall>(
  call: Call,
  query: PanelCalls[Call]['query'],
): Promise<PanelCalls[Call]['answer']> {
  const id = ++lastId;
  return new Promise<PanelCalls[Call]['answer']>((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    vscode.postMessage({ kind: 'call', id, call, query });
  });
}

export function listen(listener: (message: ToPanel) => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** What a person has set up in the panel; survives hiding, reload and a restart of the engine. */
export interface KeptState {
  readonly entityType?: string;
  readonly entityId?: string;
  readonly search?: string;
  readonly orderBy?: string;
  readonly scrollTop?: number;
}

export function keptState(): KeptState {
  const state = vscode.getState();
  return typeof state === 'object' && state !== null ? state : {};
}

export function keep(change: KeptState): void {
  vscode.setState({ ...keptState(), ...change });
}
