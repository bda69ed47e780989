// Records the change that undoes one which has taken effect, here or on the server, whoever made it. What happened stays
// in the history; a member of a transaction is undone with all of it, newest first, as one transaction.
import type { Change, Entity, JsonObject, JsonValue } from '../protocol/changes.ts';
import { isWaiting } from '../protocol/changes.ts';
import { sameJson } from '../protocol/canonical-json.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { type ChangeRow, type Rebased, allColumns, lightColumns, toChange } from '../db/change-row.ts';
import { requireChange } from '../db/changes-table.ts';
import { CommitDraft } from '../db/commit-log.ts';
import { hasDependents, sideEffects } from '../db/dependents.ts';
import { effectOf } from '../db/entity-bases.ts';
import type { EntityType } from '../db/entity-types.ts';
import { type RepairContext, UNDOES, nameOf, notAllowed } from '../db/repair-context.ts';
import { type WriteContext, deleteEntity, getEntity, upsertEntity } from './entity-api.ts';

/** Changes of a transaction, at most. */
const UNDONE_TOGETHER = 1_000;

export interface UndoContext extends RepairContext {
  readonly writeContext: (transactionId: string | null) => WriteContext;
}

/** Gives the change that undoes the one asked for. */
export async function undoChange(context: UndoContext, id: string): Promise<Change> {
  const { session } = context;
  const change = await requireChange(session, id, context);
  const members = await undoable(context, change);
  const undone = await undoAll(context, members);
  const own = undone.get(change.seq) ?? undone.values().next().value;
  if (own === undefined) throw new LocalDataError('INTERNAL', `${nameOf(change)} was undone by no change.`, { id });
  const touched = (await sideEffects(context)).filter(({ operation }) => operation === 'delete');
  if (touched.length > 0) throw hasDependents(change, touched, touched.length);
  return requireChange(session, own, context);
}

interface Member {
  readonly change: Change;
  /** What it does, and what was there before; null where it took no effect. */
  readonly effect: { readonly operation: Change['operation']; readonly fields: readonly string[] } | null;
  readonly before: Entity | null;
}

/** The change with the others of its transaction, newest first; refused where one of them is not done. */
async function undoable(context: UndoContext, change: Change): Promise<Member[]> {
  refuseUndone(change);
  const where = change.transactionId === null ? 'c.id = $1' : `c.transaction_id = $1 AND c.status <> 'discarded'`;
  const rows = await context.session.run<ChangeRow>(
    `SELECT ${allColumns('c')} FROM local_changes c WHERE ${where} ORDER BY c.seq DESC LIMIT ${UNDONE_TOGETHER + 1}`,
    [change.transactionId ?? change.id],
  );
  if (rows.length > UNDONE_TOGETHER) {
    throw new LocalDataError(
      'TRANSACTION_TOO_LARGE',
      `${nameOf(change)} belongs to a transaction of more than ${UNDONE_TOGETHER} changes, which is not undone as one. Write what is to be there instead.`,
      { id: change.id },
    );
  }
  return rows.map((row) => {
    const member = toChange(row, context);
    refuseUndone(member);
    return asMember(context, member, row);
  });
}

function refuseUndone(change: Change): void {
  if (change.status === 'discarded') throw notAllowed(change, 'undone', 'It is taken back already.');
  if (!isWaiting(change)) return;
  const isAside = change.origin === 'remote';
  throw notAllowed(change, 'undone', isAside ? 'It is not in place here; retry it first.' : 'Discard it instead.');
}

function asMember(context: UndoContext, change: Change, { rebased }: ChangeRow): Member {
  const { conflict, data, previous } = change;
  if (rebased === null && change.status === 'synced' && (conflict?.resolution ?? null) !== null)
    return { change, effect: null, before: null };
  const settled = conflict === null ? null : rebased;
  const { operation, data: written } = effectOf({ ...change, rebased: settled });
  // What a trigger changed beside them is the trigger's to change again; a document's fields are all its own.
  const isTable = context.entityTypes.get(change.entityType)?.kind === 'table';
  const fields = Object.keys((settled === null && isTable ? data : written) ?? {});
  const before = conflict !== null && settled !== null ? conflict.theirs : beneath(previous, written, rebased);
  return { change, effect: { operation, fields }, before };
}

/**
 * What was there before a change that was sent as another than it was made, without a conflict of its own: as the whole of
 * its entity, or on what was settled beneath it, of which `previous` does not know yet.
 */
function beneath(previous: Entity | null, written: JsonObject | null, sentAs: Rebased | null): Entity | null {
  if (previous === null || sentAs === null) return previous;
  const before: JsonObject = { ...previous };
  for (const [field, value] of Object.entries(written ?? {})) {
    const was = takenOut(sentAs.data?.[field], value, previous[field]);
    if (was !== undefined) before[field] = was;
  }
  return before;
}

/** A value without what `mine` made of `was`; what others have brought into an object stays. Undefined is not there. */
function takenOut(
  value: JsonValue | undefined,
  mine: JsonValue | undefined,
  was: JsonValue | undefined,
): JsonValue | undefined {
  if (sameJson(mine, was)) return value;
  if (!isObject(value) || !isObject(mine) || !isObject(was)) return was;
  const left: JsonObject = {};
  for (const key of new Set([...Object.keys(value), ...Object.keys(was)])) {
    const one = takenOut(value[key], mine[key], was[key]);
    if (one !== undefined) left[key] = one;
  }
  return left;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** By `seq` of what is undone, the id of the change that undoes it. What another must go before is tried after it. */
async function undoAll(context: UndoContext, members: readonly Member[]): Promise<Map<number, string>> {
  const done = new Map<number, string>();
  let nothing: LocalDataError | undefined;
  let waiting = members;
  while (waiting.length > 0) {
    const stopped: { readonly member: Member; readonly error: LocalDataError }[] = [];
    for (const member of waiting) {
      try {
        const id = await context.session.savepoint(() => undoOne(context, member, members.length > 1));
        if (typeof id === 'string') done.set(member.change.seq, id);
        else nothing ??= notAllowed(member.change, 'undone', id.nothing);
      } catch (error) {
        if (!isStopped(error)) throw error;
        stopped.push({ member, error });
      }
    }
    const [first] = stopped;
    if (first !== undefined && stopped.length === waiting.length) throw referredTo(first.member.change, first.error);
    waiting = stopped.map(({ member }) => member);
  }
  if (done.size === 0 && nothing !== undefined) throw nothing;
  return done;
}

/** A constraint that another member of the transaction may take away. */
function isStopped(error: unknown): error is LocalDataError {
  return LocalDataError.isCode(error, 'CONSTRAINT_VIOLATION') && String(error.details['sqlState']).startsWith('23');
}

/** Where others refer to what an insert made, it is they that stand in the way. */
function referredTo(change: Change, error: LocalDataError): LocalDataError {
  if (change.operation !== 'insert') return error;
  const message = `${nameOf(change)} cannot be undone: ${error.message} Undo or change what refers to it first.`;
  return new LocalDataError('HAS_DEPENDENTS', message, { ...error.details, id: change.id }, { cause: error });
}

async function undoOne(
  context: UndoContext,
  member: Member,
  together: boolean,
): Promise<string | { readonly nothing: string }> {
  const { change } = member;
  const type = context.entityTypes.require(change.entityType);
  const write = await writeOf(context, member, type);
  if ('nothing' in write) return write;
  const ids: string[] = [];
  const transactionId = together || mayCauseMore(type) ? context.transactionId : null;
  const writing: WriteContext = {
    ...context.writeContext(transactionId),
    newId: () => {
      ids.push(context.newId());
      return ids.at(-1) ?? '';
    },
  };
  const { draft } =
    write.patch === null
      ? await deleteEntity(writing, change.entityType, change.entityId)
      : await upsertEntity(writing, change.entityType, change.entityId, write.patch);
  const [id] = ids;
  if (id === undefined) throw new LocalDataError('INTERNAL', `Undoing ${nameOf(change)} wrote nothing.`);
  await noteUndone(context, change, id, draft);
  context.draft.include(draft);
  return id;
}

/** Such a write may touch other rows, which then belong to the same transaction. */
function mayCauseMore(type: EntityType): boolean {
  return type.hasUserTriggers || type.referencedBy === 'cascades';
}

async function noteUndone(context: UndoContext, { seq }: Change, id: string, draft: CommitDraft): Promise<void> {
  const [row] = await context.session.run<ChangeRow>(
    `UPDATE local_changes c SET note = $2 WHERE c.id = $1 RETURNING ${lightColumns('c')}`,
    [id, `${UNDOES}${seq}`],
  );
  if (row !== undefined) draft.changes.set(row.seq, toChange(row, context));
}

/** What is written to undo it: null takes the entity away. */
type Write = { readonly patch: JsonObject | null } | { readonly nothing: string };

async function writeOf(context: UndoContext, { change, effect, before }: Member, type: EntityType): Promise<Write> {
  const name = `${change.entityType} "${change.entityId}"`;
  const refused = (remedy: string): LocalDataError => notAllowed(change, 'undone', remedy);
  if (effect === null) return { nothing: 'What the server has was taken instead of it.' };
  const current = await getEntity(context.session, type, change.entityId);
  switch (effect.operation) {
    case 'insert':
      return current === undefined ? { nothing: `${name} is gone already.` } : { patch: null };
    case 'delete':
      if (before === null) return { nothing: 'It deleted nothing.' };
      if (current !== undefined) throw refused(`${name} exists again. Delete it first, or edit it.`);
      return { patch: withoutGenerated(type, before) };
    case 'update': {
      if (current === undefined) throw refused(`${name} is gone. Undo its delete first, or insert it.`);
      if (before === null) throw refused(`What ${name} was before it is not known here. Write what is to be there.`);
      const patch = valuesBefore(type, effect.fields, before, current);
      return Object.keys(patch).length === 0 ? { nothing: `${name} is as it was before it.` } : { patch };
    }
  }
}

/** A field of a document that was not there is written as null, which is how one is taken out. */
function valuesBefore(type: EntityType, fields: readonly string[], before: Entity, current: Entity): JsonObject {
  const written = Object.fromEntries(fields.map((field) => [field, before[field] ?? null]));
  const entries = Object.entries(withoutGenerated(type, written));
  return Object.fromEntries(entries.filter(([field, value]) => field !== type.key && !sameJson(value, current[field])));
}

function withoutGenerated(type: EntityType, entity: JsonObject): JsonObject {
  if (type.kind === 'document') return entity;
  const names = new Set(type.columns.filter(({ generated }) => generated).map(({ name }) => name));
  return Object.fromEntries(Object.entries(entity).filter(([field]) => field === type.key || !names.has(field)));
}
