// One PGlite session: statements run strictly one after another, prepared once and bound by the raw protocol (measured:
// 0.08 ms a statement against 0.25 ms by `query()`). Nothing else in the engine may touch the PGlite instance.
import { type PGlite, protocol } from '@electric-sql/pglite';
import type { JsonValue } from '../protocol/changes.ts';
import { type BackendField, type ValueReader, readInternalValue } from './sql-values.ts';
import { toSqlError } from './sql-error.ts';

export type Row = Record<string, unknown>;
export type Parameter = string | number | bigint | boolean | null | undefined | JsonValue | readonly unknown[];

export interface StatementResult<T extends Row = Row> {
  readonly rows: T[];
  readonly fields: BackendField[];
  readonly affectedRows: number;
}

/** What may be done while one holds the session. Never keep it beyond the callback that received it. */
export interface Session {
  /** One statement with `$1` parameters; objects and arrays are passed as JSON text. */
  run<T extends Row = Row>(sql: string, params?: readonly Parameter[]): Promise<T[]>;
  /** A statement that gives all its rows as one JSON list in `rows`: many rows cross the protocol as one value. */
  runList<T = Row>(sql: string, params?: readonly Parameter[]): Promise<T[]>;
  runWith(sql: string, params: readonly Parameter[], readValue: ValueReader): Promise<StatementResult>;
  /** Any number of statements by the simple protocol; gives the last result that has one. */
  script(sql: string, readValue?: ValueReader): Promise<StatementResult>;
  /** Everything or nothing. */
  transaction<T>(work: () => Promise<T>): Promise<T>;
  /** True when SQL handed in by someone has left a transaction open. */
  isInTransaction(): boolean;
  /** A savepoint within a transaction; rolled back when `work` throws. */
  savepoint<T>(work: () => Promise<T>): Promise<T>;
}

interface Prepared {
  readonly name: string;
  fields: BackendField[];
}

const PREPARED_LIMIT = 256;
const LONGEST_HOLD_MS = 10;
const utf8 = new TextEncoder();

export class Database implements Session {
  readonly #pglite: PGlite;
  readonly #prepared = new Map<string, Prepared>();
  #nameCounter = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;
  /** Since when the event loop may not have had a turn. */
  #heldSince = performance.now();
  #savepointDepth = 0;

  constructor(pglite: PGlite) {
    this.#pglite = pglite;
  }

  /** Runs `work` alone on the session, after everything asked before it. */
  exclusive<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const turn = this.#tail.then(async () => {
      if (performance.now() - this.#heldSince > LONGEST_HOLD_MS) await this.#letEventsIn();
      return work(this);
    });
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  /** PGlite runs without leaving the event loop a turn: messages and timers would wait until everything asked is done. */
  async #letEventsIn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#heldSince = performance.now();
  }

  /** Called on NOTIFY, after the statement that committed it; payloads are ids, never rows. */
  onNotification(callback: (channel: string, payload: string) => void): () => void {
    return this.#pglite.onNotification(callback);
  }

  async run<T extends Row = Row>(sql: string, params: readonly Parameter[] = []): Promise<T[]> {
    const result = await this.runWith(sql, params, readInternalValue);
    // The caller names the columns its own SQL selects; this is the one place that trusts it.
    return result.rows as T[];
  }

  async runList<T = Row>(sql: string, params: readonly Parameter[] = []): Promise<T[]> {
    const [row] = await this.run<{ rows: T[] | null }>(sql, params);
    return row?.rows ?? [];
  }

  async runWith(sql: string, params: readonly Parameter[], readValue: ValueReader): Promise<StatementResult> {
    const known = this.#prepared.get(sql);
    const prepared = known ?? (await this.#prepare(sql));
    if (known !== undefined) this.#touch(sql, known);
    return this.#execute(prepared, params, readValue);
  }

  async script(sql: string, readValue: ValueReader = readInternalValue): Promise<StatementResult> {
    const messages = await this.#send(protocol.serialize.query(sql));
    return readMessages(messages, [], readValue);
  }

  async transaction<T>(work: () => Promise<T>): Promise<T> {
    await this.run('BEGIN');
    try {
      const result = await work();
      await this.run('COMMIT');
      return result;
    } catch (error) {
      await this.run('ROLLBACK');
      throw error;
    }
  }

  async savepoint<T>(work: () => Promise<T>): Promise<T> {
    const name = `s${this.#savepointDepth++}`;
    try {
      await this.run(`SAVEPOINT ${name}`);
      const result = await work();
      await this.run(`RELEASE SAVEPOINT ${name}`);
      return result;
    } catch (error) {
      await this.run(`ROLLBACK TO SAVEPOINT ${name}`);
      await this.run(`RELEASE SAVEPOINT ${name}`);
      throw error;
    } finally {
      this.#savepointDepth--;
    }
  }

  isInTransaction(): boolean {
    return this.#pglite.isInTransaction();
  }

  /** Prepared plans hold on to columns; after DDL they must be made anew. */
  async forgetPrepared(): Promise<void> {
    this.#prepared.clear();
    await this.script('DEALLOCATE ALL');
  }

  async dump(): Promise<Uint8Array> {
    const file = await this.#pglite.dumpDataDir('gzip');
    return new Uint8Array(await file.arrayBuffer());
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#tail;
    await this.#pglite.close();
  }

  async #prepare(sql: string): Promise<Prepared> {
    const prepared: Prepared = { name: `s${this.#nameCounter++}`, fields: [] };
    const messages = await this.#send(
      concat([
        protocol.serialize.parse({ name: prepared.name, text: sql }),
        protocol.serialize.describe({ type: 'S', name: prepared.name }),
        protocol.serialize.sync(),
      ]),
    );
    prepared.fields = fieldsOf(messages) ?? [];
    await this.#evict();
    this.#prepared.set(sql, prepared);
    return prepared;
  }

  #touch(sql: string, prepared: Prepared): void {
    this.#prepared.delete(sql);
    this.#prepared.set(sql, prepared);
  }

  async #evict(): Promise<void> {
    if (this.#prepared.size < PREPARED_LIMIT) return;
    for (const [sql, oldest] of this.#prepared) {
      this.#prepared.delete(sql);
      await this.#send(concat([protocol.serialize.close({ type: 'S', name: oldest.name }), protocol.serialize.sync()]));
      return;
    }
  }

  async #execute(prepared: Prepared, params: readonly Parameter[], readValue: ValueReader): Promise<StatementResult> {
    const messages = await this.#send(
      concat([
        protocol.serialize.bind({ statement: prepared.name, values: params.map(toText) }),
        protocol.serialize.execute({}),
        protocol.serialize.sync(),
      ]),
    );
    return readMessages(messages, prepared.fields, readValue);
  }

  async #send(message: Uint8Array): Promise<BackendMessage[]> {
    try {
      return await this.#pglite.execProtocolStream(message, { syncToFs: false, throwOnError: true });
    } catch (error) {
      throw toSqlError(error);
    }
  }
}

type BackendMessage = Awaited<ReturnType<PGlite['execProtocolStream']>>[number];

function toText(value: Parameter): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string') return value;
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

function fieldsOf(messages: readonly BackendMessage[]): BackendField[] | undefined {
  for (const message of messages) {
    if (message.name === 'rowDescription' && 'fields' in message) return message.fields as BackendField[];
  }
  return undefined;
}

function readMessages(
  messages: readonly BackendMessage[],
  knownFields: BackendField[],
  readValue: ValueReader,
): StatementResult {
  let fields = knownFields;
  let rows: Row[] = [];
  let affectedRows = 0;
  for (const message of messages) {
    if (message.name === 'rowDescription' && 'fields' in message) {
      fields = message.fields as BackendField[];
      rows = [];
    } else if (message.name === 'dataRow' && 'fields' in message) {
      rows.push(readRow(message.fields as (string | null)[], fields, readValue));
    } else if (message.name === 'commandComplete' && 'text' in message) {
      affectedRows = Number(/ (\d+)$/.exec(String(message.text))?.[1] ?? 0);
    }
  }
  return { rows, fields, affectedRows };
}

function readRow(values: readonly (string | null)[], fields: readonly BackendField[], readValue: ValueReader): Row {
  const row: Row = {};
  for (const [index, field] of fields.entries()) {
    const value = values[index];
    row[field.name] = value === null || value === undefined ? null : readValue(value, field.dataTypeID);
  }
  return row;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Bytes a text takes in the database and on the wire. */
export function byteLength(text: string): number {
  return utf8.encode(text).length;
}
