// Retries the changes that are selected; each keeps its id and its place, and its attempts start anew.
import { defineCommand } from '../command.ts';
import { withOthers } from '../changes-view/transactions.ts';
import { chosenIds } from '../chosen-changes.ts';
import { outcomeOf } from '../outcome.ts';
import { tellOutcome } from '../tell-outcome.ts';

export const retryChange = defineCommand('localData.change.retry', async (host, target, selected) => {
  const data = host.database.require();
  const ids = chosenIds(host, target, selected);
  const [only] = ids;
  const change = only !== undefined && ids.length === 1 ? await data.getChange(only) : undefined;
  const others = change === undefined ? '' : await withOthers(data, change);
  for (const id of ids) await data.retryChange(id);
  if (change !== undefined) tellOutcome(await outcomeOf(host, change.id), others);
});
