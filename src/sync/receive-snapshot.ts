// Receives a snapshot page by page and puts it in place, going on where an interruption left it. The next page is on its way
// while one is kept.
import type { SnapshotResponse } from '../protocol/sync.ts';
import { settleOldDoubt } from './old-doubt.ts';
import { onceLeft } from './once-left.ts';
import type { Binding } from './sync-binding.ts';
import { type ApplyingFrom, applySnapshotChunk, applyingStart, keepSnapshotPage } from './snapshot.ts';
import type { SyncLedger } from './sync-ledger.ts';
import { type SyncTransport, TransportError } from './transport.ts';

/** Milliseconds. */
const SNAPSHOT_TIMEOUT = 60_000;
const PAGE_SIZE = 1_000;

/** Does nothing where none is needed. */
export async function receiveSnapshot(
  ledger: SyncLedger,
  signal: AbortSignal,
  transport: SyncTransport,
): Promise<void> {
  if (ledger.requireBinding().phase === 'linked') return;
  await receivePages(ledger, signal, transport);
  await putInPlace(ledger, signal);
  if (signal.aborted) return;
  await ledger.reread();
  ledger.show({ snapshot: null });
}

async function receivePages(ledger: SyncLedger, signal: AbortSignal, transport: SyncTransport): Promise<void> {
  let received = 0;
  let limit = PAGE_SIZE;
  /** Undefined where it was too large: then less is asked for. */
  const ask = (page: string | null): Promise<SnapshotResponse | undefined> =>
    ledger.ask(SNAPSHOT_TIMEOUT, signal, (call) =>
      transport.snapshot({ page, limit }, call).catch((error: unknown) => {
        const isTooLarge = error instanceof TransportError && error.kind === 'too-large';
        if (!isTooLarge || limit === 1) throw error;
        limit = Math.max(1, Math.floor(limit / 2));
        return undefined;
      }),
    );
  let asked: Promise<SnapshotResponse | undefined> | undefined;
  while (ledger.requireBinding().phase === 'snapshot' && !signal.aborted) {
    const binding = ledger.requireBinding();
    const page = await (asked ?? ask(binding.snapshot_page));
    asked = undefined;
    if (page === undefined) continue;
    if (page.epoch !== binding.epoch)
      throw new TransportError('epoch-changed', 'The server has another history than before.');
    if (page.next !== null) {
      asked = ask(page.next);
      // It is waited for once this page is kept, and may fail before.
      asked.catch(() => undefined);
    }
    await onceLeft(() => ledger.write((context) => keepSnapshotPage(context, binding, page)));
    received += page.entities.length;
    await ledger.reread();
    ledger.show({ snapshot: { received, total: page.total } });
  }
}

async function putInPlace(ledger: SyncLedger, signal: AbortSignal): Promise<void> {
  const binding: Binding = ledger.requireBinding();
  if (binding.phase !== 'applying') return;
  await ledger.write(settleOldDoubt);
  let next: ApplyingFrom | undefined = applyingStart(ledger.parts.entityTypes, (name) => ledger.isLocalOnly(name));
  while (next !== undefined && !signal.aborted) {
    const from: ApplyingFrom = next;
    next = await ledger.write((context) => applySnapshotChunk(context, binding, from));
  }
}
