// What a refused call ends with, whichever build of the engine refuses it: a bundle's error class is not the sources'.
import { ERROR_CODES, type ErrorCode, type ErrorDetails } from '../../src/protocol/errors.ts';

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

/** The engine's error that a call ends with. */
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
