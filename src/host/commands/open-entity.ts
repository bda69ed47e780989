// Opens the Entities panel at the entity of a change.
import { defineCommand } from '../command.ts';
import { chosenChange } from '../chosen-changes.ts';

export const openEntity = defineCommand('localData.change.openEntity', async (host, target) => {
  const { entityType, entityId } = await chosenChange(host, target);
  host.entitiesPanel.open({ entityType, entityId });
});
