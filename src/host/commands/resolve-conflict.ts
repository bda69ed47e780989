// Shows both sides of a conflict in the diff editor and asks beside it, field by field, which one is to hold.
import * as vscode from 'vscode';
import type { Change, JsonObject } from '../../protocol/changes.ts';
import type { Conflict } from '../../protocol/sync-state.ts';
import { pick } from '../ask.ts';
import { chosenChange } from '../chosen-changes.ts';
import { defineCommand } from '../command.ts';
import { changeUri } from '../documents/view-documents.ts';
import type { Host } from '../host.ts';
import { CannotActError } from '../notices.ts';
import { openMergeEditor } from '../sync/merge-editor.ts';
import { type ChosenSide, fieldsToChoose, mergedData, textOf } from '../sync/merge-fields.ts';

type Way = 'mine' | 'theirs' | 'fields' | 'editor';

export const resolveConflict = defineCommand('localData.conflict.resolve', async (host, target) => {
  const change = await chosenChange(host, target);
  const { conflict } = change;
  if (change.status !== 'conflicted' || conflict === null) {
    throw new CannotActError('Local Data: this change has no conflict; it was resolved meanwhile.', []);
  }
  await showBothSides(change);
  const way = await askWay(change, conflict);
  if (way === 'editor') {
    await openMergeEditor(change);
    return;
  }
  const { sync } = host.database.require();
  const resolved =
    way === 'fields'
      ? await sync.resolve(change.id, { data: await askFields(host, change, conflict) })
      : await sync.resolve(change.id, { keep: way });
  vscode.window.setStatusBarMessage(
    `$(check) ${resolved.entityType} ${resolved.entityId}: the conflict is resolved`,
    5_000,
  );
});

async function showBothSides(change: Change): Promise<void> {
  const title = `${change.entityType} ${change.entityId} (mine ↔ theirs)`;
  const options = { preview: true, preserveFocus: true };
  await vscode.commands.executeCommand(
    'vscode.diff',
    changeUri(change, 'mine'),
    changeUri(change, 'theirs'),
    title,
    options,
  );
}

async function askWay({ entityType, entityId }: Change, { mine, theirs }: Conflict): Promise<Way> {
  const both = mine !== null && theirs !== null;
  const items: (vscode.QuickPickItem & { way: Way })[] = [
    ...(both
      ? [
          {
            label: '$(list-selection) Merge Field by Field…',
            description: 'choose mine or theirs for each field that both wrote',
            way: 'fields' as const,
          },
        ]
      : []),
    {
      label: '$(device-desktop) Keep Mine',
      description:
        mine === null
          ? 'delete it on the server too'
          : theirs === null
            ? 'put it back on the server'
            : 'send mine over theirs',
      way: 'mine',
    },
    {
      label: '$(cloud) Take Theirs',
      description: theirs === null ? 'delete it here too' : mine === null ? 'keep what the server has' : 'give mine up',
      way: 'theirs',
    },
    ...(both
      ? [{ label: '$(merge) Open in Merge Editor', description: 'edit the result as JSON', way: 'editor' as const }]
      : []),
  ];
  return (await pick(items, `Conflict in ${entityType} ${entityId}`, 'Which side is to hold?')).way;
}

async function askFields(host: Host, { entityType, entityId }: Change, conflict: Conflict): Promise<JsonObject> {
  const sides = new Map<string, ChosenSide>();
  const fields = fieldsToChoose(conflict);
  for (const [index, field] of fields.entries()) {
    const { base, mine, theirs } = conflict.fields[field] ?? { base: null, mine: null, theirs: null };
    const items: (vscode.QuickPickItem & { side: ChosenSide })[] = [
      { label: textOf(mine), description: 'mine', side: 'mine' },
      { label: textOf(theirs), description: 'theirs', side: 'theirs' },
      { label: textOf(base), description: 'as it was before', side: 'base' },
    ];
    const title = `${entityType} ${entityId} · ${field} (${index + 1} of ${fields.length})`;
    sides.set(field, (await pick(items, title, `Value of ${field}`)).side);
  }
  const data = mergedData(conflict, sides);
  const answer = 'Resolve';
  const detail = fields
    .map((field) => `${field}: ${textOf(data[field] ?? null)}  (${sides.get(field) ?? ''})`)
    .join('\n');
  const chosen = await vscode.window.showInformationMessage(
    `Resolve the conflict in ${entityType} ${entityId}?`,
    { modal: true, detail },
    answer,
  );
  if (chosen !== answer) throw new vscode.CancellationError();
  host.log.info(`The conflict of change of ${entityType} was resolved field by field`);
  return data;
}
