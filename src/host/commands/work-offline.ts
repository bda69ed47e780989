// Leaves the server alone until Go Online; changes are recorded and applied here meanwhile.
import { defineCommand } from '../command.ts';
import { requireServer } from '../sync/require-server.ts';

export const workOffline = defineCommand('localData.sync.goOffline', async (host) => {
  requireServer(host);
  await host.database.require().sync.goOffline();
});
