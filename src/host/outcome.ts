// Waits for what becomes of a change that a person has just sent on its way. It waits for commits, never polls, and
// gives up after a while with the change as it then is.
import type { Change, ChangeStatus } from '../protocol/changes.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { Host } from './host.ts';

const PATIENCE_MS = 5_000;
const UNDER_WAY: readonly ChangeStatus[] = ['pending'];

export async function outcomeOf(host: Host, id: string): Promise<Change> {
  const data = host.database.require();
  const { changes } = data.stores;
  if (changes.getState().processor !== 'stopped') {
    let wake = () => {};
    const settled = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const unsubscribe = changes.subscribe(({ touched }) => {
      if (touched.some((change) => change.id === id && !UNDER_WAY.includes(change.status))) wake();
    });
    const timer = setTimeout(() => wake(), PATIENCE_MS);
    const now = await data.getChange(id);
    if (now !== undefined && UNDER_WAY.includes(now.status)) await settled;
    clearTimeout(timer);
    unsubscribe();
  }
  const change = await data.getChange(id);
  if (change === undefined) throw new LocalDataError('CHANGE_NOT_FOUND', `Change ${id} is no longer there.`, { id });
  return change;
}
