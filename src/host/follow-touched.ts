// Follows the changes that commits touch over closings and openings of the database, so that a listener is added once.
import * as vscode from 'vscode';
import type { Change } from '../protocol/changes.ts';
import type { Database } from './database.ts';

/** `onOpen` is called for a database that is open already, and for each that is opened later. */
export function followTouched(
  database: Database,
  onTouched: (touched: readonly Change[]) => void,
  onOpen: () => void = () => {},
): vscode.Disposable {
  let unsubscribe = () => {};
  const connect = () => {
    unsubscribe();
    unsubscribe = () => {};
    const { state } = database;
    if (state.kind !== 'ready') return;
    onOpen();
    unsubscribe = state.data.stores.changes.subscribe(({ touched }, before) => {
      if (touched !== before.touched && touched.length > 0) onTouched(touched);
    });
  };
  connect();
  const following = database.onDidChangeState(connect);
  return new vscode.Disposable(() => {
    following.dispose();
    unsubscribe();
  });
}
