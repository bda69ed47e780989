// Tries what was set aside again whenever something was written here that may have made room for it: a moment after, and the
// more seldom the longer it takes, so that a great number of them never holds up anything else.
import { requireChange } from '../db/changes-table.ts';
import { feedVersion } from '../db/entity-bases.ts';
import { retrySetAside } from './apply-feed.ts';
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

  /** Of the type that a change is of, or all. */
  async now(changeId?: string): Promise<void> {
    const { clock } = this.#ledger.parts;
    const begun = clock.now();
    await this.#ledger.write(async (context) => {
      const reasons = { now: context.now, paused: false };
      const change = changeId === undefined ? undefined : await requireChange(context.session, changeId, reasons);
      await retrySetAside(context, await feedVersion(context.session), change?.entityType);
    });
    this.#pauseMs = Math.max(RETRY_AFTER, SHARE * (clock.now() - begun));
    this.#ledger.troubles.countSoon();
  }

  close(): void {
    this.#cancelTimer?.();
  }
}
