// What becomes of a pushed batch: from the changes, the entities they touch and the ids known, to one result for each change
// and the rows to write. Pure: no database, no clock, no randomness; the same input gives the same decision.
import { hash } from 'node:crypto';
import { canonicalJson, sameJson } from '../protocol/canonical-json.ts';
import type { JsonObject, JsonValue, Operation } from '../protocol/changes.ts';
import { type FieldWrite, type PushResult, type PushedChange, SYNC_LIMITS } from '../protocol/sync.ts';
import { type CompiledRules, type ReadChange, type Refusal, laneOf, refusal } from './change-rules.ts';

/** An entity as the server has it. A field that `fields` does not name was written by `whole`, if the entity has it. */
export interface PresentEntity {
  readonly entityType: string;
  readonly entityId: string;
  readonly version: number;
  readonly timestamp: number;
  readonly clientId: string;
  /** Null where it is deleted. */
  readonly data: JsonObject | null;
  readonly whole: FieldWrite;
  readonly fields: ReadonlyMap<string, FieldWrite>;
}

/** One that the push has written. */
export interface WrittenEntity extends PresentEntity {
  /** JSON of its data; null where it is deleted. */
  readonly json: string | null;
  readonly bytes: number;
}

export interface KnownChange {
  readonly version: number;
  readonly payloadHash: string;
}

export interface PushInput {
  readonly clientId: string;
  readonly changes: readonly ReadChange[];
  /** By {@link laneOf}. */
  readonly entities: ReadonlyMap<string, PresentEntity>;
  /** By id. */
  readonly known: ReadonlyMap<string, KnownChange>;
  /** The space's version before the push. */
  readonly version: number;
  readonly now: number;
  readonly rules: CompiledRules;
  readonly limits: { readonly entityBytes: number; readonly transactionBytes: number };
  /** Asked for each change that would be applied; one that throws fails the push as a whole. */
  readonly refuse?: (
    change: PushedChange,
    before: JsonObject | null,
    after: JsonObject | null,
  ) => Promise<Refusal | null>;
}

export interface AppliedChange {
  readonly version: number;
  readonly change: PushedChange;
  /** What it came to: an insert of an entity that was there is an update. */
  readonly operation: Operation;
  /** JSON of the entity after it, and of what it wrote; null for a delete. */
  readonly entityJson: string | null;
  readonly dataJson: string | null;
  readonly timestamp: number;
  readonly entityBytes: number;
  readonly dataBytes: number;
}

export interface PushDecision {
  readonly results: readonly PushResult[];
  /** The space's version after the push. */
  readonly version: number;
  readonly applied: readonly AppliedChange[];
  /** Each touched entity once, as it is after the push. */
  readonly entities: readonly WrittenEntity[];
  readonly remembered: readonly { readonly id: string; readonly version: number; readonly payloadHash: string }[];
}

/** What a stretch of changes came to: all of it counts, or nothing. */
interface Draft {
  version: number;
  bytes: number;
  readonly entities: Map<string, WrittenEntity>;
  readonly known: Map<string, KnownChange>;
  readonly applied: AppliedChange[];
}

/** Changes that are applied together or not at all: a transaction, or one change alone. */
interface Unit {
  readonly transactionId: string | null;
  readonly members: readonly { readonly index: number; readonly read: ReadChange }[];
}

/** What of this push was not applied so far, and so holds up others. */
interface Stopped {
  /** The id of the change that each lane waits for. */
  readonly lanes: Map<string, string>;
  /** The ids of all changes that were not applied. */
  readonly ids: Set<string>;
}

type Verdict =
  | { readonly kind: 'duplicate'; readonly version: number }
  | { readonly kind: 'nothing to do' }
  | {
      readonly kind: 'write';
      readonly operation: Operation;
      readonly data: JsonObject | null;
      readonly after: PresentEntity;
    }
  | { readonly kind: 'conflict'; readonly fields: ReadonlyMap<string, FieldWrite>; readonly present: PresentEntity }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export async function decidePush(input: PushInput): Promise<PushDecision> {
  const done: Draft = { version: input.version, bytes: 0, entities: new Map(), known: new Map(), applied: [] };
  const stopped: Stopped = { lanes: new Map(), ids: new Set() };
  const results: PushResult[] = [];
  const units = unitsOf(input.changes);
  const split = splitTransactions(units);
  for (const unit of units) {
    const draft: Draft = { version: done.version, bytes: 0, entities: new Map(), known: new Map(), applied: [] };
    const isSplit = unit.transactionId !== null && split.has(unit.transactionId);
    const outcome = await decideUnit(input, unit, isSplit, done, draft, stopped);
    for (const [position, { index }] of unit.members.entries()) {
      const result = outcome.results[position];
      if (result !== undefined) results[index] = result;
    }
    if (outcome.stoppedBy === null) keep(draft, done);
    else stop(unit, outcome.stoppedBy, stopped);
  }
  return {
    results,
    version: done.version,
    applied: done.applied,
    entities: [...done.entities.values()],
    remembered: [...done.known].map(([id, { version, payloadHash }]) => ({ id, version, payloadHash })),
  };
}

function unitsOf(changes: readonly ReadChange[]): Unit[] {
  const units: { transactionId: string | null; members: { index: number; read: ReadChange }[] }[] = [];
  for (const [index, read] of changes.entries()) {
    const transactionId = read.kind === 'change' ? read.change.transactionId : read.transactionId;
    const last = units.at(-1);
    if (transactionId !== null && last?.transactionId === transactionId) last.members.push({ index, read });
    else units.push({ transactionId, members: [{ index, read }] });
  }
  return units;
}

/** Transactions whose members do not stand together: they could not be applied as one. */
function splitTransactions(units: readonly Unit[]): ReadonlySet<string> {
  const seen = new Set<string>();
  const split = new Set<string>();
  for (const { transactionId } of units) {
    if (transactionId === null) continue;
    if (seen.has(transactionId)) split.add(transactionId);
    seen.add(transactionId);
  }
  return split;
}

interface UnitOutcome {
  readonly results: readonly PushResult[];
  /** The id of the member that stands in the way; empty where it has none; null where all were applied. */
  readonly stoppedBy: string | null;
}

async function decideUnit(
  input: PushInput,
  unit: Unit,
  isSplit: boolean,
  done: Draft,
  draft: Draft,
  stopped: Stopped,
): Promise<UnitOutcome> {
  const results: PushResult[] = [];
  for (const [position, { read }] of unit.members.entries()) {
    const result = isSplit ? splitResult(read) : await decideOne(input, read, done, draft, stopped);
    results.push(result);
    if (result.outcome === 'applied' || result.outcome === 'duplicate') continue;
    const by = result.id;
    const held = unit.members.map(({ read }, other): PushResult => {
      if (other === position) return result;
      return heldBy(read, by);
    });
    return { results: isSplit ? unit.members.map(({ read }) => splitResult(read)) : held, stoppedBy: by };
  }
  return { results, stoppedBy: null };
}

function splitResult(read: ReadChange): PushResult {
  const message = 'Changes of one transaction stand together in a push; others stand between these.';
  return rejected(idOf(read), refusal('TRANSACTION_SPLIT', message, 'transactionId'));
}

/** One that has no id of its own, or waits for one that has none, cannot say what it waits for. */
function heldBy(read: ReadChange, by: string): PushResult {
  if (read.kind === 'unreadable') return rejected(read.id, read.refusal);
  if (by !== '') return { outcome: 'held', id: read.change.id, by };
  return rejected(
    read.change.id,
    refusal('INVALID_TRANSACTION', 'A member of the transaction cannot be read, and has no id.'),
  );
}

async function decideOne(
  input: PushInput,
  read: ReadChange,
  done: Draft,
  draft: Draft,
  stopped: Stopped,
): Promise<PushResult> {
  if (read.kind === 'unreadable') return rejected(read.id, read.refusal);
  const { change } = read;
  const lane = laneOf(change);
  const knownAs = (id: string) => draft.known.get(id) ?? done.known.get(id) ?? input.known.get(id);
  const known = knownAs(change.id);
  const payloadHash = hashOfPayload(change);
  if (known !== undefined) return resultOfKnown(change, known, payloadHash);
  // An id that was applied stays applied, also where the same id came once more with something else.
  const missing = change.after?.find((id) => stopped.ids.has(id) && knownAs(id) === undefined);
  const stopper = stopped.lanes.get(lane) ?? missing;
  if (stopper !== undefined) return heldBy(read, stopper);
  const present = draft.entities.get(lane) ?? done.entities.get(lane) ?? input.entities.get(lane);
  const verdict = judge(input, change, present, draft.version + 1);
  switch (verdict.kind) {
    case 'duplicate':
      return { outcome: 'duplicate', id: change.id, version: verdict.version };
    case 'refused':
      return rejected(change.id, verdict.refusal);
    case 'conflict':
      return conflict(change, verdict.present, verdict.fields);
    case 'nothing to do':
      draft.known.set(change.id, { version: draft.version, payloadHash });
      return { outcome: 'applied', id: change.id, version: draft.version };
    case 'write': {
      const refused = await checkWrite(input, read, present?.data ?? null, verdict, draft);
      if (refused !== null) return rejected(change.id, refused);
      draft.known.set(change.id, { version: draft.version, payloadHash });
      return { outcome: 'applied', id: change.id, version: draft.version };
    }
  }
}

function resultOfKnown(change: PushedChange, known: KnownChange, payloadHash: string): PushResult {
  if (known.payloadHash === payloadHash) return { outcome: 'duplicate', id: change.id, version: known.version };
  const message = 'A change with this id was applied before, with another content. A new change needs a new id.';
  return rejected(change.id, refusal('ID_REUSED', message, 'id'));
}

/** Takes the write into the draft unless something speaks against the entity that it makes. */
async function checkWrite(
  input: PushInput,
  { change, json, bytes: dataBytes }: Extract<ReadChange, { kind: 'change' }>,
  before: JsonObject | null,
  { operation, data, after }: Extract<Verdict, { kind: 'write' }>,
  draft: Draft,
): Promise<Refusal | null> {
  // Most changes write what they carry, and most inserts carry the entity.
  const dataJson = data === null ? null : data === change.data ? json : JSON.stringify(data);
  const entityJson = after.data === null ? null : after.data === data ? dataJson : JSON.stringify(after.data);
  const entityBytes = entityJson === null ? 0 : Buffer.byteLength(entityJson);
  if (entityBytes > input.limits.entityBytes) {
    return refusal(
      'ENTITY_TOO_LARGE',
      `The entity would have ${entityBytes} bytes; ${input.limits.entityBytes} are allowed.`,
    );
  }
  const bytes = draft.bytes + entityBytes + dataBytes;
  if (bytes > input.limits.transactionBytes) {
    return refusal(
      'TRANSACTION_TOO_LARGE',
      `The transaction's entities have more than ${input.limits.transactionBytes} bytes together.`,
    );
  }
  const refused =
    input.rules.check(change.operation, change.entityType, after.data, entityBytes) ??
    (input.refuse === undefined ? null : await input.refuse(change, before, after.data));
  if (refused !== null) return refused;
  draft.bytes = bytes;
  draft.version += 1;
  draft.entities.set(laneOf(change), { ...after, json: entityJson, bytes: entityBytes });
  draft.applied.push({
    version: draft.version,
    change,
    operation,
    entityJson,
    dataJson,
    timestamp: after.timestamp,
    entityBytes,
    dataBytes,
  });
  return null;
}

function judge(input: PushInput, change: PushedChange, present: PresentEntity | undefined, version: number): Verdict {
  const write: FieldWrite = {
    version,
    clientId: input.clientId,
    timestamp: Math.min(change.timestamp, input.now + SYNC_LIMITS.clockAheadMs),
  };
  switch (change.operation) {
    case 'insert':
      return judgeInsert(change, present, write);
    case 'update':
      return judgeUpdate(change, present, write);
    case 'delete':
      return judgeDelete(change, present, write);
  }
}

function judgeInsert(change: PushedChange, present: PresentEntity | undefined, write: FieldWrite): Verdict {
  const data = change.data ?? {};
  if (present === undefined || present.data === null) {
    if (present !== undefined && isForeignAndNewer(present.whole, change, write))
      return conflictOfAll(present, present.whole);
    return { kind: 'write', operation: 'insert', data, after: written(change, write, data, write, new Map()) };
  }
  const differing = fieldsThatDiffer(data, present.data);
  const conflicts = conflictsOf(Object.keys(differing), change, present, write);
  if (conflicts.size > 0) return { kind: 'conflict', fields: conflicts, present };
  return patch(change, present, present.data, differing, write);
}

function judgeUpdate(change: PushedChange, present: PresentEntity | undefined, write: FieldWrite): Verdict {
  const data = change.data ?? {};
  if (present !== undefined && present.data === null && isForeignAndNewer(present.whole, change, write)) {
    return conflictOfAll(present, present.whole);
  }
  if (present === undefined || present.data === null) {
    return {
      kind: 'refused',
      refusal: refusal('MISSING', 'The entity is not there; an update needs one. Send an insert.'),
    };
  }
  const { data: entity } = present;
  const gone = (change.removed ?? []).filter((field) => Object.hasOwn(entity, field));
  const conflicts = conflictsOf([...Object.keys(fieldsThatDiffer(data, entity)), ...gone], change, present, write);
  if (conflicts.size > 0) return { kind: 'conflict', fields: conflicts, present };
  return patch(change, present, entity, data, write);
}

function judgeDelete(change: PushedChange, present: PresentEntity | undefined, write: FieldWrite): Verdict {
  if (present === undefined || present.data === null) return { kind: 'nothing to do' };
  const newest = [present.whole, ...present.fields.values()]
    .filter((last) => isForeignAndNewer(last, change, write))
    .reduce<FieldWrite | null>((best, last) => (best === null || last.version > best.version ? last : best), null);
  if (newest !== null) return conflictOfAll(present, newest);
  return { kind: 'write', operation: 'delete', data: null, after: written(change, write, null, write, new Map()) };
}

function patch(
  change: PushedChange,
  present: PresentEntity,
  entity: JsonObject,
  data: JsonObject,
  write: FieldWrite,
): Verdict {
  const fields = new Map(present.fields);
  const removed = new Set(change.operation === 'update' ? change.removed : []);
  for (const field of [...Object.keys(data), ...removed]) fields.set(field, write);
  const patched = Object.entries({ ...entity, ...data }).filter(([field]) => !removed.has(field));
  const after = written(change, write, Object.fromEntries(patched), present.whole, fields);
  return { kind: 'write', operation: 'update', data, after };
}

function written(
  { entityType, entityId }: PushedChange,
  { version, clientId, timestamp }: FieldWrite,
  data: JsonObject | null,
  whole: FieldWrite,
  fields: ReadonlyMap<string, FieldWrite>,
): PresentEntity {
  return { entityType, entityId, version, timestamp, clientId, data, whole, fields };
}

/** Two who write the same are of one mind: only fields whose values differ can be in conflict. */
function fieldsThatDiffer(data: JsonObject, entity: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(data).filter(
      ([field, value]) => !Object.hasOwn(entity, field) || !sameJson(value, ownValue(entity, field)),
    ),
  );
}

function conflictsOf(
  fields: readonly string[],
  change: PushedChange,
  present: PresentEntity,
  write: FieldWrite,
): ReadonlyMap<string, FieldWrite> {
  const conflicts = new Map<string, FieldWrite>();
  for (const field of fields) {
    const last = lastWriteOf(present, field);
    if (last !== null && isForeignAndNewer(last, change, write)) conflicts.set(field, last);
  }
  return conflicts;
}

function lastWriteOf({ fields, whole, data }: PresentEntity, field: string): FieldWrite | null {
  return fields.get(field) ?? (data !== null && Object.hasOwn(data, field) ? whole : null);
}

function isForeignAndNewer(last: FieldWrite, change: PushedChange, { clientId }: FieldWrite): boolean {
  return last.version > change.baseVersion && last.clientId !== clientId;
}

function conflictOfAll(present: PresentEntity, last: FieldWrite): Verdict {
  return { kind: 'conflict', fields: new Map([['*', last]]), present };
}

function conflict(change: PushedChange, present: PresentEntity, fields: ReadonlyMap<string, FieldWrite>): PushResult {
  return {
    outcome: 'conflict',
    id: change.id,
    version: present.version,
    entity: present.data,
    fields: Object.fromEntries(fields),
  };
}

function rejected(id: string, { code, message, field }: Refusal): PushResult {
  return { outcome: 'rejected', id, code, message, ...(field === undefined ? {} : { field }) };
}

function keep(draft: Draft, done: Draft): void {
  done.version = draft.version;
  for (const [lane, entity] of draft.entities) done.entities.set(lane, entity);
  for (const [id, known] of draft.known) done.known.set(id, known);
  done.applied.push(...draft.applied);
}

/** Later changes of the lanes wait for the change at fault, or for the member itself where it stands in its own way. */
function stop(unit: Unit, stoppedBy: string, stopped: Stopped): void {
  for (const { read } of unit.members) {
    stopped.ids.add(idOf(read));
    const lane = read.kind === 'change' ? laneOf(read.change) : read.lane;
    if (lane !== null && !stopped.lanes.has(lane)) stopped.lanes.set(lane, stoppedBy);
  }
}

function idOf(read: ReadChange): string {
  return read.kind === 'change' ? read.change.id : read.id;
}

function ownValue(entity: JsonObject, field: string): JsonValue {
  return Object.hasOwn(entity, field) ? (entity[field] ?? null) : null;
}

/** What makes two changes of one id the same: what they do, not what they were based on. */
function hashOfPayload({ entityType, entityId, operation, data, removed = [] }: PushedChange): string {
  return sha256(canonicalJson([entityType, entityId, operation, data, ...removed]));
}

export function sha256(text: string): string {
  return hash('sha256', text);
}
