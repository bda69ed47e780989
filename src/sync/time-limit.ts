// A time limit of the caller's own around a request, because a transport may never settle.
import type { Clock } from '../db/clock.ts';
import { type TransportCall, TransportError, type TransportErrorDetails } from './transport.ts';

/** Rejects with `timed-out` or `cancelled` at once, whatever the transport does with its signal. */
export async function withinTime<T>(
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal,
  send: (call: TransportCall) => Promise<T>,
): Promise<T> {
  if (signal.aborted) throw cancelled({ mayHaveTakenEffect: false });
  const timeout = new AbortController();
  let cancelTimer = (): void => undefined;
  let stopListening = (): void => undefined;
  const ended = new Promise<never>((_, reject) => {
    cancelTimer = clock.setTimer(() => {
      reject(new TransportError('timed-out', `The server did not answer within ${timeoutMs / 1_000} s.`));
      timeout.abort();
    }, timeoutMs);
    const onAbort = (): void => reject(cancelled());
    signal.addEventListener('abort', onAbort, { once: true });
    stopListening = () => signal.removeEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([send({ signal: AbortSignal.any([signal, timeout.signal]), timeoutMs }), ended]);
  } finally {
    cancelTimer();
    stopListening();
  }
}

function cancelled(details: TransportErrorDetails = {}): TransportError {
  return new TransportError('cancelled', 'The request was cancelled.', details);
}
