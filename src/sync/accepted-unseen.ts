// Own changes that the server has accepted and the feed has not brought back yet, by version. A server that was put back to
// an earlier state may not know them any more, and the cursor cannot tell: it stands before them. They can.
import type { Session } from '../db/database.ts';

export interface Accepted {
  readonly id: string;
  readonly version: number;
  /** Accepted at an earlier time than this answer. */
  readonly isDuplicate: boolean;
}

export class AcceptedUnseen {
  readonly #ids = new Map<number, string>();
  /** The highest version that was accepted. */
  #highest = 0;
  #isContradicted = false;

  /** What an earlier run of this process has left; `version` is where the feed has come. */
  async load(session: Session, version: number): Promise<void> {
    // A delete of what was not there has the version of another change, and so has what was given up in a conflict.
    const rows = await session.run<{ id: string; version: number }>(
      `SELECT c.id, c.accepted_version AS version FROM local_changes c
       WHERE c.accepted_version > $1 AND c.origin <> 'remote' AND c.status = 'synced' AND c.operation <> 'delete'
         AND NOT (c.conflict IS NOT NULL AND c.rebased IS NULL)`,
      [version],
    );
    this.clear();
    for (const row of rows) this.#keep(row.id, row.version);
  }

  /**
   * What an answer to a push says was accepted. Gives whether one history can have all of that: it gives each version once,
   * and later answers speak of later ones, except of duplicates.
   */
  add(accepted: readonly Accepted[]): boolean {
    const before = this.#highest;
    for (const { id, version, isDuplicate } of accepted) {
      const other = this.#ids.get(version);
      this.#isContradicted ||= isDuplicate ? other !== undefined && other !== id : version <= before;
      this.#keep(id, version);
    }
    return !this.#isContradicted;
  }

  /** Whether these rows of the feed say that another change has the version of one of ours. */
  isContradictedBy(rows: readonly unknown[]): boolean {
    if (this.#ids.size === 0) return false;
    const other = rows.some((row) => {
      const [id, version] = [property(row, 'id'), property(row, 'version')];
      const own = typeof version === 'number' ? this.#ids.get(version) : undefined;
      return own !== undefined && own !== id;
    });
    this.#isContradicted ||= other;
    return other;
  }

  /** Whether a server that has come to this version cannot be the one that accepted them. */
  isOfAnother(version: number): boolean {
    return this.#isContradicted || [...this.#ids.keys()].some((accepted) => accepted > version);
  }

  /** The feed has come to this version. */
  seen(version: number): void {
    for (const accepted of this.#ids.keys()) if (accepted <= version) this.#ids.delete(accepted);
  }

  clear(): void {
    this.#ids.clear();
    this.#highest = 0;
    this.#isContradicted = false;
  }

  #keep(id: string, version: number): void {
    this.#ids.set(version, id);
    this.#highest = Math.max(this.#highest, version);
  }
}

function property(row: unknown, name: 'id' | 'version'): unknown {
  return typeof row === 'object' && row !== null ? Reflect.get(row, name) : undefined;
}
