// Opens the engine that the tests are about: the sources, or the bundle that LOCAL_DATA_ENGINE names.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { LocalData } from '../../src/engine/local-data.ts';
import type { OpenLocalDataOptions } from '../../src/engine/open-local-data.ts';
import { ERROR_CODES, type ErrorCode, type ErrorDetails } from '../../src/protocol/errors.ts';

interface EngineModule {
  openLocalData(options: OpenLocalDataOptions): Promise<LocalData>;
}

export async function openEngine(options: OpenLocalDataOptions): Promise<LocalData> {
  const bundle = process.env['LOCAL_DATA_ENGINE'];
  const engine: EngineModule =
    bundle === undefined
      ? await import('../../src/engine/open-local-data.ts')
      : // The bundle is JavaScript; its face is the source it was built from.
        ((await import(pathToFileURL(resolve(bundle)).href)) as EngineModule);
  return engine.openLocalData(options);
}

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

/** The engine's error that a call ends with; a bundle's error class is not the sources', so that its fields count. */
export async function refusalOf(call: Promise<unknown> | (() => Promise<unknown>)): Promise<Refusal> {
  try {
    await (typeof call === 'function' ? call() : call);
  } catch (error) {
    if (isRefusal(error)) return error;
    throw error;
  }
  throw new Error('The call succeeded where it was to be refused.');
}

function isRefusal(error: unknown): error is Error & Refusal {
  return (
    error instanceof Error && 'code' in error && 'details' in error && ERROR_CODES.some((code) => code === error.code)
  );
}
