// A developer's tool: puts latency, losses and errors between the engine and its transport, so that somebody who builds a
// sync backend can watch what happens. Without conditions it is not noticed.
import type { Clock } from '../db/clock.ts';
import type { NetworkConditions } from '../protocol/sync-state.ts';
import { kindOfStatus } from './http-failures.ts';
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
  // Whoever sends cannot tell a lost request from a lost answer.
  if (happens(conditions.lostRequests)) throw notThere('Network Conditions lost the request.', true);
  if (conditions.errorStatus !== undefined && happens(conditions.errors ?? 1)) throw answeredBy(conditions.errorStatus);
  await wait(parts.clock, conditions.latencyMs ?? 0, signal);
  const answer = await send();
  if (happens(conditions.lostAnswers)) throw notThere('Network Conditions lost the answer.', true);
  if (parts.conditions()?.stopped === true) throw notThere('Network Conditions let nothing through.', true);
  return answer;
}

function notThere(message: string, mayHaveTakenEffect: boolean): TransportError {
  return new TransportError('unreachable', message, { code: 'NETWORK_CONDITIONS', mayHaveTakenEffect });
}

function answeredBy(status: number): TransportError {
  const kind = kindOfStatus(status, status === 410 ? 'CURSOR_EXPIRED' : undefined);
  const details = { status, code: 'NETWORK_CONDITIONS', mayHaveTakenEffect: status >= 500 };
  return new TransportError(kind, `Network Conditions answered ${status}.`, details);
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
