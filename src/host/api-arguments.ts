// Schemas of what other extensions pass to the exported API. They guard the shape; what a value means (does the type
// exist, does the column) is the engine's to say.
import * as z from 'zod';
import { CHANGE_STATUSES, type JsonObject, OPERATIONS } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';

const text = z.string().min(1);
/** A field that is undefined counts as not given. */
const payload = z.record(z.string(), z.json().optional()).transform((fields): JsonObject => {
  const given: JsonObject = {};
  for (const [field, value] of Object.entries(fields)) if (value !== undefined) given[field] = value;
  return given;
});
const limit = z.number().int().min(1).max(1_000);
const status = z.enum(CHANGE_STATUSES);
const filter = {
  status: z.union([status, z.array(status)]).optional(),
  entityType: text.optional(),
  entityId: text.optional(),
  label: text.optional(),
};
const operators = ['=', '!=', '<', '<=', '>', '>=', 'in', 'contains', 'startsWith', 'isNull', 'isNotNull'] as const;
const condition = z.strictObject({ field: text, op: z.enum(operators), value: z.json().optional() });

export const recordArguments = z.tuple([text, text, z.enum(OPERATIONS), payload.nullish()]);
export const upsertArguments = z.tuple([text, text, payload]);
export const entityArguments = z.tuple([text, text]);
export const registerArguments = z.tuple([
  z.strictObject({ entityType: text, table: text.optional(), key: text.optional() }),
]);
export const watchArguments = z.tuple([z.strictObject(filter), z.function()]);
export const listArguments = z.tuple([
  z
    .strictObject({
      ...filter,
      limit: limit.optional(),
      order: z.enum(['asc', 'desc']).optional(),
      after: z.number().optional(),
    })
    .optional(),
]);
export const queryArguments = z.tuple([
  text,
  z
    .strictObject({
      where: z.union([z.array(condition), payload]).optional(),
      search: z.string().optional(),
      orderBy: z.union([text, z.array(text)]).optional(),
      limit: limit.optional(),
      after: z.string().optional(),
      offset: z.number().int().min(0).optional(),
    })
    .optional(),
]);

/** The arguments as they were given, or an error that names the first bad one. */
export function check<T>(call: string, schema: z.ZodType<T>, args: readonly unknown[]): T {
  const result = schema.safeParse(args);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const [position, ...path] = issue?.path ?? [];
  const where =
    typeof position === 'number'
      ? `argument ${position + 1}${path.map((key) => `.${String(key)}`).join('')}`
      : 'its arguments';
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    `${call}: ${where} is not right: ${issue?.message ?? 'unknown'}. Nothing was changed; correct it and call again.`,
    { call, path: issue?.path ?? [] },
  );
}
