// One side for all chosen conflicts. Those that were resolved meanwhile are left alone.
import * as vscode from 'vscode';
import { chosenChanges } from '../chosen-changes.ts';
import type { ChangeTarget } from '../contributions.ts';
import type { Host } from '../host.ts';
import { CannotActError } from '../notices.ts';

export async function resolveChosen(
  host: Host,
  keep: 'mine' | 'theirs',
  target?: ChangeTarget,
  selected?: readonly ChangeTarget[],
): Promise<void> {
  const { sync } = host.database.require();
  const conflicts = (await chosenChanges(host, target, selected)).filter(({ status }) => status === 'conflicted');
  if (conflicts.length === 0) {
    throw new CannotActError('Local Data: there is no conflict here any more; it was resolved meanwhile.', []);
  }
  for (const { id } of conflicts) await sync.resolve(id, { keep });
  const what = conflicts.length === 1 ? 'The conflict is' : `${conflicts.length.toLocaleString()} conflicts are`;
  const side = keep === 'mine' ? 'mine is sent' : 'theirs is taken';
  vscode.window.setStatusBarMessage(`$(check) ${what} resolved: ${side}`, 5_000);
}
