// Lets the change processor run again.
import { defineCommand } from '../command.ts';

export const resumeProcessing = defineCommand('localData.resumeProcessing', async (host) => {
  host.database.require().startChangeProcessor();
});
