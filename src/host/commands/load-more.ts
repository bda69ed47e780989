// Shows the next page of a group of the Changes view.
import { defineCommand } from '../command.ts';

export const loadMore = defineCommand('localData.changes.loadMore', async (host, group) => {
  if (group !== undefined) host.changesView.loadMore(group);
});
