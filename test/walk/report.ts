// The walk's record: each step with its time and picture, and what the comparison with the data directory found.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, platform, totalmem } from 'node:os';
import { dirname, join, relative } from 'node:path';
import type { Page } from 'playwright-core';
import { node24, projectRoot } from '../../scripts/project.ts';

export interface Comparison {
  readonly what: string;
  readonly screen: string;
  readonly data: string;
}

interface StepDone {
  readonly title: string;
  readonly seconds: string;
  readonly picture: string | undefined;
}

export class WalkReport {
  readonly #pictures: string;
  /** Of the beginning, when it was cloned: work may go on here meanwhile. */
  readonly #commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: projectRoot,
    encoding: 'utf8',
  }).trim();
  readonly #steps: StepDone[] = [];
  #comparisons: readonly Comparison[] = [];

  constructor(pictures: string) {
    this.#pictures = pictures;
  }

  /** Does the step and tells it; a step that ends with a page is pictured. */
  async step<T>(title: string, act: () => Promise<T>): Promise<T> {
    const started = performance.now();
    const number = String(this.#steps.length + 1).padStart(2, '0');
    const result = await act();
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    const picture = isPage(result) ? await this.#take(result, number, title) : undefined;
    this.#steps.push({ title, seconds, picture });
    console.log(`${number} ${title} (${seconds} s)`);
    return result;
  }

  compared(comparisons: readonly Comparison[]): void {
    this.#comparisons = comparisons;
    const wrong = comparisons.filter(({ screen, data }) => screen !== data);
    for (const { what, screen, data } of comparisons) console.log(`   ${what}: screen ${screen}, data ${data}`);
    if (wrong.length === 0) return;
    const told = wrong.map(({ what, screen, data }) => `${what}: the screen said ${screen}, the data says ${data}`);
    throw new Error(`The data directory does not hold what the screen said.\n${told.join('\n')}`);
  }

  write(file: string): void {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, this.#text(dirname(file)));
    execFileSync(node24(), [join(projectRoot, 'node_modules/prettier/bin/prettier.cjs'), '--write', file]);
    console.log(`Written: ${relative(projectRoot, file)}`);
  }

  async #take(page: Page, number: string, title: string): Promise<string> {
    const words = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
    const path = join(this.#pictures, `${number}-${words.slice(0, 50).replace(/^-|-$/g, '')}.png`);
    await page.screenshot({ path, animations: 'disabled' });
    return path;
  }

  #text(from: string): string {
    const machine = `${platform()}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, ${(totalmem() / 2 ** 30).toFixed(0)} GB`;
    const rows = this.#steps.map(({ title, seconds }, index) => `| ${index + 1} | ${title} | ${seconds} |`);
    const found = this.#comparisons.map(({ what, screen, data }) => `| ${what} | ${screen} | ${data} |`);
    const shown = this.#steps.flatMap(({ title, picture }, index) =>
      picture === undefined ? [] : [`## ${index + 1}. ${title}`, '', `![${title}](${relative(from, picture)})`, ''],
    );
    return [
      '# The walk',
      '',
      `Made by \`npm run walk\` from commit ${this.#commit} on ${machine}: a fresh clone, an empty npm cache, no display; then mouse and keyboard alone.`,
      '',
      ...['| # | Step | Seconds |', '| ---: | --- | ---: |', ...rows, ''],
      'At the end a separate process opened the data directory:',
      '',
      ...['| What | On the screen | In the data |', '| --- | --- | --- |', ...found, ''],
      ...shown,
    ].join('\n');
  }
}

function isPage(value: unknown): value is Page {
  return typeof value === 'object' && value !== null && 'screenshot' in value && 'keyboard' in value;
}
