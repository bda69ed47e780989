// A developer's tool: puts latency, losses and errors between the engine and its transport, so that somebody who builds a
// sync backend can watch what happens. Without conditions it is not noticed.
import type { Clock } from '../db/clock.ts';
import type { NetworkConditions } from '../protocol/sync-state.ts';
import { type SyncTransport, type TransportCall, TransportError } from './transport.ts';

export interface ConditionParts {
  readonly conditions: () => NetworkConditions | null;
  readonly clock: Clock;
  /** Gives numbers from 0 to 1. */
  readonly random: () => number;
}

export function underConditions(transport: SyncTransport, parts: ConditionParts): SyncTransport {
  const pass = <T>(call: TransportCall, send: () => Promise<T>): Promise<T> => passOn(parts, call, send);
  return {
    info: (call) => pass(call, () => transport.info(call)),
    push: (request, call) => pass(call, () => transport.push(request, call)),
    pull: (query, call) => pass(call, () => transport.pull(query, call)),
    snapshot: (query, call) => pass(call, () => transport.snapshot(query, call)),
    digest: (call) => pass(call, () => transport.digest(call)),
    bucket: (query, call) => pass(call, () => transport.bucket(query, call)),
    close: () => transport.close?.(),
  };
}

async function passOn<T>(parts: ConditionParts, { signal }: TransportCall, send: () => Promise<T>): Promise<T> {
  const conditions = parts.conditions();
  if (conditions === null) return send();
  const happens = (share: number | undefined): boolean => share !== undefined && share > 0 && parts.random() < share;
  if (conditions.stopped === true) throw notThere('Network Conditions let nothing through.', false);
  if (happens(conditions.lostRequests)) throw notThere('Network Conditions lost the request.', false);
  if (conditions.errorStatus !== undefined && happens(conditions.errors ?? 1)) throw answeredBy(conditions.errorStatus);
  await wait(parts.clock, conditions.latencyMs ?? 0, signal);
  const answer = await send();
  if (happens(conditions.lostAnswers)) throw notThere('Network Conditions lost the answer.', true);
  return answer;
}

function notThere(message: string, mayHaveTakenEffect: boolean): TransportError {
  return new TransportError('unreachable', message, { code: 'NETWORK_CONDITIONS', mayHaveTakenEffect });
}

function answeredBy(status: number): TransportError {
  const message = `Network Conditions answered ${status}.`;
  const details = { status, code: 'NETWORK_CONDITIONS', mayHaveTakenEffect: false };
  if (status === 401) return new TransportError('unauthorized', message, details);
  if (status === 403) return new TransportError('forbidden', message, details);
  if (status === 413) return new TransportError('too-large', message, details);
  if (status === 410) return new TransportError('cursor-expired', message, details);
  if (status === 408 || status === 429 || status >= 500) return new TransportError('overloaded', message, details);
  return new TransportError('refused', message, details);
}

async function wait(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  if (milliseconds <= 0 || signal.aborted) return;
  await new Promise<void>((resolve) => {
    const cancel = clock.setTimer(() => end(), milliseconds);
    const end = (): void => {
      cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    signal.addEventListener('abort', end, { once: true });
  });
}
