// One push, one transaction: the space's lock first, then what is known, then the decision, then all rows in bulk. Goes to
// the database in two steps, one that reads and one that writes. Nothing is told to anybody before the commit.
import { type PushResult, pushRequestSchema } from '../protocol/sync.ts';
import {
  type CompiledRules,
  type ReadChange,
  type Refusal,
  type ValidateHook,
  readChange,
  refusal,
} from './change-rules.ts';
import { type Position, decodeCursor, epochChanged } from './cursor.ts';
import { type AppliedChange, type PushDecision, decidePush } from './decide-push.ts';
import { type Present, readPresent, writeDecision } from './push-rows.ts';
import type { ServerClock } from './server-clock.ts';
import { CONFLICT_BYTES, type ServerLimits } from './server-limits.ts';
import { type GrownFeed, feedChangeJson } from './read-feed.ts';
import { type SpaceOrigin, createSpace, lockSpace, readIdAt, verifyPosition } from './spaces.ts';
import type { SpaceRow } from './statements.ts';
import type { SqlSession, Store } from './store.ts';
import { SyncRequestError } from './sync-request-error.ts';
import { withTimeLimit } from './time-limit.ts';
import type { TokenHolder } from './tokens.ts';

/** All changes of a push may take so many times the limit of one to be validated. */
const VALIDATE_TIMES = 4;

export interface PushParts {
  readonly store: Store;
  readonly clock: ServerClock;
  readonly origin: SpaceOrigin;
  readonly rules: CompiledRules;
  readonly validate: ValidateHook | undefined;
  readonly limits: ServerLimits;
}

export interface PushOutcome {
  readonly epoch: string;
  readonly results: readonly PushResult[];
  /** What the push has added to the feed; null where that is nothing. */
  readonly grown: GrownFeed | null;
}

interface Push {
  readonly clientId: string;
  readonly epoch: string;
  readonly standing: Position | null;
  readonly changes: readonly ReadChange[];
}

/** What a push finds, all of it as it is under the space's lock. */
interface Found extends Present {
  readonly row: SpaceRow;
  readonly idAtCursor: string | null;
}

export async function push(parts: PushParts, holder: TokenHolder, body: unknown): Promise<PushOutcome> {
  const request = readPush(holder.space, parts.limits, body);
  return parts.store.transaction(async (session) => {
    const { row, idAtCursor, entities, known } = await lockAndRead(session, holder.space, request, parts.origin);
    if (request.epoch !== row.epoch) throw epochChanged();
    if (request.standing !== null) await verifyPosition(session, holder.space, row, request.standing, idAtCursor);
    const decision = await decidePush({
      clientId: request.clientId,
      changes: request.changes,
      entities,
      known,
      version: row.version,
      now: parts.clock.now(),
      rules: parts.rules,
      limits: parts.limits,
      ...refuser(parts, holder, request.clientId),
    });
    requireAnswerable(decision.results);
    writeDecision(session, holder.space, request.clientId, parts.clock.now(), decision);
    const grown = grownFeed(holder.space, row, request.clientId, decision);
    return { epoch: row.epoch, results: decision.results, grown };
  });
}

/** All in one step: the database runs the lock first, and only when it has it what follows. */
async function lockAndRead(
  session: SqlSession,
  space: string,
  { standing, changes }: Pick<Push, 'standing' | 'changes'>,
  origin: SpaceOrigin,
): Promise<Found> {
  const [row, idAtCursor, present] = await Promise.all([
    lockSpace(session, space),
    standing === null ? null : readIdAt(session, space, standing),
    readPresent(session, space, changes),
  ]);
  if (row !== null) return { row, idAtCursor, ...present };
  await createSpace(session, space, origin);
  return lockAndRead(session, space, { standing, changes }, origin);
}

function grownFeed(space: string, row: SpaceRow, clientId: string, { applied }: PushDecision): GrownFeed | null {
  if (applied.length === 0) return null;
  const rows = applied.map((one) => ({
    version: one.version,
    id: one.change.id,
    bytes: one.entityBytes + one.dataBytes,
    json: () => jsonOf(one, clientId),
  }));
  return { space, after: { epoch: row.epoch, version: row.version, id: row.last_id }, rows };
}

function jsonOf(
  { version, change, operation, entityJson, dataJson, timestamp }: AppliedChange,
  clientId: string,
): string {
  const { id, entityType, entityId, transactionId } = change;
  const head = { version, id, clientId, entityType, entityId, operation, timestamp, transactionId };
  return feedChangeJson(head, entityJson, dataJson);
}

function readPush(space: string, limits: ServerLimits, body: unknown): Push {
  const parsed = pushRequestSchema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
    const field = (unknown ?? issue?.path.join('.') ?? '').slice(0, 100);
    throw new SyncRequestError('INVALID_REQUEST', `${field || 'The body'}: ${issue?.message.slice(0, 200) ?? ''}.`, {
      ...(field === '' ? {} : { field }),
    });
  }
  const { clientId, epoch, cursor, changes } = parsed.data;
  if (changes.length > limits.changes) {
    const message = `A push has at most ${limits.changes} changes here; this one has ${changes.length}.`;
    throw new SyncRequestError('PAYLOAD_TOO_LARGE', message, { field: 'changes' });
  }
  if (clientId.includes('\0') || !clientId.isWellFormed()) {
    throw new SyncRequestError('INVALID_REQUEST', 'clientId has a character that cannot be kept.', {
      field: 'clientId',
    });
  }
  const standing = cursor === null ? null : decodeCursor(space, cursor, 'cursor');
  return { clientId, epoch, standing, changes: changes.map((change) => readChange(change, limits.changeBytes)) };
}

function refuser(
  { validate, limits, clock }: PushParts,
  { space, subject }: TokenHolder,
  clientId: string,
): { refuse?: NonNullable<Parameters<typeof decidePush>[0]['refuse']> } {
  if (validate === undefined) return {};
  const { validateMs } = limits;
  let spentMs = 0;
  return {
    refuse: async (change, before, after): Promise<Refusal | null> => {
      if (spentMs > VALIDATE_TIMES * validateMs) throw tooSlowToCheck();
      const proposed = { space, clientId, subject, change, before, after };
      const started = clock.now();
      const answer = await withTimeLimit(clock, validateMs, async () => validate(proposed)).catch((cause: unknown) => {
        throw new SyncRequestError(
          'UNAVAILABLE',
          'What checks changes here gave no answer. Nothing was applied.',
          { headers: { 'retry-after': '2' } },
          { cause },
        );
      });
      spentMs += clock.now() - started;
      return answer === null || answer === undefined
        ? null
        : refusal(answer.code ?? 'REFUSED', answer.reason, answer.field);
    },
  };
}

/** Others wait for the space meanwhile. A client that hears 413 sends fewer. */
function tooSlowToCheck(): SyncRequestError {
  const message = 'Checking this many changes takes too long. Nothing was applied; send fewer at once.';
  return new SyncRequestError('PAYLOAD_TOO_LARGE', message, { field: 'changes' });
}

/** The answer has an end as well; a client that hears 413 sends fewer. */
function requireAnswerable(results: readonly PushResult[]): void {
  if (results.length === 1) return;
  let bytes = 0;
  for (const result of results) {
    if (result.outcome !== 'conflict' || result.entity === null) continue;
    bytes += Buffer.byteLength(JSON.stringify(result.entity));
    if (bytes > CONFLICT_BYTES) {
      throw new SyncRequestError(
        'PAYLOAD_TOO_LARGE',
        'The entities in conflict are too large for one answer. Send fewer changes at once.',
        { field: 'changes' },
      );
    }
  }
}
