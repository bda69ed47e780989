// Opens the database anew: after another window let go of it, after a failure, after it was closed.
import { defineCommand } from '../command.ts';
import { whyNotReady } from '../database.ts';

export const tryAgain = defineCommand('localData.tryAgain', async (host) => {
  if (host.database.state.kind === 'ready') return;
  const state = await host.database.reopen();
  if (state.kind === 'in-use' || state.kind === 'failed') throw whyNotReady(state);
});
