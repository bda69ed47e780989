// The side that has the registered transports: opens them when the engine asks, and carries one request at a time of each.
// They are other people's code: what they give is made plain and bounded here, what they throw is told without the token.
import { type CancellationToken, type Disposable, type MessageConnection, ResponseError } from 'vscode-jsonrpc/node';
import { SYNC_LIMITS } from '../protocol/sync.ts';
import {
  TRANSPORT_METHODS,
  TRANSPORT_WIRE,
  type TransportFailure,
  type TransportRequest,
  transportFailureSchema,
  transportRequestSchema,
} from '../protocol/transport-rpc.ts';
import { type SyncTransport, TransportError, type TransportOptions } from '../sync/transport.ts';
import { notify } from './notify.ts';
import type { TransportRegistry } from './transport-registry.ts';

/** As for answers over HTTP: a page ends where a transaction ends, and has each entity as a whole too. */
const ANSWER_CAP_CHARACTERS = 4 * SYNC_LIMITS.bodyBytes;

export function serveTransports(connection: MessageConnection, registry: TransportRegistry): Disposable {
  const served = new ServedTransports(registry);
  const stopFollowing = registry.onChange((scheme) => {
    served.closeAll((opened) => opened.scheme === scheme);
    notify(connection, TRANSPORT_WIRE.changed, null);
  });
  const asked = connection.onRequest(TRANSPORT_WIRE.send, (message: unknown, token: CancellationToken) => {
    return served.answer(transportRequestSchema.parse(message), token);
  });
  const closed = connection.onNotification(TRANSPORT_WIRE.close, (id: number) => {
    served.closeAll((opened) => opened.id === id);
  });
  return {
    dispose: () => {
      stopFollowing();
      asked.dispose();
      closed.dispose();
      served.closeAll(() => true);
    },
  };
}

interface Opened {
  readonly id: number;
  readonly scheme: string;
  readonly transport: SyncTransport;
  /** Ends the requests under way when it is closed. */
  readonly closing: AbortController;
}

class ServedTransports {
  readonly #registry: TransportRegistry;
  readonly #opened = new Map<number, Opened>();

  constructor(registry: TransportRegistry) {
    this.#registry = registry;
  }

  closeAll(which: (opened: Opened) => boolean): void {
    for (const opened of [...this.#opened.values()].filter(which)) {
      this.#opened.delete(opened.id);
      opened.closing.abort();
      try {
        opened.transport.close?.();
      } catch {
        // It is used no more, and nobody is left to be told.
      }
    }
  }

  async answer(request: TransportRequest, token: CancellationToken): Promise<{ readonly json: string }> {
    const controller = new AbortController();
    const stop = (): void => controller.abort();
    const listening = token.onCancellationRequested(stop);
    let closing: AbortSignal | undefined;
    try {
      const opened = this.#open(request);
      closing = opened.closing.signal;
      closing.addEventListener('abort', stop, { once: true });
      const answer = invoke(opened.transport, request, controller.signal);
      return { json: plain(await untilAborted(answer, controller.signal), request) };
    } catch (error) {
      const cause = closing?.aborted === true ? notRegistered(schemeOf(request.options), 'sent') : error;
      const failure = failureOf(cause, request);
      throw new ResponseError<TransportFailure>(TRANSPORT_FAILED, failure.message, failure);
    } finally {
      listening.dispose();
      closing?.removeEventListener('abort', stop);
    }
  }

  #open({ transport: id, options }: TransportRequest): Opened {
    const there = this.#opened.get(id);
    if (there !== undefined) return there;
    const scheme = schemeOf(options);
    const open = this.#registry.get(scheme);
    if (open === undefined) throw notRegistered(scheme);
    const transport = open({ ...options });
    for (const method of TRANSPORT_METHODS) {
      if (typeof transport?.[method] !== 'function') throw strange(options, `has no method ${method}`);
    }
    const opened = { id, scheme, transport, closing: new AbortController() };
    this.#opened.set(id, opened);
    return opened;
  }
}

/** JSON-RPC keeps -32768 to -32000 for itself; what failed travels in the data. */
const TRANSPORT_FAILED = 2;

async function invoke(
  transport: SyncTransport,
  { method, argument, timeoutMs }: TransportRequest,
  signal: AbortSignal,
): Promise<unknown> {
  const call = { signal, timeoutMs };
  // The engine's side made the argument for this very method.
  const carry = transport[method].bind(transport) as (...given: readonly unknown[]) => Promise<unknown>;
  return argument === null ? carry(call) : carry(argument, call);
}

/** A transport may not heed its signal; nobody waits for it then. */
function untilAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new TransportError('cancelled', 'The request was cancelled.'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

function plain(value: unknown, { options }: TransportRequest): string {
  const json = toJson(value);
  if (json === undefined) throw strange(options, 'gave an answer that is no JSON');
  if (json.length <= ANSWER_CAP_CHARACTERS) return json;
  throw new TransportError('too-large', `The transport for "${schemeOf(options)}:" gave an answer above the limit.`, {
    code: 'ANSWER_TOO_LARGE',
  });
}

function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}

/** What a transport throws is told as it is when it says its kind; anything else passes for a fault on the way. */
function failureOf(error: unknown, { options }: TransportRequest): TransportFailure {
  const told = transportFailureSchema.safeParse(error);
  if (told.success) return { ...told.data, message: withoutToken(told.data.message, options) };
  const words = withoutToken(error instanceof Error ? error.message : String(error), options);
  const message = `The transport for "${schemeOf(options)}:" failed: ${words}`;
  return { kind: 'unreachable', message, details: { code: 'TRANSPORT_FAILED' } };
}

function withoutToken(message: string, { token }: TransportOptions): string {
  return (token === '' ? message : message.replaceAll(token, '(token)')).slice(0, 1_000);
}

function notRegistered(scheme: string, request: 'sent' | 'not sent' = 'not sent'): TransportError {
  return new TransportError(
    'unreachable',
    `No extension that is active here carries "${scheme}:" addresses. Install or enable the one that does; it goes on by itself then.`,
    { code: 'NO_TRANSPORT', mayHaveTakenEffect: request === 'sent' },
  );
}

function strange(options: TransportOptions, what: string): TransportError {
  return new TransportError('not-understood', `The transport for "${schemeOf(options)}:" ${what}.`, {
    code: 'NOT_PROTOCOL',
  });
}

function schemeOf({ url }: TransportOptions): string {
  return (url.split(':')[0] ?? '').toLowerCase();
}
