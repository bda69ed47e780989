// Tells permanent failures from transient ones by SQLSTATE, never by text, and says what failed in a person's words.
import type { Change, Failure } from '../protocol/changes.ts';
import type { EntityType, EntityTypes } from './entity-types.ts';
import { columnOfKey, writableColumns } from './entity-types.ts';
import { SqlError, isTransient } from './sql-error.ts';

const FOREIGN_KEY_VIOLATION = '23503';
const NOT_NULL_VIOLATION = '23502';
const UNIQUE_VIOLATION = '23505';
const MESSAGE_LIMIT = 2_000;

/** The part of a failure that the error alone tells. */
export function describeFailure(change: Change, type: EntityType | undefined, error: unknown, now: number): Failure {
  if (error instanceof SqlError) return describeSqlFailure(change, type, error, now);
  if (error instanceof ChangeFailure)
    return { ...base(now), kind: 'permanent', code: error.code, message: error.message, ...error.concerns };
  return { ...base(now), kind: 'transient', code: 'INTERNAL', message: trim(describeStrange(error)) };
}

/** A change that cannot be applied for a reason found before asking Postgres, or by what Postgres did not do. */
export class ChangeFailure extends Error {
  readonly code: string;
  readonly concerns: { readonly table?: string; readonly column?: string };

  constructor(code: string, message: string, concerns: { readonly table?: string; readonly column?: string } = {}) {
    super(message);
    this.name = 'ChangeFailure';
    this.code = code;
    this.concerns = concerns;
  }
}

/** Whether a change can be applied at all, as far as its type and payload tell. */
export function checkApplicable(change: Change, entityTypes: EntityTypes): ChangeFailure | undefined {
  const type = entityTypes.get(change.entityType);
  if (type === undefined) {
    return new ChangeFailure(
      'UNKNOWN_ENTITY_TYPE',
      `Entity type "${change.entityType}" is not registered. Register it, then retry.`,
    );
  }
  if (change.operation === 'delete') return undefined;
  return checkPayload(type, change.entityId, change.data ?? {});
}

/** Keys that are no column, and a key that is another than the entity's. */
export function checkPayload(
  type: EntityType,
  entityId: string,
  data: Readonly<Record<string, unknown>>,
): ChangeFailure | undefined {
  const key = data[type.key];
  if (key !== undefined && String(key) !== entityId && canonical(type, String(key)) !== entityId) {
    return new ChangeFailure(
      'KEY_MISMATCH',
      `"${type.key}" in the data is "${String(key)}", but the change is for ${type.entityType} "${entityId}". Make them equal; to change a key, delete and insert.`,
      { table: type.table, column: type.key },
    );
  }
  if (type.kind === 'document') return undefined;
  const columns = new Set(type.columns.map((column) => column.name));
  const unknown = Object.keys(data).find((name) => !columns.has(name));
  if (unknown === undefined) return undefined;
  return new ChangeFailure(
    'UNKNOWN_COLUMN',
    `"${unknown}" is no column of table "${type.table}" (columns: ${[type.key, ...writableColumns(type)].join(', ')}). Correct the name, or add the column.`,
    { table: type.table, column: unknown },
  );
}

/** An entity id as the key's type writes it, so that '01' and '1' of an integer key are one lane. */
export function canonical(type: EntityType, entityId: string): string {
  if (['smallint', 'integer', 'bigint'].includes(type.keyType) && /^\s*[+-]?\d+\s*$/.test(entityId)) {
    return BigInt(entityId.trim().replace(/^\+/, '')).toString();
  }
  if (type.keyType === 'uuid') {
    const hex = entityId.toLowerCase().replace(/[{}-]/g, '');
    if (/^[0-9a-f]{32}$/.test(hex)) return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }
  return entityId;
}

/** What was tried: a change, or a write that is to become one. */
export type Attempted = Pick<Change, 'entityType' | 'entityId' | 'operation' | 'data'>;

export interface MissingParent {
  readonly entityType: string;
  readonly entityId: string;
  /** The column that refers to it. */
  readonly column: string;
}

/** Says it in a person's words, where Postgres names a constraint. */
export function describeMissing(change: Attempted, parent: MissingParent): string {
  return `${change.entityType} "${change.entityId}" refers to ${parent.entityType} "${parent.entityId}" by ${parent.column}, and there is none. Correct ${parent.column}, or insert that ${parent.entityType}.`;
}

/** The entity a foreign-key failure misses, when the constraint points to an entity type's key. */
export function missingParent(change: Attempted, entityTypes: EntityTypes, error: unknown): MissingParent | undefined {
  if (!(error instanceof SqlError) || error.sqlState !== FOREIGN_KEY_VIOLATION || change.operation === 'delete')
    return undefined;
  const type = entityTypes.get(change.entityType);
  const foreignKey = type?.foreignKeys.find((candidate) => candidate.constraint === error.constraint);
  const parent = foreignKey === undefined ? undefined : entityTypes.byTable(foreignKey.referencedTable);
  if (foreignKey === undefined || parent === undefined) return undefined;
  const column = columnOfKey(foreignKey, parent);
  const value = column === undefined ? undefined : change.data?.[column];
  if (column === undefined || value === undefined || value === null) return undefined;
  return { entityType: parent.entityType, entityId: canonical(parent, String(value)), column };
}

export function describeSqlFailure(
  change: Attempted,
  type: EntityType | undefined,
  error: SqlError,
  now: number,
): Failure {
  const transient = isTransient(error.sqlState);
  return {
    ...base(now),
    kind: transient ? 'transient' : 'permanent',
    code: error.sqlState,
    message: trim(explain(change, type, error)),
    ...(error.constraint === undefined ? {} : { constraint: error.constraint }),
    ...(error.table === undefined ? {} : { table: error.table }),
    ...(error.column === undefined ? {} : { column: error.column }),
    ...(error.detail === undefined ? {} : { detail: trim(error.detail) }),
  };
}

/** What Postgres refused, with the names and values a person knows. */
export function explain(change: Attempted, type: EntityType | undefined, error: SqlError): string {
  const name = `${change.entityType} "${change.entityId}"`;
  if (error.sqlState === UNIQUE_VIOLATION && change.operation === 'insert' && isKeyConstraint(type, error)) {
    return `${name} exists already. Make the change an update, or use another id.`;
  }
  const check = type?.checks.find((candidate) => candidate.constraint === error.constraint);
  if (check !== undefined) {
    const values = check.columns.filter((column) => change.data?.[column] !== undefined);
    const given = values.map((column) => `${column} is ${JSON.stringify(change.data?.[column])}`).join(', ');
    return `${name} breaks ${check.constraint}, ${check.sql}${given === '' ? '' : `: ${given}`}.`;
  }
  if (error.sqlState === NOT_NULL_VIOLATION)
    return `${name} has no value for "${error.column ?? '?'}", which must have one.`;
  const detail = error.detail === undefined ? '' : ` ${error.detail}`;
  return `${error.message}.${detail}`;
}

function isKeyConstraint(type: EntityType | undefined, error: SqlError): boolean {
  return type !== undefined && (error.constraint?.endsWith('_pkey') ?? false) && error.table !== undefined;
}

function base(now: number): Pick<Failure, 'stage' | 'at'> {
  return { stage: 'local', at: now };
}

/** Anything can be thrown: circular, huge, undefined, a Proxy that throws when looked at. */
function describeStrange(error: unknown): string {
  try {
    if (error instanceof Error) return `${error.name}: ${error.message}`;
    if (typeof error === 'string') return error;
    return `Something that is no Error was thrown: ${JSON.stringify(error) ?? String(error)}`;
  } catch {
    return 'Something was thrown that cannot be described.';
  }
}

function trim(text: string): string {
  return text.length <= MESSAGE_LIMIT ? text : `${text.slice(0, MESSAGE_LIMIT)}… (${text.length} characters)`;
}
