import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { COMMANDS } from '../../src/host/contributions.ts';
import { activated, diagnostics, openDatabase } from './open-database.ts';

describe('activation', () => {
  it('registers every declared command, and declares every command of its own', async () => {
    await activated();
    const registered = (await vscode.commands.getCommands(true)).filter((id) => id in COMMANDS);
    assert.deepEqual(registered.sort(), Object.keys(COMMANDS).sort());
  });

  // How long it may take is the benchmark's to hold: a test that shares the machine would only measure the machine.
  it('measures its own time, and tells it in the diagnostics', async () => {
    await activated();
    const { activationMs } = await diagnostics();
    assert.ok(activationMs > 0 && activationMs < 5_000, `activation took ${activationMs} ms`);
  });

  it('opens a database only when it is asked to, and then says that it is ready', async () => {
    await openDatabase();
    assert.equal((await diagnostics()).state, 'ready');
  });
});
