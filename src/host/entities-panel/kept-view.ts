// Keeps the Entities panel's view in a file beside the database, because VS Code writes down what its webviews keep only
// every few seconds. The file is replaced as a whole or not at all, and is no part of the Postgres data.
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { type KeptView, LARGEST_VIEW } from '../../protocol/panel.ts';
import { PANEL_VIEW_FILE } from '../../worker/data-location.ts';

const typeView = z.object({
  search: z.string(),
  orderBy: z.string(),
  selectedId: z.string().nullable(),
  scrollTop: z.number().min(0),
  widths: z.record(z.string(), z.number()).default({}),
});

export const keptViewSchema = z
  .object({
    revision: z.number().int().min(0),
    view: z.object({
      entityType: z.string().nullable(),
      types: z.record(z.string(), typeView),
      drafts: z.record(z.string(), z.record(z.string(), z.string())),
    }),
  })
  .refine((kept) => JSON.stringify(kept.view).length <= LARGEST_VIEW, 'The view is too large to be kept.');

/** The kept view of one database. What is given last is what the file holds once nothing is being written. */
export class KeptViewFile {
  readonly #file: string;
  readonly #onError: (error: unknown) => void;
  #kept: KeptView | null;
  #writing: Promise<void> | undefined;
  #fails = false;

  private constructor(file: string, kept: KeptView | null, onError: (error: unknown) => void) {
    this.#file = file;
    this.#kept = kept;
    this.#onError = onError;
  }

  /** Never fails: a file that is absent or no view counts as none, and the next view replaces it. */
  static async open(directory: string, onError: (error: unknown) => void): Promise<KeptViewFile> {
    const file = join(directory, PANEL_VIEW_FILE);
    return new KeptViewFile(file, await readView(file), onError);
  }

  get kept(): KeptView | null {
    return this.#kept;
  }

  /** A view older than the one that is kept is passed over. */
  keep(kept: KeptView): void {
    if (this.#kept !== null && kept.revision < this.#kept.revision) return;
    this.#kept = kept;
    this.#writing ??= this.#write();
  }

  /** Takes the file away, with the database that it was about. */
  forget(): void {
    this.#kept = null;
    this.#writing ??= this.#write();
  }

  async whenWritten(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    try {
      let written: KeptView | null | undefined;
      while (written !== this.#kept) {
        written = this.#kept;
        if (written === null) await rm(this.#file, { force: true });
        else await replaceFile(this.#file, JSON.stringify(written));
      }
      this.#fails = false;
    } catch (error) {
      // Told once, not with every key that is typed.
      if (!this.#fails) this.#onError(error);
      this.#fails = true;
    } finally {
      this.#writing = undefined;
    }
  }
}

async function readView(file: string): Promise<KeptView | null> {
  try {
    return keptViewSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return null;
  }
}

async function replaceFile(file: string, text: string): Promise<void> {
  const draft = `${file}.draft-${process.pid}`;
  await writeFile(draft, text, { mode: 0o600 });
  await rename(draft, file);
}
