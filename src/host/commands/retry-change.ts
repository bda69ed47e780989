// Retries the changes that are selected; each keeps its id and its place, and its attempts start anew.
import { defineCommand } from '../command.ts';
import { chosenIds } from '../chosen-changes.ts';
import { outcomeOf } from '../outcome.ts';
import { tellOutcome } from '../tell-outcome.ts';

export const retryChange = defineCommand('localData.change.retry', async (host, target, selected) => {
  const data = host.database.require();
  const ids = chosenIds(host, target, selected);
  for (const id of ids) await data.retryChange(id);
  const [only] = ids;
  if (only !== undefined && ids.length === 1) tellOutcome(await outcomeOf(host, only));
});
