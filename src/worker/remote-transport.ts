// The engine's side of transports that other extensions register: each request goes over the connection to the thread that
// has them. It ends in time whatever happens there, and what comes back is checked like a server's answer.
import { CancellationTokenSource, type MessageConnection, ResponseError } from 'vscode-jsonrpc/node';
import type * as z from 'zod';
import {
  TRANSPORT_WIRE,
  type TransportRequest,
  transportAnswerSchema,
  transportFailureSchema,
} from '../protocol/transport-rpc.ts';
import { ANSWERS, type TransportMethod, checkAnswer, checkResults } from '../sync/answers.ts';
import { type OpenTransport, type SyncTransport, type TransportCall, TransportError } from '../sync/transport.ts';
import { deferred } from './deferred.ts';
import { notify } from './notify.ts';

/** Opens transports that are asked for over the connection. */
export function remoteTransports(connection: MessageConnection): OpenTransport {
  let opened = 0;
  return (options) => {
    opened += 1;
    return remoteTransport(connection, { transport: opened, options });
  };
}

type Opened = Pick<TransportRequest, 'transport' | 'options'>;
type Answer<Method extends TransportMethod> = z.infer<(typeof ANSWERS)[Method]>;

function remoteTransport(connection: MessageConnection, opened: Opened): SyncTransport {
  // Not the address, in which another scheme may well carry a password.
  const who = `the transport for "${opened.options.url.split(':')[0] ?? ''}:"`;
  const ask = async <Method extends TransportMethod>(
    method: Method,
    argument: unknown,
    call: TransportCall,
  ): Promise<Answer<Method>> => {
    const value = await send(connection, { ...opened, method, argument, timeoutMs: call.timeoutMs }, call.signal, who);
    // The schema in the table is the method's own.
    return checkAnswer(ANSWERS[method], value, who, method) as Answer<Method>;
  };
  return {
    info: (call) => ask('info', null, call),
    push: async (request, call) => checkResults(request, await ask('push', request, call), who),
    pull: (query, call) => ask('pull', query, call),
    snapshot: (query, call) => ask('snapshot', query, call),
    digest: (call) => ask('digest', null, call),
    bucket: (query, call) => ask('bucket', query, call),
    close: () => notify(connection, TRANSPORT_WIRE.close, opened.transport),
  };
}

async function send(
  connection: MessageConnection,
  request: TransportRequest,
  signal: AbortSignal,
  who: string,
): Promise<unknown> {
  const mayHaveTakenEffect = request.method === 'push';
  if (signal.aborted) throw new TransportError('cancelled', `The request to ${who} was cancelled.`);
  const source = new CancellationTokenSource();
  const given = deferred<never>();
  const giveUp = (error: TransportError): void => {
    given.reject(error);
    source.cancel();
  };
  const cancel = (): void => {
    giveUp(new TransportError('cancelled', `The request to ${who} was cancelled.`, { mayHaveTakenEffect }));
  };
  const timer = setTimeout(() => {
    const message = `${who} gave no answer within ${request.timeoutMs / 1_000} s. It is tried again later.`;
    giveUp(new TransportError('timed-out', message, { mayHaveTakenEffect }));
  }, request.timeoutMs);
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const answered = connection.sendRequest<unknown>(TRANSPORT_WIRE.send, request, source.token);
    return JSON.parse(transportAnswerSchema.parse(await Promise.race([answered, given.promise])).json);
  } catch (error) {
    throw asTransportError(error, who, mayHaveTakenEffect);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
    source.dispose();
  }
}

function asTransportError(error: unknown, who: string, mayHaveTakenEffect: boolean): TransportError {
  if (error instanceof TransportError) return error;
  const failure = transportFailureSchema.safeParse(error instanceof ResponseError ? error.data : undefined);
  if (!failure.success) {
    const message = `The request could not be carried to ${who}. It is tried again later.`;
    return new TransportError('unreachable', message, { mayHaveTakenEffect }, { cause: error });
  }
  const { kind, message, details } = failure.data;
  const told = Object.entries({ mayHaveTakenEffect, ...details }).filter(([, value]) => value !== undefined);
  return new TransportError(kind, message, Object.fromEntries(told));
}
