// What a team says about the changes of its entity types, and the checks that every change must pass on its own. A refusal is
// permanent: the same change would be refused again.
import { z } from 'zod';
import type { JsonObject, JsonValue, Operation } from '../protocol/changes.ts';
import { type PushedChange, pushedChangeSchema } from '../protocol/sync.ts';

export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly field?: string;
}

export interface EntityTypeRule {
  /** A zod schema, or a JSON schema, for the whole entity as it would be after the change. */
  readonly schema?: z.ZodType | Readonly<Record<string, unknown>>;
  /** The operations that are allowed; all of them when absent. */
  readonly operations?: readonly Operation[];
  /** Bytes of the entity's JSON. */
  readonly maxBytes?: number;
}

export type EntityTypeRules = Readonly<Record<string, EntityTypeRule>>;

/** What the hook is shown: the change, the entity before it and the entity as it would be after. */
export interface ProposedChange {
  readonly space: string;
  readonly clientId: string;
  /** `sub` of the token; null where it names none. */
  readonly subject: string | null;
  readonly change: PushedChange;
  readonly before: JsonObject | null;
  readonly after: JsonObject | null;
}

/** Gives a reason to refuse the change for good, or nothing. One that throws refuses nothing: the push is tried again. */
export type ValidateHook = (proposed: ProposedChange) =>
  | { reason: string; code?: string; field?: string }
  | null
  | undefined
  | Promise<
      | {
          reason: string;
          code?: string;
          field?: string;
        }
      | null
      | undefined
    >;

/** The rules as the decision asks them. */
export interface CompiledRules {
  check(operation: Operation, entityType: string, after: JsonObject | null, bytes: number): Refusal | null;
}

/** Bytes of type and id as JSON: both stand in index entries and page tokens, which have an end. */
const KEY_BYTES = 1_600;
const DEEPEST = 64;

export function compileRules(rules: EntityTypeRules = {}): CompiledRules {
  const compiled = new Map(
    Object.entries(rules).map(([entityType, { schema, operations, maxBytes }]) => [
      entityType,
      { schema: schema === undefined ? null : asZod(entityType, schema), operations, maxBytes },
    ]),
  );
  return {
    check(operation, entityType, after, bytes) {
      const rule = compiled.get(entityType);
      if (rule === undefined) return null;
      if (rule.operations !== undefined && !rule.operations.includes(operation)) {
        const allowed = rule.operations.join(', ') || 'nothing';
        return refusal('OPERATION_NOT_ALLOWED', `"${entityType}" takes no ${operation} here; it takes ${allowed}.`);
      }
      if (after === null) return null;
      if (rule.maxBytes !== undefined && bytes > rule.maxBytes) {
        return refusal(
          'ENTITY_TOO_LARGE',
          `The entity would have ${bytes} bytes; "${entityType}" allows ${rule.maxBytes}.`,
        );
      }
      return rule.schema === null ? null : checkSchema(rule.schema, entityType, after);
    },
  };
}

function asZod(entityType: string, schema: NonNullable<EntityTypeRule['schema']>): z.ZodType {
  if (schema instanceof z.ZodType) return schema;
  // A zod schema made by another copy of zod is no instance of ours, and parses all the same.
  if ('safeParse' in schema && typeof schema.safeParse === 'function') return schema as unknown as z.ZodType;
  try {
    return z.fromJSONSchema(schema);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new TypeError(`The rule of "${entityType}" has a schema that cannot be read: ${reason}`, { cause: error });
  }
}

function checkSchema(schema: z.ZodType, entityType: string, after: JsonObject): Refusal | null {
  const parsed = schema.safeParse(after);
  if (parsed.success) return null;
  const [issue] = parsed.error.issues;
  const field = issue?.path.join('.') ?? '';
  const message = `"${entityType}" does not allow this entity: ${field === '' ? '' : `${field}: `}${issue?.message ?? 'it does not fit'}.`;
  return refusal('INVALID_ENTITY', message, field === '' ? undefined : field);
}

export type ReadChange =
  | {
      readonly kind: 'change';
      readonly change: PushedChange;
      /** JSON of its data, made once for all who need it. */
      readonly json: string;
      readonly bytes: number;
    }
  | {
      readonly kind: 'unreadable';
      readonly id: string;
      readonly lane: string | null;
      readonly transactionId: string | null;
      readonly refusal: Refusal;
    };

/** Reads one element of a push. What cannot be a change still tells its id and its lane where it has them. */
export function readChange(value: unknown, changeBytes: number): ReadChange {
  const parsed = pushedChangeSchema.safeParse(value);
  if (!parsed.success) return unreadable(value, firstIssue(parsed.error));
  const change = parsed.data;
  const wrong = checkShape(change) ?? checkTexts(change);
  if (wrong !== null) return unreadable(change, wrong);
  const json = JSON.stringify(change.data);
  const bytes = Buffer.byteLength(json);
  if (bytes > changeBytes) {
    return unreadable(
      change,
      refusal('CHANGE_TOO_LARGE', `The change has ${bytes} bytes of data; ${changeBytes} are allowed.`, 'data'),
    );
  }
  return { kind: 'change', change, json, bytes };
}

/** What names an entity among all of a space. */
export function laneOf({ entityType, entityId }: { readonly entityType: string; readonly entityId: string }): string {
  return `${entityType}\n${entityId}`;
}

function checkShape({ operation, data, entityType, entityId }: PushedChange): Refusal | null {
  if (operation === 'delete' && data !== null) return invalid('A delete carries no data; send null.', 'data');
  if (operation !== 'delete' && data === null) return invalid(`An ${operation} carries data; it has none.`, 'data');
  // A line feed stands between type and id wherever both are one text.
  if (entityType.includes('\n')) return invalid('An entity type has no line feed.', 'entityType');
  const keyBytes = Buffer.byteLength(JSON.stringify(entityType) + JSON.stringify(entityId));
  if (keyBytes <= KEY_BYTES) return null;
  return invalid(`Type and id of the entity have ${keyBytes} bytes as JSON; ${KEY_BYTES} are allowed.`, 'entityId');
}

/** Postgres keeps no NUL and no half of a surrogate pair, and JSON no infinity. */
function checkTexts(change: PushedChange): Refusal | null {
  for (const field of ['id', 'entityType', 'entityId', 'transactionId'] as const) {
    const problem = problemOf(change[field], 0);
    if (problem !== null) return invalid(`${field} ${problem}.`, field);
  }
  const problem = problemOf(change.data, 0);
  return problem === null ? null : invalid(`data ${problem}.`, 'data');
}

function problemOf(value: JsonValue | undefined, depth: number): string | null {
  if (typeof value === 'string') return problemOfText(value);
  if (typeof value === 'number') return Number.isFinite(value) ? null : 'has a number too large to be kept';
  if (typeof value !== 'object' || value === null) return null;
  if (depth > DEEPEST) return `is nested more than ${DEEPEST} deep`;
  for (const key of Object.keys(value)) {
    const item = Array.isArray(value) ? value[Number(key)] : value[key];
    const problem = problemOfText(key) ?? problemOf(item, depth + 1);
    if (problem !== null) return problem;
  }
  return null;
}

function problemOfText(text: string): string | null {
  if (text.includes('\0')) return 'has a NUL character (\\u0000), which cannot be kept';
  return text.isWellFormed() ? null : 'has half of a surrogate pair, which cannot be kept';
}

function unreadable(value: unknown, reason: Refusal): ReadChange {
  const read = z.object({ id: pushedChangeSchema.shape.id }).safeParse(value);
  const lane = z
    .object({ entityType: pushedChangeSchema.shape.entityType, entityId: pushedChangeSchema.shape.entityId })
    .safeParse(value);
  const transaction = z.object({ transactionId: z.string() }).safeParse(value);
  return {
    kind: 'unreadable',
    id: read.success && problemOfText(read.data.id) === null ? read.data.id : '',
    lane: lane.success ? laneOf(lane.data) : null,
    transactionId: transaction.success ? transaction.data.transactionId : null,
    refusal: reason,
  };
}

function firstIssue(error: z.ZodError): Refusal {
  const [issue] = error.issues;
  const field = issue?.code === 'unrecognized_keys' ? (issue.keys[0] ?? '') : (issue?.path.join('.') ?? '');
  return invalid(
    `${field === '' ? 'The change' : field.slice(0, 100)}: ${issue?.message.slice(0, 300) ?? 'does not fit'}.`,
    field === '' ? undefined : field.slice(0, 100),
  );
}

function invalid(message: string, field?: string): Refusal {
  return refusal('INVALID_CHANGE', message, field);
}

export function refusal(code: string, message: string, field?: string): Refusal {
  return field === undefined ? { code, message } : { code, message, field };
}
