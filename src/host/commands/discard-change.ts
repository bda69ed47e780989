// Discards changes, after saying what is undone and what else would go with them. A discarded change can be restored.
import * as vscode from 'vscode';
import type { LocalData } from '../../engine/local-data.ts';
import type { Change, JsonObject } from '../../protocol/changes.ts';
import type { DiscardPreview } from '../../protocol/engine.ts';
import { defineCommand } from '../command.ts';
import { chosenIds } from '../chosen-changes.ts';
import { withQuietProgress } from '../progress.ts';
import { orUndoInstead } from '../undo-instead.ts';

const LISTED = 5;

export const discardChange = defineCommand('localData.change.discard', async (host, target, selected) => {
  const data = host.database.require();
  const ids = chosenIds(host, target, selected);
  const previews = await Promise.all(ids.map((id) => data.previewDiscard(id)));
  const withDependents = previews.some(({ dependentsTotal }) => dependentsTotal > 0);
  const answer = withDependents ? 'Discard All of These' : 'Discard';
  const chosen = await vscode.window.showWarningMessage(
    questionOf(previews),
    { modal: true, detail: previews.map(consequencesOf).join('\n\n') },
    answer,
  );
  if (chosen !== answer) return;
  const discardAll = async () => {
    for (const id of ids) await discardUnlessGone(data, id, withDependents);
  };
  try {
    // It may have to wait for the server's answer.
    await withQuietProgress('Discarding', discardAll, { cancellable: false });
  } catch (error) {
    throw await orUndoInstead(host, error);
  }
  vscode.window.setStatusBarMessage('$(trash) Discarded. Restore brings it back, under Finished.', 5_000);
});

/** A change further down the selection may have gone with one further up. */
async function discardUnlessGone(data: LocalData, id: string, withDependents: boolean): Promise<void> {
  const change = await data.getChange(id);
  if (change !== undefined && change.status !== 'discarded') await data.discardChange(id, { withDependents });
}

function questionOf(previews: readonly DiscardPreview[]): string {
  const [first] = previews;
  return first !== undefined && previews.length === 1
    ? `Discard the ${first.change.operation} of ${nameOf(first.change)}?`
    : `Discard ${previews.length} changes?`;
}

function consequencesOf({ change, members, dependents, dependentsTotal, before, after }: DiscardPreview): string {
  const lines = [effectOf(change, before, after)];
  if (members.length > 0) {
    lines.push(
      `Its whole transaction is discarded with it, ${members.length} more:`,
      ...listOf(members, members.length),
    );
  }
  if (dependentsTotal > 0) {
    lines.push(
      dependentsTotal === 1
        ? 'Another change depends on it and is discarded too:'
        : `${dependentsTotal.toLocaleString()} other changes depend on it and are discarded too:`,
      ...listOf(dependents, dependentsTotal),
    );
  }
  return lines.join('\n');
}

function effectOf(change: Change, before: JsonObject | null, after: JsonObject | null): string {
  const name = nameOf(change);
  if (JSON.stringify(before) === JSON.stringify(after)) {
    return before === null ? `${name} is not there, and stays so.` : `${name} stays as it is now.`;
  }
  if (after === null) return `${name} goes away.`;
  if (before === null) return `${name} comes back.`;
  const fields = Object.keys(after).filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]));
  return `${name} goes back to ${fields.map((field) => `${field}: ${JSON.stringify(after[field])}`).join(', ')}.`;
}

function listOf(changes: readonly Change[], total: number): string[] {
  const listed = changes.slice(0, LISTED).map((change) => `• ${change.operation} ${nameOf(change)}`);
  return total > listed.length ? [...listed, `• and ${total - listed.length} more`] : listed;
}

function nameOf({ entityType, entityId }: Change): string {
  return `${entityType} ${entityId}`;
}
