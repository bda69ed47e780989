// What is not done of what is shown: the marks on the rows in view, the entities that are not inserted, and how many
// changes of each type failed. Read again after commits rather than reckoned from them: a commit may be too large to say
// what it touched, and a lane may be longer than what is held here.
import type { EntityMark } from '../protocol/changes.ts';
import type { PanelCalls } from '../protocol/panel.ts';

const READ_EVERY_MS = 250;
const MOST_MARKS = 2_000;

type Waiting = PanelCalls['waiting'];

export class WaitingChanges {
  readonly #read: (query: Waiting['query']) => Promise<Waiting['answer']>;
  readonly #onChange: () => void;
  #shown: Waiting['query'] | undefined;
  #marks: ReadonlyMap<string, EntityMark> = new Map();
  #notInserted: readonly EntityMark[] = [];
  #failed: Readonly<Record<string, number>> = {};
  #isReading = false;
  #isWanted = false;

  constructor(read: (query: Waiting['query']) => Promise<Waiting['answer']>, onChange: () => void) {
    this.#read = read;
    this.#onChange = onChange;
  }

  markOf(entityId: string): EntityMark | undefined {
    return this.#marks.get(entityId);
  }

  get notInserted(): readonly EntityMark[] {
    return this.#notInserted;
  }

  failedOf(entityType: string): number {
    return this.#failed[entityType] ?? 0;
  }

  /** Tells which entities are in view. */
  show(shown: Waiting['query']): void {
    if (shown.entityType !== this.#shown?.entityType) {
      this.#marks = new Map();
      this.#notInserted = [];
    }
    this.#shown = shown;
    this.readSoon();
  }

  /** At once, but one reading after another and at most four a second. */
  readSoon(): void {
    this.#isWanted = true;
    if (!this.#isReading) void this.#readWhileWanted();
  }

  async #readWhileWanted(): Promise<void> {
    this.#isReading = true;
    while (this.#isWanted) {
      this.#isWanted = false;
      await this.#readShown();
      await new Promise((resolve) => setTimeout(resolve, READ_EVERY_MS));
    }
    this.#isReading = false;
  }

  /** Those of entities out of view stay until they are read again: a mark that comes late is worse than one that goes late. */
  #withRead(entityIds: readonly string[], read: readonly EntityMark[]): ReadonlyMap<string, EntityMark> {
    const marks = new Map(this.#marks.size > MOST_MARKS ? [] : this.#marks);
    for (const entityId of entityIds) marks.delete(entityId);
    for (const mark of read) marks.set(mark.entityId, mark);
    return marks;
  }

  async #readShown(): Promise<void> {
    const shown = this.#shown;
    if (shown === undefined) return;
    try {
      const { marks, notInserted, failed } = await this.#read(shown);
      if (shown.entityType !== this.#shown?.entityType) return;
      this.#marks = this.#withRead(shown.entityIds, marks);
      this.#notInserted = notInserted;
      this.#failed = failed;
      this.#onChange();
    } catch {
      // The database is busy or gone; the next commit, scroll or state asks again.
    }
  }
}
