// Long work of a person's own command: quiet while it is quick, with progress and Cancel once it has taken two seconds.
import * as vscode from 'vscode';

const QUIET_MS = 2_000;

export interface Work {
  readonly signal: AbortSignal;
  /** Says how far it is; `fraction` from 0 to 1 where it is known. */
  report(message: string, fraction?: number): void;
}

export async function withQuietProgress<T>(
  title: string,
  work: (work: Work) => Promise<T>,
  { cancellable = true }: { readonly cancellable?: boolean } = {},
): Promise<T> {
  const abort = new AbortController();
  let message = '';
  let fraction = 0;
  let show = () => {};
  const running = work({
    signal: abort.signal,
    report: (text, done) => {
      message = text;
      fraction = done ?? fraction;
      show();
    },
  });
  const settled = running.then(
    () => true,
    () => true,
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), QUIET_MS);
  });
  const quick = await Promise.race([settled, late]);
  clearTimeout(timer);
  if (quick) return running;
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable };
  return vscode.window.withProgress(options, async (progress, token) => {
    token.onCancellationRequested(() => abort.abort());
    let shown = 0;
    show = () => {
      progress.report({ message, increment: (fraction - shown) * 100 });
      shown = fraction;
    };
    show();
    return running;
  });
}
