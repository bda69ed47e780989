// When the panel itself fails: says so, keeps what was typed, and offers the way on.
import { Component, type ReactNode } from 'react';
import type { HostConnection } from './host-connection.ts';

interface Props {
  readonly host: Pick<HostConnection, 'crashed' | 'run'>;
  /** Has the panel begin anew, for what could not be shown may be what it holds. */
  readonly onReload: () => void;
  readonly children: ReactNode;
}

interface State {
  readonly message: string | null;
}

export class CrashBoundary extends Component<Props, State> {
  override readonly state: State = { message: null };

  static getDerivedStateFromError(error: unknown): State {
    return { message: error instanceof Error ? error.message : String(error) };
  }

  override componentDidCatch(error: unknown): void {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.props.host.crashed(stack.slice(0, 9_000));
  }

  override render(): ReactNode {
    const { message } = this.state;
    if (message === null) return this.props.children;
    return (
      <main className="notice">
        <span className="codicon codicon-error notice-icon" aria-hidden="true" />
        <h1>The panel could not be shown</h1>
        <div role="alert">
          <p>{message}</p>
          <p>Your data is not affected, and unsaved fields are kept.</p>
        </div>
        <div className="buttons">
          <button
            type="button"
            onClick={() => {
              this.props.onReload();
              this.setState({ message: null });
            }}
          >
            Reload
          </button>
          <button type="button" className="secondary" onClick={() => this.props.host.run('localData.showLog')}>
            Show Log
          </button>
        </div>
      </main>
    );
  }
}
