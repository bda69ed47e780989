// Says in the status bar what became of a change that a person has just sent on its way. A failure is shown where all
// failures are, in the Changes view and its badge.
import * as vscode from 'vscode';
import type { Change } from '../protocol/changes.ts';
import { reasonOf } from './changes-view/presentation.ts';

const SHOWN_MS = 5_000;

/** `others` says what went with it, where anything did. */
export function tellOutcome(change: Change, others = ''): void {
  const name = `${change.entityType} ${change.entityId}`;
  const done = change.status === 'applied' || change.status === 'synced';
  const icon = done ? '$(check)' : change.status === 'failed' ? '$(error)' : '$(clock)';
  const detail = done ? 'applied' : `${change.status}: ${reasonOf(change)}`;
  vscode.window.setStatusBarMessage(`${icon} ${name} ${detail}${others}`, SHOWN_MS);
}
