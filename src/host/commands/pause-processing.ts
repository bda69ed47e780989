// Pauses the change processor: what is under way is finished, and new changes are recorded and wait.
import { defineCommand } from '../command.ts';

export const pauseProcessing = defineCommand('localData.pauseProcessing', async (host) => {
  await host.database.require().stopChangeProcessor();
});
