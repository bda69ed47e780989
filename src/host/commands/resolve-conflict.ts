// Shows both sides of a conflict in the diff editor and asks beside it, field by field, which one is to hold.
import * as vscode from 'vscode';
import type { LocalData } from '../../engine/local-data.ts';
import type { Change } from '../../protocol/changes.ts';
import type { Conflict } from '../../protocol/sync-state.ts';
import { pick } from '../ask.ts';
import { chosenChange } from '../chosen-changes.ts';
import { defineCommand } from '../command.ts';
import { changeUri } from '../documents/view-documents.ts';
import { CannotActError } from '../notices.ts';
import { openMergeEditor } from '../sync/merge-editor.ts';
import { type ChosenSide, type Merged, fieldsToChoose, mergedData, textOf, valueOf } from '../sync/merge-fields.ts';
import { canLoseFields, infoOf, resolveWith } from '../sync/resolve-with.ts';

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
  const data = host.database.require();
  const resolved =
    way === 'fields'
      ? await resolveWith(data, change, await askFields(data, change, conflict))
      : await data.sync.resolve(change.id, { keep: way });
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

async function askFields(data: LocalData, change: Change, conflict: Conflict): Promise<Merged> {
  const { entityType, entityId } = change;
  const info = await infoOf(data, change);
  const sides = new Map<string, ChosenSide>();
  const fields = fieldsToChoose(conflict);
  for (const [index, field] of fields.entries()) {
    const item = (side: ChosenSide) => ({
      label: textOf(valueOf(conflict, field, side)),
      description: SIDES[side],
      side,
    });
    const wasThere = valueOf(conflict, field, 'base') !== undefined;
    const hasBefore = wasThere || info === undefined || canLoseFields(info);
    const items = [item('mine'), item('theirs'), ...(hasBefore ? [item('base')] : [])];
    const title = `${entityType} ${entityId} · ${field} (${index + 1} of ${fields.length})`;
    sides.set(field, (await pick(items, title, `Value of ${field}`)).side);
  }
  const detail = [...sides].map(
    ([field, side]) => `${field}: ${textOf(valueOf(conflict, field, side))}  (${SIDES[side]})`,
  );
  const answer = 'Resolve';
  const chosen = await vscode.window.showInformationMessage(
    `Resolve the conflict in ${entityType} ${entityId}?`,
    { modal: true, detail: detail.join('\n') },
    answer,
  );
  if (chosen !== answer) throw new vscode.CancellationError();
  return mergedData(conflict, sides);
}

const SIDES: Readonly<Record<ChosenSide, string>> = { mine: 'mine', theirs: 'theirs', base: 'as it was before' };
