// Starts the engine in its worker thread and gives back what the host needs of it. Loaded only when a database is opened.
import type * as vscode from 'vscode';
import type { LocalData } from '../engine/local-data.ts';
import { openInWorker } from '../worker/open-in-worker.ts';
import type { TransportRegistry } from '../worker/transport-registry.ts';
import type { DataPlace } from './data-place.ts';
import type { Settings } from './settings.ts';

export interface Engine {
  readonly data: LocalData;
  /** Called when the engine ended and could not be brought back; a single end is repaired without a word. */
  onDidDie(listener: (error: Error) => void): void;
  /** Called with why processing was paused without being asked to, and with null once a person has resumed it. */
  onDidPause(listener: (reason: Error | null) => void): void;
  stop(): Promise<void>;
}

export interface EngineRequest {
  readonly place: DataPlace;
  readonly settings: Settings;
  /** The bundled worker. */
  readonly workerFile: string;
  readonly log: vscode.LogOutputChannel;
  readonly transports: TransportRegistry;
}

export async function startEngine({ place, settings, workerFile, log, transports }: EngineRequest): Promise<Engine> {
  await place.claim();
  const engine = await openInWorker({
    workerFile,
    transports,
    engine: {
      dataDir: place.dataDir,
      retry: {
        attempts: settings.retryLimit,
        baseDelayMs: settings.retryBaseDelayMs,
        maxDelayMs: settings.retryMaxDelayMs,
      },
      maxPayloadBytes: settings.payloadMaxBytes,
      startProcessor: !settings.pausedAtStart,
    },
    onTrouble: (error) => log.warn(error.message),
  });
  return {
    data: engine.data,
    onDidDie: (listener) => {
      engine.onStatus((status) => {
        if (status.kind === 'failed') listener(status.error);
      });
    },
    onDidPause: (listener) => {
      engine.onStatus((status) => {
        if (status.kind === 'ready') listener(status.pausedBecause ?? null);
      });
    },
    stop: () => engine.close(),
  };
}
