// Makes the database of this workspace, or opens the one that is there.
import { defineCommand } from '../command.ts';
import { whyNotReady } from '../database.ts';

export const createDatabase = defineCommand('localData.createDatabase', async (host) => {
  if (host.database.state.kind === 'ready') return;
  const state = await host.database.create();
  if (state.kind !== 'ready') throw whyNotReady(state);
});
