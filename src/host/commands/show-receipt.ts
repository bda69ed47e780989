// When a change was what: saved here, applied here, accepted by the server, seen in the feed that all clients read; and
// where its way ended early, why.
import * as vscode from 'vscode';
import { chosenChange } from '../chosen-changes.ts';
import { defineCommand } from '../command.ts';
import { type ReceiptStep, receiptOf } from '../sync/receipt-steps.ts';
import { isConfigured } from '../sync/sync-words.ts';

export const showReceipt = defineCommand('localData.change.showReceipt', async (host, target) => {
  const change = await chosenChange(host, target);
  const receipt = await host.database.require().sync.receipt(change.id);
  const { summary, steps } = receiptOf(change, receipt, isConfigured(host.sync.state));
  const name = `${change.operation} of ${change.entityType} ${change.entityId}`;
  await vscode.window.showQuickPick(steps.map(itemOf), { title: `Receipt of the ${name}`, placeHolder: summary });
  return receipt;
});

const ICONS: Readonly<Record<ReceiptStep['kind'], string>> = {
  done: 'pass-filled',
  waiting: 'circle-large-outline',
  never: 'circle-slash',
  failed: 'error',
  conflict: 'git-compare',
};
/** The time stands beside the step; what there is to say of it beneath, where there is room. */
function itemOf({ kind, label, at, detail }: ReceiptStep): vscode.QuickPickItem {
  const item = { label: `$(${ICONS[kind]}) ${label}` };
  if (kind === 'never') return { ...item, description: detail ?? '' };
  const time = at !== null ? new Date(at).toLocaleString() : kind === 'waiting' ? 'not yet' : '';
  return { ...item, description: time, ...(detail === null ? {} : { detail }) };
}
