// Opens the Entities panel, or reveals it, at an entity type or an entity when one is named.
import { defineCommand } from '../command.ts';

export const openEntities = defineCommand('localData.openEntities', async (host, target) => {
  host.database.require();
  host.entitiesPanel.open(target);
});
