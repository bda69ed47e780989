// What the Changes view says of the database itself where fixed words would not do, because the reason is only known
// when it happens: who has it, why it could not be opened, why processing was paused; with what helps as rows to click.
import { type DatabaseState, inUseBy } from '../database.ts';
import type { ActionElement } from './elements.ts';

export interface StateNotice {
  readonly message: string;
  readonly actions: readonly ActionElement[];
}

const TRY_AGAIN: ActionElement = { kind: 'action', command: 'localData.tryAgain', icon: 'refresh' };
const SHOW_LOG: ActionElement = { kind: 'action', command: 'localData.showLog', icon: 'output' };
const COPY_DIAGNOSTICS: ActionElement = { kind: 'action', command: 'localData.copyDiagnostics', icon: 'copy' };
const SHOW_LOCATION: ActionElement = { kind: 'action', command: 'localData.showDataLocation', icon: 'folder' };
const RESUME: ActionElement = { kind: 'action', command: 'localData.resumeProcessing', icon: 'debug-continue' };

/** Undefined where the view's welcome content, or its changes, say all there is. */
export function noticeOf(state: DatabaseState): StateNotice | undefined {
  switch (state.kind) {
    case 'in-use':
      return {
        message: `This database is ${inUseBy(state)}, and only one may use it at a time. Close it there, then try again.`,
        actions: [TRY_AGAIN, SHOW_LOG],
      };
    case 'failed':
      return {
        message: `The database could not be opened. ${breakable(state.error.message)}`,
        actions: [TRY_AGAIN, SHOW_LOG, COPY_DIAGNOSTICS, ...(state.place === null ? [] : [SHOW_LOCATION])],
      };
    case 'ready':
      return state.pausedBecause === null ? undefined : { message: state.pausedBecause.message, actions: [RESUME] };
    case 'restricted':
    case 'no-folder':
    case 'no-database':
    case 'starting':
    case 'closed':
      return undefined;
  }
}

/** The view wraps at spaces alone and cuts off the rest; a path has none. */
function breakable(text: string): string {
  const invisibleSpace = '\u200B';
  return text.replaceAll(/\S{24}/g, `$&${invisibleSpace}`);
}
