// One kept-alive HTTP connection that sends one request at a time and reads answers of a known length, with as little work as
// can be: a thousand of them must not be what a benchmark of the server measures.
import { once } from 'node:events';
import { type Socket, connect } from 'node:net';

export interface LeanAnswer {
  readonly status: number;
  readonly text: string;
}

interface Asked {
  readonly resolve: (answer: LeanAnswer) => void;
  readonly reject: (error: Error) => void;
}

const HEAD_END = Buffer.from('\r\n\r\n');

export class LeanConnection {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #asked: Asked | null = null;

  static async open(url: string): Promise<LeanConnection> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    await once(socket, 'connect');
    return new LeanConnection(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('The connection was closed.')));
  }

  /** `head` is the request line and headers with their end; the body's length is among them. */
  ask(head: string, body = ''): Promise<LeanAnswer> {
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject };
      this.#socket.write(head + body);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const end = this.#received.indexOf(HEAD_END);
    if (end === -1) return;
    const head = this.#received.toString('latin1', 0, end);
    const length = Number(/\ncontent-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
    const bodyEnd = end + HEAD_END.length + length;
    if (Number.isNaN(length)) this.#fail(new Error(`An answer says no length: ${head.slice(0, 100)}`));
    if (!(this.#received.length >= bodyEnd)) return;
    const text = this.#received.toString('utf8', end + HEAD_END.length, bodyEnd);
    this.#received = this.#received.subarray(bodyEnd);
    const asked = this.#asked;
    this.#asked = null;
    asked?.resolve({ status: Number(head.slice(9, 12)), text });
  }

  #fail(error: Error): void {
    const asked = this.#asked;
    this.#asked = null;
    asked?.reject(error);
  }
}
