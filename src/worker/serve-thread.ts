// The engine's side of its thread: opens, says how that went, serves until told to close, and then lets the thread end.
import { parentPort } from 'node:worker_threads';
import { PortMessageReader, PortMessageWriter, createMessageConnection } from 'vscode-jsonrpc/node';
import type { LocalData } from '../engine/local-data.ts';
import { WIRE } from '../protocol/engine-rpc.ts';
import { serializeError } from '../protocol/errors.ts';
import { serveLocalData } from './server.ts';

export async function serveThread(open: () => Promise<LocalData>): Promise<void> {
  if (parentPort === null) throw new Error('This file is the entry of a worker thread and cannot be run by itself.');
  const port = parentPort;
  const connection = createMessageConnection(new PortMessageReader(port), new PortMessageWriter(port));
  try {
    const data = await open();
    serveLocalData(connection, data, () => port.close());
    connection.listen();
    await connection.sendNotification(WIRE.opened);
  } catch (error) {
    connection.listen();
    await connection.sendNotification(WIRE.openFailed, serializeError(error));
    port.close();
  }
}
