// One life of the engine's thread: from its start, over its opening of the database, to its end. Its lock on the data
// directory is let go of here when the thread ended without doing so; never while it may still run.
import { Worker } from 'node:worker_threads';
import {
  CancellationToken,
  type Disposable,
  ErrorCodes,
  type Logger,
  type MessageConnection,
  PortMessageReader,
  PortMessageWriter,
  ResponseError,
  createMessageConnection,
} from 'vscode-jsonrpc/node';
import { releaseLockOfEndedThread } from '../db/data-directory-lock.ts';
import {
  type RequestMessage,
  type ResponseMessage,
  WIRE,
  type WireNotifications,
  serializedErrorSchema,
} from '../protocol/engine-rpc.ts';
import { LocalDataError, deserializeError } from '../protocol/errors.ts';
import { deferred } from './deferred.ts';
import { serveTransports } from './serve-transports.ts';
import { TransportRegistry } from './transport-registry.ts';

export interface EngineThreadOptions {
  /** The bundled `worker.js`. */
  readonly workerFile: string | URL;
  /** What the thread opens the database with; plain data. */
  readonly workerData: unknown;
  /** The data directory whose lock the thread holds; none for a database in memory. */
  readonly dataDir?: string | undefined;
  /** Reach servers whose addresses are neither http nor https. Default: none. */
  readonly transports?: TransportRegistry;
}

export interface ThreadListeners {
  onSnapshot(snapshot: WireNotifications[typeof WIRE.snapshot]): void;
  onCommit(event: WireNotifications[typeof WIRE.commit]): void;
  onProgress(progress: WireNotifications[typeof WIRE.progress]): void;
  /** Failures in the thread that no call can be told of. */
  onTrouble(error: Error): void;
}

export class EngineThread {
  /** Resolves with the reason once the thread has ended and its lock is free. */
  readonly ended: Promise<Error>;
  readonly #worker: Worker;
  readonly #connection: MessageConnection;
  readonly #transports: Disposable;
  #hasEnded = false;

  constructor(options: EngineThreadOptions, listeners: ThreadListeners) {
    // Without execArgv of its own a debugged host would have its thread wait on the same inspector port.
    this.#worker = new Worker(options.workerFile, { workerData: options.workerData, execArgv: [] });
    this.ended = this.#watchEnd(options.dataDir, this.#worker.threadId);
    const { onSnapshot, onCommit, onProgress, onTrouble } = listeners;
    this.#connection = createMessageConnection(
      new PortMessageReader(this.#worker),
      new PortMessageWriter(this.#worker),
      SILENT,
    );
    this.#transports = serveTransports(this.#connection, options.transports ?? new TransportRegistry());
    this.#connection.onNotification(WIRE.snapshot, onSnapshot);
    this.#connection.onNotification(WIRE.commit, onCommit);
    this.#connection.onNotification(WIRE.progress, onProgress);
    this.#connection.onNotification(WIRE.trouble, (error: WireNotifications[typeof WIRE.trouble]) => {
      onTrouble(deserializeError(error));
    });
  }

  /** Resolves once the database is open and its commits are followed; rejects with why it cannot be opened. */
  async open(timeoutMs: number): Promise<void> {
    const opened = deferred<void>();
    this.#connection.onNotification(WIRE.opened, () => opened.resolve());
    this.#connection.onNotification(WIRE.openFailed, (error: WireNotifications[typeof WIRE.openFailed]) => {
      opened.reject(deserializeError(error));
    });
    this.#connection.listen();
    const followed = opened.promise.then(() => this.#request(WIRE.subscribe));
    const ended = this.ended.then((reason) => Promise.reject(reason));
    const timer = deferred<never>();
    const timeout = setTimeout(() => timer.reject(notOpenError(timeoutMs)), timeoutMs);
    try {
      await Promise.race([followed, ended, timer.promise]);
    } finally {
      clearTimeout(timeout);
    }
  }

  /** Sends a call. Never settles once the thread has ended: whoever watches its end decides what becomes of the call. */
  async send(method: string, message: RequestMessage, token: CancellationToken): Promise<unknown> {
    try {
      const response: ResponseMessage = await this.#connection.sendRequest(method, message, token);
      return response.value;
    } catch (error) {
      if (this.#hasEnded) return NEVER;
      throw callError(method, error);
    }
  }

  /** Whether the thread's event loop gets to answer within this time; WASM that runs on keeps it from that. */
  async answers(withinMs: number): Promise<boolean> {
    if (this.#hasEnded) return false;
    const ping = this.#connection.sendRequest(WIRE.ping).then(
      () => true,
      () => false,
    );
    return Promise.race([ping, after(withinMs).then(() => false)]);
  }

  /** Has the engine close its database, for at most this long, and ends the thread whatever came of it. */
  async close(withinMs: number): Promise<void> {
    if (!this.#hasEnded) {
      const closed = this.#request(WIRE.close).catch(() => undefined);
      await Promise.race([closed, this.ended, after(withinMs)]);
    }
    await this.terminate();
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
    await this.ended;
  }

  #request(name: string): Promise<unknown> {
    return this.send(name, { call: 0, args: [] }, CancellationToken.None);
  }

  async #watchEnd(dataDir: string | undefined, threadId: number): Promise<Error> {
    let cause: unknown;
    this.#worker.on('error', (error) => (cause = error));
    const code = await new Promise<number>((resolve) => this.#worker.once('exit', resolve));
    this.#hasEnded = true;
    this.#transports.dispose();
    this.#connection.dispose();
    // A directory that is gone has no lock to let go of.
    if (dataDir !== undefined) await releaseLockOfEndedThread(dataDir, threadId).catch(() => undefined);
    const why = cause instanceof Error ? cause.message : `exit code ${code}`;
    return new LocalDataError('INTERNAL', `The engine's thread ended: ${why}.`, { exitCode: code }, { cause });
  }
}

function notOpenError(timeoutMs: number): LocalDataError {
  return new LocalDataError(
    'TIMED_OUT',
    `The database was not open after ${timeoutMs / 1000} s. Try again; the log may say what it was doing.`,
    { timeoutMs },
  );
}

/** Errors of the engine come back as what they were; anything else is a fault of the transport. */
function callError(method: string, error: unknown): LocalDataError {
  if (error instanceof ResponseError) {
    const serialized = serializedErrorSchema.safeParse(error.data);
    if (serialized.success) return deserializeError(serialized.data);
  }
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ResponseError && error.code === ErrorCodes.MessageWriteError) {
    const text = `${method}: the arguments are no plain data and cannot be sent (${message}) Pass values, not functions.`;
    return new LocalDataError('INVALID_ARGUMENT', text, { method });
  }
  return new LocalDataError(
    'INTERNAL',
    `${method} could not be carried to the engine: ${message}.`,
    {},
    { cause: error },
  );
}

const NEVER = new Promise<never>(() => {});

/** Connection-level complaints reach the caller as the error of the call they concern. */
const SILENT: Logger = { error: () => {}, warn: () => {}, info: () => {}, log: () => {} };

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
