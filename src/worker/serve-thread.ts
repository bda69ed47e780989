// The engine's side of its thread: opens, says how that went, serves until told to close, and then lets the thread end.
import { parentPort } from 'node:worker_threads';
import { PortMessageReader, PortMessageWriter, createMessageConnection } from 'vscode-jsonrpc/node';
import type { LocalData } from '../engine/local-data.ts';
import { WIRE } from '../protocol/engine-rpc.ts';
import { serializeError } from '../protocol/errors.ts';
import { serveLocalData } from './server.ts';

/** What `open` is given: where failures go that no call can be told of. */
export type ReportTrouble = (error: unknown) => void;

export async function serveThread(open: (reportTrouble: ReportTrouble) => Promise<LocalData>): Promise<void> {
  if (parentPort === null) throw new Error('This file is the entry of a worker thread and cannot be run by itself.');
  const port = parentPort;
  const connection = createMessageConnection(new PortMessageReader(port), new PortMessageWriter(port));
  const reportTrouble: ReportTrouble = (error) => {
    connection.sendNotification(WIRE.trouble, serializeError(error)).catch(() => undefined);
  };
  connection.listen();
  try {
    const data = await open(reportTrouble);
    serveLocalData(connection, data, () => port.close());
    await connection.sendNotification(WIRE.opened);
  } catch (error) {
    // The thread is ended from the other side once it has heard this: an end of its own could overtake the words.
    await connection.sendNotification(WIRE.openFailed, serializeError(error));
  }
}
