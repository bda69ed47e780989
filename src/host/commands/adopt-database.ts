// Takes over the database of a folder that was moved or deleted, for the workspace that is open and has none.
import { defineCommand } from '../command.ts';
import { pick } from '../ask.ts';
import { whyNotReady } from '../database.ts';
import { CannotActError } from '../notices.ts';

export const adoptDatabase = defineCommand('localData.adoptDatabase', async (host) => {
  const { state } = host.database;
  if (state.kind === 'ready') {
    throw new CannotActError(`Local Data: ${state.place.name} has a database already; only one without can adopt.`, []);
  }
  if (state.kind !== 'no-database') throw whyNotReady(state);
  const unclaimed = await state.place.unclaimed();
  if (unclaimed.length === 0) {
    throw new CannotActError('Local Data: every database here belongs to a folder that still exists.', [
      { title: 'Create Database', command: 'localData.createDatabase' },
    ]);
  }
  const items = unclaimed.map((one) => ({ label: one.name, description: one.path, one }));
  const { one } = await pick(items, 'Adopt a Database', `Which database becomes that of ${state.place.name}?`);
  const opened = await host.database.adopt(one);
  if (opened.kind !== 'ready') throw whyNotReady(opened);
});
