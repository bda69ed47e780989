// Starts the engine for a place and gives back what the host needs of it. Loaded only when a database is opened.
import type * as vscode from 'vscode';
import type { LocalData } from '../engine/local-data.ts';
import type { DataPlace } from './data-place.ts';
import type { Settings } from './settings.ts';

export interface Engine {
  readonly data: LocalData;
  /** Called when the engine ended and could not be brought back. */
  onDidDie(listener: (error: Error) => void): void;
  stop(): Promise<void>;
}

export async function startEngine(place: DataPlace, settings: Settings, log: vscode.LogOutputChannel): Promise<Engine> {
  await place.claim();
  log.info(`${settings.retryLimit}`);
  throw new Error('no engine');
}
