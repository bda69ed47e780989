// Follows the feed: asks for what comes after the cursor, waiting at the server when there is nothing, and puts each page in
// place with the cursor in one transaction. It never moves the cursor by itself.
import type { PullResponse } from '../protocol/sync.ts';
import { applyFeedPage } from './apply-feed.ts';
import type { SyncLedger } from './sync-ledger.ts';
import { type SyncTransport, TransportError } from './transport.ts';
import { Wake } from './wake.ts';

/** Rows of a page, unless a transaction ends later. */
const PAGE_SIZE = 1_000;
/** Milliseconds, beyond what the server may wait by itself. */
const PULL_TIMEOUT = 30_000;
const WAIT_SECONDS = 25;
/** Milliseconds. */
const ECHO_PAUSE = 250;

export class PullLoop {
  readonly #ledger: SyncLedger;
  readonly #isQueueLong: () => boolean;
  #limit = PAGE_SIZE;
  /** Ends a long poll, so that the next pull answers at once. */
  #longPoll: AbortController | undefined;
  /** The next pull is not to wait at the server. */
  #isWanted = false;
  /** Pulls are numbered; the last that brought all the server had. */
  #begun = 0;
  #caughtUp = 0;

  /** `isQueueLong`: so much waits to be sent that echoes are better fetched in fewer, fuller pages. */
  constructor(ledger: SyncLedger, isQueueLong: () => boolean) {
    this.#ledger = ledger;
    this.#isQueueLong = isQueueLong;
  }

  /** The last pull, by its number, after which everything the server had was here. */
  get caughtUp(): number {
    return this.#caughtUp;
  }

  /** Pulls at once. Gives the number of the first pull that begins after now. */
  pullNow(): number {
    this.#isWanted = true;
    this.cutShort();
    return this.#begun + 1;
  }

  /** Ends the request that waits at the server; the next is begun at once. */
  cutShort(): void {
    this.#longPoll?.abort();
  }

  /** Ends by the signal, or rejects with what failed. */
  async run(signal: AbortSignal, transport: SyncTransport): Promise<void> {
    let hasMore = true;
    while (!signal.aborted) {
      const wait = hasMore || this.#isWanted ? 0 : WAIT_SECONDS;
      this.#isWanted = false;
      this.#begun += 1;
      const number = this.#begun;
      const page = await this.#pull(transport, signal, wait);
      if (signal.aborted) return;
      hasMore = page?.more ?? true;
      if (page === undefined) continue;
      if (this.#isQueueLong()) await new Wake(this.#ledger.parts.clock).wait(signal, ECHO_PAUSE);
      await this.#apply(page);
      if (page.more) continue;
      this.#caughtUp = number;
      this.#ledger.tellListeners();
    }
  }

  /** Undefined when the long poll was cut short, or the page was too large and less is to be asked for. */
  async #pull(transport: SyncTransport, signal: AbortSignal, wait: number): Promise<PullResponse | undefined> {
    const { cursor } = this.#ledger.requireBinding();
    const poll = new AbortController();
    this.#longPoll = poll;
    try {
      const page = await this.#ledger.ask(
        PULL_TIMEOUT + wait * 1_000,
        AbortSignal.any([signal, poll.signal]),
        (call) => transport.pull({ after: cursor, limit: this.#limit, wait }, call),
        wait === 0 ? 'at-once' : 'may-wait',
      );
      this.#limit = Math.min(PAGE_SIZE, this.#limit * 2);
      return page;
    } catch (error) {
      if (poll.signal.aborted) return undefined;
      if (!(error instanceof TransportError) || error.kind !== 'too-large' || this.#limit === 1) throw error;
      this.#limit = Math.max(1, Math.floor(this.#limit / 2));
      return undefined;
    } finally {
      this.#longPoll = undefined;
    }
  }

  async #apply(page: PullResponse): Promise<void> {
    const ledger = this.#ledger;
    const binding = ledger.requireBinding();
    if (page.epoch !== binding.epoch)
      throw new TransportError('epoch-changed', 'The server has another history than before.');
    if (ledger.unseen.isContradictedBy(page.changes))
      throw new TransportError('history-changed', 'The server no longer has what it accepted.');
    if (page.changes.length === 0 && page.cursor === binding.cursor) return;
    await ledger.write((context) => applyFeedPage(context, page));
    ledger.moved({ cursor: page.cursor, version: page.version });
    ledger.unseen.seen(page.version);
    ledger.show({ lastPullAt: ledger.parts.clock.now() });
  }
}
