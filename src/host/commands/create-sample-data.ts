// Creates users, projects and tasks with three repairable troubles, and shows what came of it.
import { defineCommand } from '../command.ts';
import { withQuietProgress } from '../progress.ts';

export const createSampleData = defineCommand('localData.createSampleData', async (host) => {
  const data = host.database.require();
  await withQuietProgress('Creating sample data', () => data.createSampleData());
  await host.changesView.focus();
});
