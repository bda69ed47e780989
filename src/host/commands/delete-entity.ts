// Deletes an entity, after saying which and what goes with it; recorded as a change like any other.
import * as vscode from 'vscode';
import { askEntityId, askEntityType } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { typeNamed } from '../entity-types.ts';

const TITLE = 'Delete Entity';

export const deleteEntity = defineCommand('localData.deleteEntity', async (host, target) => {
  const data = host.database.require();
  const info = (await typeNamed(data, target?.entityType)) ?? (await askEntityType(data, TITLE));
  const entityId = target?.entityId ?? (await askEntityId(data, info, `${TITLE}: ${info.entityType}`));
  const name = `${info.entityType} ${entityId}`;
  const chosen = await vscode.window.showWarningMessage(
    `Delete ${name}?`,
    { modal: true, detail: 'The deletion is recorded as a change; what the entity held stays in that change.' },
    'Delete',
  );
  if (chosen !== 'Delete') return;
  const existed = await data.deleteEntity(info.entityType, entityId);
  vscode.window.setStatusBarMessage(existed ? `$(check) ${name} deleted` : `$(info) There was no ${name}`, 5_000);
});
