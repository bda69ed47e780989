// Takes contact up again after Work Offline.
import { defineCommand } from '../command.ts';
import { requireServer } from '../sync/require-server.ts';

export const goOnline = defineCommand('localData.sync.goOnline', async (host) => {
  requireServer(host);
  await host.database.require().sync.goOnline();
});
