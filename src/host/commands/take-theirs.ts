// Resolves conflicts with what the server has; what was written here stays in the audit trail.
import { defineCommand } from '../command.ts';
import { resolveChosen } from '../sync/resolve-chosen.ts';

export const takeTheirs = defineCommand('localData.conflict.takeTheirs', (host, target, selected) =>
  resolveChosen(host, 'theirs', target, selected),
);
