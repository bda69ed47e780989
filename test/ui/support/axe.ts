// What axe finds in the page of a panel: its violations, each with the elements that are at fault.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { FrameLocator } from 'playwright-core';

interface AxeResults {
  readonly violations: readonly { readonly id: string; readonly nodes: readonly { readonly html: string }[] }[];
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export async function axeFindings(panel: FrameLocator): Promise<string[]> {
  const body = await panel.locator('body').elementHandle();
  const frame = await body?.ownerFrame();
  assert.ok(frame);
  await frame.evaluate(axeSource);
  const results: AxeResults = await frame.evaluate('axe.run(document, { resultTypes: ["violations"] })');
  return results.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}
