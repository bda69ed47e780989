// How many changes the Changes view shows as waiting for the server. Where there is no contact they wait to be seen. Where
// there is, they are mostly through before anybody could read that they wait, and a group that comes and goes with every
// change would be noise: it is shown once changes have waited for a while, and then for as long as any do.
// Must not import `vscode`.
import type { SyncState, SyncStatus } from '../../protocol/sync-state.ts';

/** What the server accepts within this time was never seen to wait. */
const SHOWN_AFTER_MS = 1_000;

const ON_THEIR_WAY: readonly SyncStatus[] = ['connecting', 'snapshot', 'synced', 'syncing'];

type Cancel = () => void;
export type SetTimer = (work: () => void, milliseconds: number) => Cancel;

const setTimer: SetTimer = (work, milliseconds) => {
  const timer = setTimeout(work, milliseconds);
  return () => clearTimeout(timer);
};

export class WaitingForServer {
  readonly #onShown: () => void;
  readonly #setTimer: SetTimer;
  #waiting = 0;
  #isShown = false;
  #cancel: Cancel | undefined;

  /** `onShown` is called when they have waited long enough, without anything else having happened. */
  constructor(onShown: () => void, timer: SetTimer = setTimer) {
    this.#onShown = onShown;
    this.#setTimer = timer;
  }

  /** Those to show; 0 also while they have hardly waited. */
  get count(): number {
    return this.#isShown ? this.#waiting : 0;
  }

  note({ status, waiting }: Pick<SyncState, 'status' | 'waiting'>): void {
    this.#waiting = waiting;
    if (waiting === 0) {
      this.#stopTimer();
      this.#isShown = false;
    } else if (!ON_THEIR_WAY.includes(status)) {
      this.#stopTimer();
      this.#isShown = true;
    } else if (!this.#isShown) {
      this.#cancel ??= this.#setTimer(() => this.#show(), SHOWN_AFTER_MS);
    }
  }

  dispose(): void {
    this.#stopTimer();
  }

  #show(): void {
    this.#cancel = undefined;
    this.#isShown = true;
    this.#onShown();
  }

  #stopTimer(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
