// Runs everything that can run, without waiting for the next try of what is retried; also while processing is paused.
import { defineCommand } from '../command.ts';
import { withQuietProgress } from '../progress.ts';

export const processNow = defineCommand('localData.processNow', async (host) => {
  const data = host.database.require();
  await withQuietProgress('Processing changes', () => data.processNow());
});
