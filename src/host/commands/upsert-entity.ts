// Inserts an entity, or updates the fields that differ; applied and recorded when it returns.
import * as vscode from 'vscode';
import { askEntityId, askEntityType, askPayload } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { typeNamed } from '../entity-types.ts';

const TITLE = 'Upsert Entity';

export const upsertEntity = defineCommand('localData.upsertEntity', async (host, target) => {
  const data = host.database.require();
  const info = (await typeNamed(data, target?.entityType)) ?? (await askEntityType(data, TITLE));
  const entityId = target?.entityId ?? (await askEntityId(data, info, `${TITLE}: ${info.entityType}`));
  const exists = (await data.getEntity(info.entityType, entityId)) !== undefined;
  const payload = await askPayload(
    info,
    entityId,
    exists ? 'update' : 'insert',
    `${TITLE}: ${info.entityType} ${entityId}`,
  );
  await data.upsertEntity(info.entityType, entityId, payload);
  vscode.window.setStatusBarMessage(
    `$(check) ${info.entityType} ${entityId} ${exists ? 'updated' : 'inserted'}`,
    5_000,
  );
});
