import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { killTree } from '../../scripts/processes.ts';
import { node24, projectRoot } from '../../scripts/project.ts';
import { VscodeSession } from './support/vscode-session.ts';

describe('the installed extension in VS Code', () => {
  let session: VscodeSession;

  before(async () => {
    session = await VscodeSession.start();
  });

  after(() => session[Symbol.asyncDispose]());

  it('shows its icon in the activity bar and, in a workspace without a database, offers to create one', async () => {
    const workbench = await session.open();
    await workbench.openChangesView();
    const button = session.page.getByRole('button', { name: 'Create Database' });
    await button.waitFor();
    await session.screenshot('welcome');
    assert.ok(await button.isVisible());
  });

  it('opens the demo workspace with the Changes view and its sample data, and no notification in the way', async () => {
    const folder = join(session.home, 'demo');
    cpSync(join(projectRoot, 'demo'), folder, { recursive: true });
    const workbench = await session.open(folder);
    await workbench.row('Failed').waitFor({ timeout: 60_000 });
    const panel = await workbench.panel();
    await panel.getByRole('row', { name: /task-001/ }).waitFor();
    await session.screenshot('demo');
    assert.equal(await session.page.locator('.notification-toast').count(), 0);
  });

  it('connects the demo to its server: a colleague writes too, and one conflict waits to be resolved', async () => {
    const folder = join(session.home, 'demo-with-server');
    cpSync(join(projectRoot, 'demo'), folder, { recursive: true });
    const words = [join(projectRoot, 'scripts/demo-server.ts'), join(session.home, 'demo-server'), folder];
    const server = spawn(node24(), words, { cwd: projectRoot, stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(server.stdout, 'data');
      const workbench = await session.openInstead(folder);
      await workbench
        .row(/Update Task|Insert Task/)
        .filter({ hasText: 'task-003' })
        .waitFor({ timeout: 60_000 });
      await workbench.row(/^Conflicts/).waitFor();
      await workbench.serverItem().waitFor();
      await session.screenshot('demo-with-server');
      await workbench.row('Finished').click();
      await workbench
        .row(/Update Task/)
        .filter({ hasText: /received/ })
        .first()
        .waitFor({ timeout: 60_000 });
      await session.screenshot('demo-colleague');
    } finally {
      killTree(server);
    }
  });
});
