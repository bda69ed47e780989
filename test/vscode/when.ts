// Waits for what VS Code shows, by its events.
import * as vscode from 'vscode';

/** What `look` finds, now or after one of the events. */
export function when<T>(look: () => T | undefined, ...events: readonly vscode.Event<unknown>[]): Promise<T> {
  const found = look();
  if (found !== undefined) return Promise.resolve(found);
  return new Promise((resolve) => {
    const listening = vscode.Disposable.from(
      ...events.map((event) =>
        event(() => {
          const now = look();
          if (now === undefined) return;
          listening.dispose();
          resolve(now);
        }),
      ),
    );
  });
}
