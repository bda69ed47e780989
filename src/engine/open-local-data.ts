// Opens the engine in process: the bundle's entry. The extension opens the same thing inside its worker.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { PGlite } from '@electric-sql/pglite';
import * as z from 'zod';
import { systemClock, type Clock } from '../db/clock.ts';
import { DEFAULT_BATCH_SIZE } from '../db/change-processor.ts';
import { openDatabase } from '../db/open-database.ts';
import { DEFAULT_RETRY_LIMITS, type RetryLimits } from '../db/retry-schedule.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { httpTransport } from '../sync/http-transport.ts';
import type { OpenTransport } from '../sync/transport.ts';
import { LocalDataEngine } from './local-data-engine.ts';

export interface OpenLocalDataOptions {
  /** Absolute path of the data directory; made when it is not there. */
  readonly dataDir?: string;
  /** A database in memory, gone when closed. */
  readonly memory?: boolean;
  /** With `memory`: on this PGlite, which it may have been before; for simulations of crashes. */
  readonly pglite?: PGlite;
  readonly clock?: Clock;
  /** Numbers from 0 to 1; change ids and jitter come from it. Default: the system's randomness. */
  readonly random?: () => number;
  readonly retry?: Partial<RetryLimits>;
  /** Bytes of one change's data as JSON. Default 1 MiB. */
  readonly maxPayloadBytes?: number;
  /** Changes that the processor applies in one transaction. Default 1,000. */
  readonly batchSize?: number;
  /** Starts the change processor at once. Default true. */
  readonly startProcessor?: boolean;
  /** How long to wait for another owner of the directory. Default 10 s. */
  readonly lockWaitMs?: number;
  /** Template directory for new databases; `null` for initdb. Default: the one beside the bundle. */
  readonly templateDir?: string | null;
  readonly signal?: AbortSignal;
  /** Failures with nobody to throw to: a listener's, a batch's. Default: dropped after being stored with the change. */
  readonly onBackgroundError?: (error: unknown) => void;
  /** How servers are reached, by the scheme of their address (such as `supabase`); http and https are built in. */
  readonly transports?: Readonly<Record<string, OpenTransport>>;
  /** Opens what no other transport is for. Default: such addresses are refused. */
  readonly openOtherTransport?: OpenTransport;
}

export const DEFAULT_MAX_PAYLOAD_BYTES = 1024 * 1024;

export async function openLocalData(options: OpenLocalDataOptions): Promise<LocalDataEngine> {
  checkOptions(options);
  const startedAt = performance.now();
  const templateDir = options.templateDir === undefined ? bundledTemplate() : options.templateDir;
  const opened = await openDatabase({
    ...(options.memory === true || options.dataDir === undefined ? {} : { dataDir: options.dataDir }),
    ...(options.pglite === undefined ? {} : { pglite: options.pglite }),
    ...(templateDir === null || templateDir === undefined ? {} : { templateDir }),
    ...(options.lockWaitMs === undefined ? {} : { lockWaitMs: options.lockWaitMs }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  try {
    return await LocalDataEngine.start({
      opened,
      startedAt,
      clock: options.clock ?? systemClock,
      random: options.random,
      retry: { ...DEFAULT_RETRY_LIMITS, ...options.retry },
      maxPayloadBytes: options.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD_BYTES,
      startProcessor: options.startProcessor ?? true,
      batchSize: Math.max(1, Math.trunc(options.batchSize ?? DEFAULT_BATCH_SIZE)),
      onBackgroundError: options.onBackgroundError ?? (() => undefined),
      openTransport: (to) => transportFor(to.url, options)(to),
    });
  } catch (error) {
    await opened.close();
    throw error;
  }
}

function transportFor(url: string, { transports = {}, openOtherTransport }: OpenLocalDataOptions): OpenTransport {
  const scheme = schemeOf(url);
  const own = Object.hasOwn(transports, scheme) ? transports[scheme] : undefined;
  if (own !== undefined) return own;
  const isBuiltIn = scheme === '' || scheme === 'http' || scheme === 'https';
  // It says so where an address is none that it can reach.
  return isBuiltIn ? httpTransport : (openOtherTransport ?? httpTransport);
}

function schemeOf(url: string): string {
  return /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase() ?? '';
}

function bundledTemplate(): string | undefined {
  const directory = fileURLToPath(new URL('./template/', import.meta.url));
  return existsSync(directory) ? directory : undefined;
}

const retrySchema = z
  .object({
    attempts: z.number().int().min(1).max(1_000),
    baseDelayMs: z.number().min(0).max(86_400_000),
    maxDelayMs: z.number().min(0).max(86_400_000),
  })
  .partial();

function checkOptions(options: OpenLocalDataOptions): void {
  if (options.dataDir === undefined && options.memory !== true) {
    throw new LocalDataError(
      'INVALID_ARGUMENT',
      'Neither dataDir nor memory is given; pass { dataDir } or { memory: true }.',
      { field: 'dataDir' },
    );
  }
  const checked = retrySchema.safeParse(options.retry ?? {});
  if (checked.success) return;
  const [issue] = checked.error.issues;
  const field = ['retry', ...(issue?.path ?? [])].join('.');
  throw new LocalDataError('INVALID_ARGUMENT', `Option ${field} is not valid: ${issue?.message ?? 'wrong value'}.`, {
    field,
  });
}

export { LocalDataEngine } from './local-data-engine.ts';
export { LocalDataError } from '../protocol/errors.ts';
export { TransportError, type SyncTransport } from '../sync/transport.ts';
export type { LocalData } from './local-data.ts';
