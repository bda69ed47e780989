// Queues one change of any operation, asked for step by step. The processor applies it, and the Changes view shows it.
import { ask, askEntityId, askEntityType, askOperation, askPayload } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { typeNamed } from '../entity-types.ts';
import { outcomeOf } from '../outcome.ts';
import { tellOutcome } from '../tell-outcome.ts';

const TITLE = 'Record Change';

export const recordChange = defineCommand('localData.recordChange', async (host, target) => {
  const data = host.database.require();
  const info = (await typeNamed(data, target?.entityType)) ?? (await askEntityType(data, TITLE));
  const operation = await askOperation(`${TITLE}: ${info.entityType}`);
  const title = `${TITLE}: ${operation} ${info.entityType}`;
  const entityId =
    target?.entityId ??
    (operation === 'insert'
      ? await ask({
          title,
          prompt: `Id of the new ${info.entityType}`,
          validateInput: (id) => (id === '' ? 'Type an id.' : undefined),
        })
      : await askEntityId(data, info, title));
  const payload = operation === 'delete' ? null : await askPayload(info, entityId, operation, `${title} ${entityId}`);
  const change = await data.recordChange(info.entityType, entityId, operation, payload);
  tellOutcome(await outcomeOf(host, change.id));
});
