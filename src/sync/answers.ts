// Checks what came back over any transport before the state machines see it: the shape by the protocol's schemas, and that
// a push's results are those of its changes. Nothing that fails a check is handed on, nor mended.
import type * as z from 'zod';
import {
  type PushRequest,
  type PushResponse,
  bucketResponseSchema,
  digestResponseSchema,
  pullResponseSchema,
  pushResponseSchema,
  snapshotResponseSchema,
  spaceInfoSchema,
} from '../protocol/sync.ts';
import { TransportError } from './transport.ts';

/** By the method of the transport whose answer it is. */
export const ANSWERS = {
  info: spaceInfoSchema,
  push: pushResponseSchema,
  pull: pullResponseSchema,
  snapshot: snapshotResponseSchema,
  digest: digestResponseSchema,
  bucket: bucketResponseSchema,
} as const;

export type TransportMethod = keyof typeof ANSWERS;

/** The answer as its schema gives it, or `not-understood` naming the field; `who` is how a person knows the server. */
export function checkAnswer<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  who: string,
  method: TransportMethod,
): z.infer<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue === undefined || issue.path.length === 0 ? 'the whole' : issue.path.map(String).join('.');
  throw notOfTheProtocol(who, method, `${field}: ${issue?.message ?? 'not valid'}`);
}

/** Results that are of other changes would acknowledge what never arrived. */
export function checkResults(request: PushRequest, response: PushResponse, who: string): PushResponse {
  const { changes } = request;
  if (response.results.length !== changes.length) {
    const problem = `results: ${response.results.length} for ${changes.length} changes`;
    throw notOfTheProtocol(who, 'push', problem);
  }
  const strange = response.results.findIndex(({ id, outcome }, at) => {
    return id !== changes[at]?.id && !(id === '' && outcome === 'rejected');
  });
  if (strange < 0) return response;
  throw notOfTheProtocol(who, 'push', `results.${strange}.id: is not that of the change`);
}

function notOfTheProtocol(who: string, method: TransportMethod, problem: string): TransportError {
  return new TransportError(
    'not-understood',
    `The answer of ${who} to ${method} is not what the sync protocol says (${problem}). Check that the address is that of a sync server, and that both sides are of versions that fit.`,
    { code: 'NOT_PROTOCOL', mayHaveTakenEffect: method === 'push' },
  );
}
