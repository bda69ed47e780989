// Imports a file as insert changes, in batches that share one label. What was recorded stays and can be undone by its
// label, also when the import is cancelled or the file turns out to be broken half-way; no row vanishes without a reason.
import { randomUUID } from 'node:crypto';
import type { ChangeInput } from '../../protocol/changes.ts';
import type { EntityTypeInfo, ImportOptions, ImportProgress, ImportReport, RefusedRow } from '../../protocol/engine.ts';
import { LocalDataError } from '../../protocol/errors.ts';
import { formatOf, readRows } from './read-rows.ts';
import { rowConverter } from './to-change.ts';

/** What an import needs of the engine. */
export interface ImportDeps {
  /** Throws UNKNOWN_ENTITY_TYPE. */
  describe(entityType: string): EntityTypeInfo | Promise<EntityTypeInfo>;
  /** Records all of them or none, under the import's label. */
  recordBatch(inputs: readonly ChangeInput[], label: string): Promise<unknown>;
  /** Resolves when what was recorded has been applied, as far as it can be now. */
  whenApplied(): Promise<void>;
  readonly maxPayloadBytes: number;
  /** New ids for documents without one; random by default. */
  newId?(): string;
  /** An id as the key's type writes it; as it stands by default. */
  canonicalId?(entityType: string, id: string): string;
}

export interface ImportCall {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ImportProgress) => void;
}

const BATCH_ROWS = 1_000;
const BATCH_BYTES = 4_000_000;
const REFUSED_LISTED = 1_000;

export async function importEntities(
  deps: ImportDeps,
  options: ImportOptions,
  call: ImportCall = {},
): Promise<ImportReport> {
  const type = await deps.describe(options.entityType);
  const run = new ImportRun(deps, options, type, call);
  try {
    await run.readAll();
  } catch (error) {
    if (!isAbort(error, call.signal)) throw await run.interrupted(error);
  }
  return run.finish();
}

class ImportRun {
  readonly #deps: ImportDeps;
  readonly #options: ImportOptions;
  readonly #type: EntityTypeInfo;
  readonly #call: ImportCall;
  readonly #label: string;
  readonly #refused: RefusedRow[] = [];
  #refusedTotal = 0;
  #rowsRead = 0;
  #rowsRecorded = 0;
  #bytesRead = 0;
  #bytesTotal = 0;
  #batch: ChangeInput[] = [];
  #batchBytes = 0;
  /** One batch is written while the next is read. */
  #writing: Promise<void> = Promise.resolve();

  constructor(deps: ImportDeps, options: ImportOptions, type: EntityTypeInfo, call: ImportCall) {
    this.#deps = deps;
    this.#options = options;
    this.#type = type;
    this.#call = call;
    this.#label = `import:${this.#newId()}`;
  }

  async readAll(): Promise<void> {
    const convert = rowConverter({
      type: this.#type,
      format: formatOf(this.#options),
      idField: this.#options.idField,
      maxPayloadBytes: this.#deps.maxPayloadBytes,
      newId: () => this.#newId(),
      canonicalId: (id) => this.#deps.canonicalId?.(this.#type.entityType, id) ?? id,
    });
    try {
      for await (const row of readRows(this.#options, this.#reading())) {
        this.#call.signal?.throwIfAborted();
        this.#rowsRead++;
        const converted = 'value' in row ? convert(row.value) : row;
        if ('refused' in converted) this.#refuse({ row: row.row, reason: converted.refused });
        else await this.#add(converted.input);
      }
      await this.#flush();
    } finally {
      await this.#writing;
    }
  }

  async finish(): Promise<ImportReport> {
    const cancelled = this.#call.signal?.aborted ?? false;
    if (!cancelled) await this.#deps.whenApplied();
    return {
      label: this.#label,
      entityType: this.#type.entityType,
      file: this.#options.file,
      rowsRead: this.#rowsRead,
      rowsRecorded: this.#rowsRecorded,
      refused: this.#refused,
      refusedTotal: this.#refusedTotal,
      cancelled,
    };
  }

  /** The error that ended the reading, with what was recorded before it; those rows stay. */
  async interrupted(error: unknown): Promise<unknown> {
    if (this.#rowsRecorded === 0 || !(error instanceof LocalDataError)) return error;
    const kept = `${this.#rowsRecorded} rows before it are recorded; Undo Import takes them back.`;
    const details = { ...error.details, label: this.#label, rowsRecorded: this.#rowsRecorded };
    return new LocalDataError(error.code, `${error.message} ${kept}`, details, { cause: error });
  }

  #reading(): { signal?: AbortSignal; onProgress: (read: number, total: number) => void } {
    const onProgress = (read: number, total: number): void => {
      this.#bytesRead = read;
      this.#bytesTotal = total;
    };
    return this.#call.signal === undefined ? { onProgress } : { signal: this.#call.signal, onProgress };
  }

  #refuse(row: RefusedRow): void {
    this.#refusedTotal++;
    if (this.#refused.length < REFUSED_LISTED) this.#refused.push(row);
  }

  async #add(input: ChangeInput): Promise<void> {
    this.#batch.push(input);
    this.#batchBytes += roughSize(input);
    if (this.#batch.length >= BATCH_ROWS || this.#batchBytes >= BATCH_BYTES) await this.#flush();
  }

  async #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    await this.#writing;
    if (batch.length === 0) return;
    this.#call.signal?.throwIfAborted();
    this.#writing = this.#write(batch);
    // An error is met by whoever awaits the writing next; until then it must not count as unhandled.
    this.#writing.catch(() => undefined);
  }

  async #write(batch: readonly ChangeInput[]): Promise<void> {
    await this.#deps.recordBatch(batch, this.#label);
    this.#rowsRecorded += batch.length;
    this.#call.onProgress?.({
      rowsRead: this.#rowsRead,
      rowsRecorded: this.#rowsRecorded,
      bytesRead: this.#bytesRead,
      bytesTotal: this.#bytesTotal,
    });
  }

  #newId(): string {
    return this.#deps.newId?.() ?? randomUUID();
  }
}

/** Enough to keep a batch of large rows small; rows of text fields are the usual case. */
function roughSize(input: ChangeInput): number {
  let size = 0;
  for (const value of Object.values(input.data ?? {})) {
    if (typeof value === 'string') size += value.length;
    else size += typeof value === 'object' && value !== null ? JSON.stringify(value).length : 8;
  }
  return size;
}

function isAbort(error: unknown, signal: AbortSignal | undefined): boolean {
  return (
    signal !== undefined && signal.aborted && (error === signal.reason || LocalDataError.isCode(error, 'CANCELLED'))
  );
}
