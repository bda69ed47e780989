// Shows everything there is to know of synchronisation as a read-only document, which follows while it is open.
import { defineCommand } from '../command.ts';
import { showSyncStatusDocument } from '../documents/view-documents.ts';
import { requireServer } from '../sync/require-server.ts';

export const showSyncStatus = defineCommand('localData.sync.showStatus', async (host) => {
  requireServer(host);
  await showSyncStatusDocument();
});
