// The engine's side of its thread: opens, says how that went, serves until told to close, and then lets the thread end.
import { parentPort } from 'node:worker_threads';
import { PortMessageReader, PortMessageWriter, createMessageConnection } from 'vscode-jsonrpc/node';
import type { LocalData } from '../engine/local-data.ts';
import { WIRE } from '../protocol/engine-rpc.ts';
import { serializeError } from '../protocol/errors.ts';
import { TRANSPORT_WIRE } from '../protocol/transport-rpc.ts';
import type { OpenTransport } from '../sync/transport.ts';
import { remoteTransports } from './remote-transport.ts';
import { serveLocalData } from './server.ts';

/** What the thread that started this one does for the engine. */
export interface OtherSide {
  /** Told of failures that no call can be told of. */
  readonly reportTrouble: (error: unknown) => void;
  /** Opens transports that are registered there. */
  readonly openTransport: OpenTransport;
}

export async function serveThread(open: (otherSide: OtherSide) => Promise<LocalData>): Promise<void> {
  if (parentPort === null) throw new Error('This file is the entry of a worker thread and cannot be run by itself.');
  const port = parentPort;
  const connection = createMessageConnection(new PortMessageReader(port), new PortMessageWriter(port));
  const reportTrouble = (error: unknown): void => {
    connection.sendNotification(WIRE.trouble, serializeError(error)).catch(() => undefined);
  };
  connection.listen();
  try {
    const data = await open({ reportTrouble, openTransport: remoteTransports(connection) });
    connection.onNotification(TRANSPORT_WIRE.changed, () => goOn(data, reportTrouble));
    serveLocalData(connection, data, () => port.close());
    await connection.sendNotification(WIRE.opened);
  } catch (error) {
    // The thread is ended from the other side once it has heard this: an end of its own could overtake the words.
    await connection.sendNotification(WIRE.openFailed, serializeError(error));
  }
}

/** A transport that came may be the one that was missed; whether it is, the next try tells. */
function goOn(data: LocalData, reportTrouble: (error: unknown) => void): void {
  const tryAgain = async (): Promise<void> => {
    const { status } = await data.sync.state();
    if (status !== 'offline') return;
    // What comes of it is shown by the state; nobody waits for it here.
    data.sync.syncNow().catch(() => undefined);
  };
  tryAgain().catch(reportTrouble);
}
