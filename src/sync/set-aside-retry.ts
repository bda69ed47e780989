// Tries what was set aside again whenever something was written here that may have made room for it: a moment after, and the
// more seldom the longer it takes, so that a great number of them never holds up anything else.
import { requireChange } from '../db/changes-table.ts';
import { RETRY_START, type RetryFrom, retrySetAside, retryThese } from './apply-feed.ts';
import type { SyncLedger } from './sync-ledger.ts';

/** Milliseconds. */
const RETRY_AFTER = 250;
/** Of the time between two tries at most one part in so many is spent on them. */
const SHARE = 20;

export class SetAsideRetry {
  readonly #ledger: SyncLedger;
  #pauseMs = RETRY_AFTER;
  #cancelTimer: (() => void) | undefined;

  constructor(ledger: SyncLedger) {
    this.#ledger = ledger;
  }

  get isNeeded(): boolean {
    const { troubles, isClosed, binding } = this.#ledger;
    return troubles.counts.setAside > 0 && !isClosed && binding?.phase === 'linked';
  }

  soon(): void {
    if (!this.isNeeded) return;
    const { clock, onError } = this.#ledger.parts;
    this.#cancelTimer ??= clock.setTimer(() => {
      this.#cancelTimer = undefined;
      if (!this.isNeeded) return;
      this.now().catch((error: unknown) => {
        if (!this.#ledger.isClosed) onError(error);
      });
    }, this.#pauseMs);
  }

  /** All, or that of the type that a change is of: its own entity first. A page is a transaction, however many there are. */
  async now(changeId?: string): Promise<void> {
    const ledger = this.#ledger;
    const { clock } = ledger.parts;
    const begun = clock.now();
    const only = changeId === undefined ? undefined : await this.#retryOne(changeId);
    for (let from: RetryFrom | undefined = RETRY_START; from !== undefined && !ledger.isClosed;) {
      const next: RetryFrom = from;
      from = await ledger.write((context) => retrySetAside(context, context.version, next, only));
    }
    this.#pauseMs = Math.max(RETRY_AFTER, SHARE * (clock.now() - begun));
    ledger.troubles.countSoon();
  }

  /** Gives its type. */
  #retryOne(changeId: string): Promise<string> {
    return this.#ledger.write(async (context) => {
      const change = await requireChange(context.session, changeId, { now: context.now, paused: false });
      await retryThese(context, context.version, [change]);
      return change.entityType;
    });
  }

  close(): void {
    this.#cancelTimer?.();
  }
}
