// A transaction that the server refused, as it is seen: one change at fault, the others with it, and what is said before all of
// it is discarded. It is made by the engine while VS Code is closed, as another extension would make it.
import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { LocalData } from '../../src/engine/local-data.ts';
import { openBuilt } from '../bench/built-engine.ts';
import { SECRET, signToken, startForTest } from '../support/server.ts';
import { VscodeSession } from './support/vscode-session.ts';
import type { Workbench } from './workbench.ts';

describe('a transaction that the server refused', () => {
  let session: VscodeSession;
  let workbench: Workbench;

  before(async () => {
    session = await VscodeSession.start();
    workbench = await session.open();
    await workbench.openChangesView();
    await workbench.runCommand('Create Database');
    await workbench.statusBarItem().locator('.codicon-database').waitFor({ timeout: 60_000 });
    await session.closeBrowser();
    await session.server.kill();
    await haveRefused(session.home);
    await session.restart();
    workbench = await session.open();
    await workbench.openChangesView();
    await workbench.row('Failed').waitFor({ timeout: 60_000 });
  });

  after(() => session[Symbol.asyncDispose]());

  it('says so on the row that failed and on those that wait with it', async () => {
    await workbench.row(/Insert Note n2\s*transaction of 3: /).waitFor();
    await workbench.row(/Insert Note n1\s*with change \d+ \(transaction\)/).waitFor();
    await workbench.row(/Insert Note n3\s*with change \d+ \(transaction\)/).waitFor();
    for (const theme of ['light', 'high-contrast', 'dark'] as const) {
      await session.setTheme(theme);
      await session.screenshot(`transaction-refused-${theme}`);
    }
  });

  it('says in the hover that it is repaired as one', async () => {
    await workbench.row(/Insert Note n2/).hover();
    const hover = session.page.locator('.workbench-hover').filter({ hasText: 'Transaction' });
    await hover
      .filter({ hasText: /3 changes that go together or not at all; retried, edited and discarded as one/ })
      .waitFor();
    await session.screenshot('transaction-hover');
    await workbench.pointNowhere();
  });

  it('says so when it is edited, and before it is discarded', async () => {
    await workbench.chooseFromMenu(workbench.row(/Insert Note n2/), 'Edit & Retry');
    await session.page
      .locator('.statusbar-item')
      .filter({ hasText: 'Saving retries it, with 2 others of its transaction.' })
      .waitFor();
    await workbench.runAnyCommand('View: Close All Editors');
    await workbench.chooseFromMenu(workbench.row(/Insert Note n2/), 'Discard…');
    await workbench
      .dialog()
      .getByText(/Its whole transaction is discarded with it, 2 more/)
      .waitFor();
    await session.screenshot('transaction-discard');
    await workbench.answer('Discard');
    await workbench.row('Failed').waitFor({ state: 'detached' });
    assert.equal(await workbench.row('Blocked').count(), 0);
  });
});

/** Three notes in one transaction, of which the server takes two. */
async function haveRefused(home: string): Promise<void> {
  const [version] = globSync(join(home, '**/vibestack.local-data/databases/*/**/PG_VERSION')).toSorted(
    (a, b) => a.length - b.length,
  );
  assert.ok(version, 'VS Code has made a database');
  const data = await openBuilt({ dataDir: dirname(version) });
  try {
    await data.registerEntityType({ entityType: 'Note' });
    await refuseOneOf(data);
  } finally {
    await data.close();
  }
}

async function refuseOneOf(data: LocalData): Promise<void> {
  const server = await startForTest({
    memory: true,
    validate: ({ after }) =>
      after?.['text'] === 'forbidden' ? { reason: 'The team does not allow that text.' } : null,
  });
  try {
    await data.sync.connect({ url: server.url, token: await signToken({ space: 'team', secret: SECRET }) });
    const refused = whenRefused(data);
    await data.transaction((tx) => {
      tx.upsertEntity('Note', 'n1', { text: 'first' });
      tx.upsertEntity('Note', 'n2', { text: 'forbidden' });
      tx.upsertEntity('Note', 'n3', { text: 'third' });
    });
    await refused;
  } finally {
    await server.close();
  }
}

async function whenRefused(data: LocalData): Promise<void> {
  const { changes } = data.stores;
  await new Promise<void>((resolve) => {
    const stop = changes.subscribe(({ counts }) => {
      if (counts.failed !== 1 || counts.blocked !== 2) return;
      stop();
      resolve();
    });
  });
}
