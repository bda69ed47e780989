// Opens the personal database, which every window without a folder shares; made on first use.
import { defineCommand } from '../command.ts';
import { whyNotReady } from '../database.ts';
import { CannotActError } from '../notices.ts';

export const usePersonalDatabase = defineCommand('localData.usePersonalDatabase', async (host) => {
  const { state } = host.database;
  if (state.kind === 'ready') {
    throw new CannotActError(`Local Data: this window uses the database of ${state.place.name}.`, []);
  }
  const opened = await host.database.usePersonal();
  if (opened.kind !== 'ready') throw whyNotReady(opened);
});
