// A thread whose engine does what the SQL given to it says: for what a real database does only when it is in trouble.
import { appendFileSync, readFileSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import type { CallOptions, LocalData } from '../../src/engine/local-data.ts';
import { noChanges } from '../../src/protocol/changes.ts';
import type { CommitEvent, ImportOptions, ImportProgress, ProcessorState } from '../../src/protocol/engine.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';
import { NO_SYNC } from '../../src/protocol/sync-state.ts';
import { acquireDataDirectoryLock } from '../../src/db/data-directory-lock.ts';
import { serveThread } from '../../src/worker/serve-thread.ts';

export interface Script {
  readonly dataDir?: string;
  /** Every start and every statement is written there, a line each. */
  readonly journal: string;
  readonly failToOpen?: 'always' | 'after-first';
  /** Ends the thread as soon as the processor is started, as a change does that cannot be applied without harm. */
  readonly applyingKills?: boolean;
}

const script = workerData as Script;
const listeners = new Set<(event: CommitEvent) => void>();
let processor: ProcessorState = 'stopped';

function note(line: string): void {
  appendFileSync(script.journal, `${line}\n`);
}

async function run(statement: string, options: CallOptions = {}): Promise<{ rows: []; fields: [] }> {
  note(statement);
  const [verb, amount = '0'] = statement.split(' ');
  if (verb === 'block') block(Number(amount));
  else if (verb === 'block-once') {
    if (timesNoted(statement) === 1) block(Number(amount));
  } else if (verb === 'crash') process.exit(3);
  else if (verb === 'crash-once') {
    if (timesNoted(statement) === 1) process.exit(3);
  } else if (verb === 'throw') throw new TypeError('something strange');
  else if (verb === 'refuse') throw new LocalDataError('SQL_ERROR', 'refused', { sqlState: '42P01', odd: () => 1 });
  else if (verb === 'wait') await new Promise((resolve) => setTimeout(resolve, Number(amount)));
  else if (verb === 'hang') await aborted(options.signal);
  else if (verb === 'huge') return { rows: [...hugeRows()] as never, fields: [] };
  return { rows: [], fields: [] };
}

function* hugeRows(): Iterable<object> {
  for (let index = 0; index < 20; index++) yield { text: 'x'.repeat(1024 * 1024) };
}

function block(ms: number): void {
  const end = Date.now() + ms;
  while (Date.now() < end);
}

function timesNoted(line: string): number {
  return readFileSync(script.journal, 'utf8')
    .split('\n')
    .filter((noted) => noted === line).length;
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => {
      note('gave up');
      reject(new LocalDataError('CANCELLED', 'given up'));
    });
  });
}

function commit(): CommitEvent {
  return { changes: [], entities: [], counts: { ...noChanges(), applied: timesNoted('commit') }, processor };
}

function become(state: ProcessorState): void {
  processor = state;
  for (const listener of listeners) listener(commit());
}

const engine: Partial<LocalData> = {
  onCommit: (listener) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  },
  snapshot: async () => ({
    counts: { ...noChanges(), pending: timesNoted('start') },
    newest: [],
    entityTypes: [],
    processor,
    sync: NO_SYNC,
  }),
  query: (sql, _params, options) => run(sql, options),
  exec: async (sql, _params, options) => {
    const result = await run(sql, options);
    if (sql === 'commit') for (const listener of listeners) listener(commit());
    return result;
  },
  getEntity: async () => undefined,
  queryEntities: async () => ({ rows: [...hugeRows()] as never, next: null }),
  countEntities: async (statement, _options, call) => {
    await run(statement, call);
    return 0;
  },
  startChangeProcessor: () => {
    note('processor started');
    become('idle');
    if (script.applyingKills !== true) return;
    become('processing');
    // Once the call that started it is answered, as applying begins after.
    setTimeout(() => process.exit(3), 50);
  },
  stopChangeProcessor: async () => {
    note('processor stopped');
    become('stopped');
  },
  importEntities: async (options: ImportOptions, call = {}) => {
    for (let row = 1; row <= 3 && call.signal?.aborted !== true; row++) {
      call.onProgress?.({ rowsRead: row, rowsRecorded: row, bytesRead: row, bytesTotal: 3 } satisfies ImportProgress);
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    const cancelled = call.signal?.aborted === true;
    const { entityType, file } = options;
    return { label: 'l', entityType, file, rowsRead: 3, rowsRecorded: 3, refused: [], refusedTotal: 0, cancelled };
  },
  close: async () => note('closed'),
};

/** Methods the script has no part for answer with nothing. */
const complete = new Proxy(engine, {
  // Not `then`: what has one is taken for a promise.
  get: (target, name) => Reflect.get(target, name) ?? (name === 'then' ? undefined : () => Promise.resolve(undefined)),
}) as LocalData;

await serveThread(async () => {
  if (script.dataDir !== undefined) await acquireDataDirectoryLock(script.dataDir, { waitMs: 0 });
  note('start');
  if (script.failToOpen === 'always' || (script.failToOpen === 'after-first' && timesNoted('start') > 1)) {
    throw new LocalDataError('DATA_DIRECTORY_CORRUPT', 'the directory is corrupt');
  }
  return complete;
});
