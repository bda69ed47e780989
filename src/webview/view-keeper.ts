// Keeps the view in two places: with VS Code, which has every change at once but writes it down only every few seconds,
// and with the host, which writes it beside the database. Of the two copies the one with the higher revision is shown;
// a copy that was kept of another database never is.
import { type KeptView, LARGEST_VIEW, type PanelState, type PanelView } from '../protocol/panel.ts';
import { EMPTY_VIEW, isObject, readView, viewStore } from './view-state.ts';

const TELL_EVERY_MS = 100;

/** Where views are kept. */
export interface KeepingPlaces {
  readonly kept: unknown;
  keep(state: unknown): void;
  keepAtHost(place: string, kept: KeptView): void;
}

export class ViewKeeper {
  readonly #places: KeepingPlaces;
  /** The database the view is of; null until one is known. */
  #place: string | null;
  #revision: number;
  /** Nothing is told to the host before it has said what it has. */
  #isFollowed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #unsubscribe: () => void;

  constructor(places: KeepingPlaces) {
    this.#places = places;
    const { kept } = places;
    const { place, revision, view } = isObject(kept) ? kept : {};
    this.#place = typeof place === 'string' ? place : null;
    this.#revision = typeof revision === 'number' ? revision : 0;
    viewStore.setState(readView(view));
    this.#unsubscribe = viewStore.subscribe(() => this.#changed());
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#unsubscribe();
  }

  follow(state: PanelState): void {
    if (state.kind === 'open') this.#settle(state.place, state.kept);
    else if (state.cause === 'none') this.#show(null, { revision: 0, view: EMPTY_VIEW });
  }

  #settle(place: string, kept: KeptView | null): void {
    const isOurs = place === this.#place;
    if (!isOurs || (kept !== null && kept.revision > this.#revision)) {
      this.#show(place, { revision: kept?.revision ?? 0, view: readView(kept?.view) });
    }
    this.#isFollowed = true;
    if (this.#revision > (kept?.revision ?? 0)) this.#tellSoon();
  }

  #show(place: string | null, { revision, view }: KeptView): void {
    if (this.#timer !== undefined) this.#tell();
    this.#isFollowed = false;
    viewStore.setState(view);
    this.#place = place;
    this.#revision = revision;
    this.#keep();
  }

  #changed(): void {
    this.#revision += 1;
    this.#keep();
    if (this.#isFollowed) this.#tellSoon();
  }

  #keep(): void {
    this.#places.keep({ place: this.#place, revision: this.#revision, view: viewStore.getState() });
  }

  /** A wait under way is kept: begun anew by each key it would not end while someone types. */
  #tellSoon(): void {
    this.#timer ??= setTimeout(() => this.#tell(), TELL_EVERY_MS);
  }

  #tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#place === null) return;
    this.#places.keepAtHost(this.#place, { revision: this.#revision, view: withinLimit(viewStore.getState()) });
  }
}

/** Without its largest drafts where it would be too large; VS Code's copy has them all. */
export function withinLimit(view: PanelView): PanelView {
  let fitting = view;
  while (JSON.stringify(fitting).length > LARGEST_VIEW) {
    const [largest] = Object.entries(fitting.drafts)
      .map(([key, draft]) => ({ key, size: JSON.stringify(draft).length }))
      .toSorted((a, b) => b.size - a.size);
    if (largest === undefined) return { ...EMPTY_VIEW, entityType: view.entityType };
    const drafts = Object.entries(fitting.drafts).filter(([key]) => key !== largest.key);
    fitting = { ...fitting, drafts: Object.fromEntries(drafts) };
  }
  return fitting;
}
