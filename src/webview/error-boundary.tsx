// What is shown when the panel itself fails: the error, and ways on. Nothing of the data is affected by it.
import { Component, type ReactNode } from 'react';
import { send } from './bridge.ts';

interface Caught {
  readonly error: Error | undefined;
}

export class ErrorBoundary extends Component<{ readonly children: ReactNode }, Caught> {
  override state: Caught = { error: undefined };

  static getDerivedStateFromError(error: Error): Caught {
    return { error };
  }

  override componentDidCatch(error: Error): void {
    send({ kind: 'crashed', message: (error.stack ?? error.message).slice(0, 4_000) });
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    return (
      <main className="message" role="alert">
        <h2>The panel could not go on</h2>
        <p>{error.message}</p>
        <p className="quiet">Your data and its changes are untouched.</p>
        <div className="actions">
          <button type="button" onClick={() => this.setState({ error: undefined })}>
            Reload
          </button>
          <button
            type="button"
            className="secondary"
            onClick={() => send({ kind: 'command', command: 'localData.showLog' })}
          >
            Show Log
          </button>
        </div>
      </main>
    );
  }
}
