// Shows the log of this extension.
import { defineCommand } from '../command.ts';

export const showLog = defineCommand('localData.showLog', async (host) => {
  host.log.show();
});
