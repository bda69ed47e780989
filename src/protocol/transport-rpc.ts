// What crosses between the engine's thread and the thread that has the registered transports. Answers cross as JSON text:
// that is plain data whatever a transport gave, and its size is known before it is sent.
import * as z from 'zod';

/** Names on the wire, beside those of engine-rpc.ts. */
export const TRANSPORT_WIRE = {
  /** Request from the engine: one request to a server. */
  send: '$local-data/transport/send',
  /** Notification from the engine: a transport is used no more. */
  close: '$local-data/transport/close',
  /** Notification to the engine: a transport was registered or taken back. */
  changed: '$local-data/transport/changed',
} as const;

export const TRANSPORT_METHODS = ['info', 'push', 'pull', 'snapshot', 'digest', 'bucket'] as const;

export const transportRequestSchema = z.object({
  /** Given by the engine to each transport it opens. */
  transport: z.number().int(),
  options: z.object({ url: z.string(), token: z.string(), space: z.string() }),
  method: z.enum(TRANSPORT_METHODS),
  /** What the method takes before the call; null for those that take nothing. */
  argument: z.unknown(),
  timeoutMs: z.number().positive(),
});
export type TransportRequest = z.infer<typeof transportRequestSchema>;

export const transportAnswerSchema = z.object({ json: z.string() });

/** A failure as it crosses, and as a transport of another extension throws it: an error with these properties. */
export const transportFailureSchema = z.object({
  kind: z.enum([
    'unreachable',
    'timed-out',
    'unauthorized',
    'forbidden',
    'too-large',
    'epoch-changed',
    'history-changed',
    'cursor-expired',
    'overloaded',
    'unsupported',
    'refused',
    'not-understood',
    'cancelled',
  ]),
  message: z.string(),
  details: z
    .object({
      status: z.number().int(),
      code: z.string(),
      retryAfterMs: z.number().nonnegative(),
      mayHaveTakenEffect: z.boolean(),
    })
    .partial()
    .optional(),
});
export type TransportFailure = z.infer<typeof transportFailureSchema>;
