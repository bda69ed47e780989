// Which changes a command of the Changes view acts on: those it was given, else those selected in the view.
import type { Change } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { ChangeTarget } from './contributions.ts';
import type { Host } from './host.ts';
import { CannotActError } from './notices.ts';

export function chosenIds(host: Host, target?: ChangeTarget, selected?: readonly ChangeTarget[]): string[] {
  const ids = host.changesView.targets(target, selected);
  if (ids.length === 0)
    throw new CannotActError('Local Data: no change is selected. Select one in the Changes view.', []);
  return ids;
}

/** The changes as they are now, not as the view drew them. */
export async function chosenChanges(
  host: Host,
  target?: ChangeTarget,
  selected?: readonly ChangeTarget[],
): Promise<Change[]> {
  return Promise.all(chosenIds(host, target, selected).map((id) => currentChange(host, id)));
}

export async function chosenChange(host: Host, target?: ChangeTarget): Promise<Change> {
  const [id] = chosenIds(host, target);
  return currentChange(host, id ?? '');
}

async function currentChange(host: Host, id: string): Promise<Change> {
  const change = await host.database.require().getChange(id);
  if (change === undefined) throw new LocalDataError('CHANGE_NOT_FOUND', `Change ${id} is no longer there.`, { id });
  return change;
}
