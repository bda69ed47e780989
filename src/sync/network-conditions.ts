// A developer's tool: puts latency, losses and errors between the engine and its transport, so that somebody who builds a
// sync backend can watch what happens. Without conditions it is not noticed.
import type { Clock } from '../db/clock.ts';
import { SYNC_ERROR_CODES, SYNC_ERROR_STATUS, type SyncErrorCode } from '../protocol/sync.ts';
import type { NetworkConditions } from '../protocol/sync-state.ts';
import { failureOfAnswer } from './http-failures.ts';
import { type SyncTransport, type TransportCall, TransportError } from './transport.ts';

export interface ConditionParts {
  readonly conditions: () => NetworkConditions | null;
  readonly clock: Clock;
  /** Gives numbers from 0 to 1. */
  readonly random: () => number;
}

export function underConditions(transport: SyncTransport, parts: ConditionParts): SyncTransport {
  const pass = <T>(call: TransportCall, send: () => Promise<T>): Promise<T> => passOn(parts, call, send, false);
  return {
    info: (call) => pass(call, () => transport.info(call)),
    push: (request, call) => passOn(parts, call, () => transport.push(request, call), true),
    pull: (query, call) => pass(call, () => transport.pull(query, call)),
    snapshot: (query, call) => pass(call, () => transport.snapshot(query, call)),
    digest: (call) => pass(call, () => transport.digest(call)),
    bucket: (query, call) => pass(call, () => transport.bucket(query, call)),
    close: () => transport.close?.(),
  };
}

async function passOn<T>(
  parts: ConditionParts,
  { signal }: TransportCall,
  send: () => Promise<T>,
  writes: boolean,
): Promise<T> {
  const conditions = parts.conditions();
  if (conditions === null) return send();
  const happens = (share: number | undefined): boolean => share !== undefined && share > 0 && parts.random() < share;
  if (conditions.stopped === true) throw notThere('let nothing through', false);
  // Whoever sends cannot tell a lost request from a lost answer.
  if (happens(conditions.lostRequests)) throw notThere('lost the request', writes);
  if (conditions.errorStatus !== undefined && happens(conditions.errors ?? 1)) {
    throw answeredBy(conditions.errorStatus, conditions.errorCode, writes);
  }
  await wait(parts.clock, conditions.latencyMs ?? 0, signal);
  const answer = await send();
  if (happens(conditions.lostAnswers)) throw notThere('lost the answer', writes);
  if (parts.conditions()?.stopped === true) throw notThere('let nothing through', writes);
  return answer;
}

function notThere(what: string, mayHaveTakenEffect: boolean): TransportError {
  const details = { code: 'NETWORK_CONDITIONS', mayHaveTakenEffect };
  return new TransportError('unreachable', `Network Conditions ${what}.`, details);
}

/** What the HTTP transport makes of such an answer of a real server; a status that none gives counts as a proxy's. */
function answeredBy(status: number, chosen: NetworkConditions['errorCode'], writes: boolean): TransportError {
  const code = codeOfStatus(status, chosen);
  const body = code === undefined ? undefined : { error: { code, message: '' } };
  return failureOfAnswer({ server: 'Network Conditions', writes, token: '' }, status, new Headers(), body);
}

function codeOfStatus(status: number, chosen: NetworkConditions['errorCode']): SyncErrorCode | undefined {
  if (chosen !== undefined && SYNC_ERROR_STATUS[chosen] === status) return chosen;
  return SYNC_ERROR_CODES.find((code) => SYNC_ERROR_STATUS[code] === status);
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
