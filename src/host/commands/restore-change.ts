// Brings discarded changes back to where they stood in their lanes.
import { defineCommand } from '../command.ts';
import { chosenIds } from '../chosen-changes.ts';
import { outcomeOf } from '../outcome.ts';
import { tellOutcome } from '../tell-outcome.ts';

export const restoreChange = defineCommand('localData.change.restore', async (host, target, selected) => {
  const data = host.database.require();
  const ids = chosenIds(host, target, selected);
  for (const id of ids) await data.restoreChange(id);
  const [only] = ids;
  if (only !== undefined && ids.length === 1) tellOutcome(await outcomeOf(host, only));
});
