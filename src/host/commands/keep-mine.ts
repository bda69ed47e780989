// Resolves conflicts with what is here; it is sent over what the server has.
import { defineCommand } from '../command.ts';
import { resolveChosen } from '../sync/resolve-chosen.ts';

export const keepMine = defineCommand('localData.conflict.keepMine', (host, target, selected) =>
  resolveChosen(host, 'mine', target, selected),
);
