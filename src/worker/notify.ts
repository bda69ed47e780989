// Sends what nobody answers. Never throws: whom it was for may be gone.
import type { MessageConnection } from 'vscode-jsonrpc/node';

/** A connection that is going away takes no more messages; nobody is left to be told. */
export function notify(connection: MessageConnection, name: string, content: unknown): void {
  try {
    connection.sendNotification(name, content).catch(() => undefined);
  } catch {
    // Closed between the cause and this line.
  }
}
