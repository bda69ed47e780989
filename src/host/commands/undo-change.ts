// Undoes changes that have taken effect, here or on the server, whoever made them: records what takes them back. What
// happened stays in the history, and can be undone in turn.
import * as vscode from 'vscode';
import type { LocalData } from '../../engine/local-data.ts';
import type { Change } from '../../protocol/changes.ts';
import { pick } from '../ask.ts';
import { canUndo } from '../changes-view/elements.ts';
import { labelOf, reasonOf } from '../changes-view/presentation.ts';
import { chosenChanges } from '../chosen-changes.ts';
import { defineCommand } from '../command.ts';
import { CannotActError } from '../notices.ts';

const OFFERED = 50;

export const undoChange = defineCommand('localData.change.undo', async (host, target, selected) => {
  const data = host.database.require();
  const isChosen = host.changesView.targets(target, selected).length > 0;
  const changes = isChosen ? await chosenChanges(host, target, selected) : [await askChange(data)];
  const undoing = await undoAll(data, changes);
  const [first] = undoing;
  if (first === undefined) return;
  const name = `${first.entityType} ${first.entityId}`;
  const what =
    undoing.length === 1 ? `${name}: change ${first.seq} ${first.note ?? ''}` : `${undoing.length} changes undone`;
  vscode.window.setStatusBarMessage(`$(discard) ${what}`, 5_000);
});

/** The newest first, since later ones stand on earlier ones; a transaction goes as a whole with its first. */
async function undoAll(data: LocalData, changes: readonly Change[]): Promise<Change[]> {
  const undoing: Change[] = [];
  const transactions = new Set<string>();
  for (const { id, transactionId } of [...changes].sort((a, b) => b.seq - a.seq)) {
    if (transactionId !== null && transactions.has(transactionId)) continue;
    if (transactionId !== null) transactions.add(transactionId);
    undoing.push(await data.undoChange(id));
  }
  return undoing;
}

async function askChange(data: LocalData): Promise<Change> {
  const { changes } = await data.listChanges({ status: ['applied', 'synced'], order: 'desc', limit: OFFERED });
  const items = changes
    .filter(canUndo)
    .map((change) => ({ label: labelOf(change), description: reasonOf(change), change }));
  if (items.length === 0) throw new CannotActError('Local Data: no change has taken effect that could be undone.', []);
  return (await pick(items, 'Undo Change', 'Which change is to be undone?')).change;
}
