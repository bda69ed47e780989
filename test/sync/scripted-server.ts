// A real HTTP server on 127.0.0.1 whose every answer a test says, well or badly behaved; keeps what it was asked.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

export interface Asked {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** The client's port: tells connections apart. */
  readonly port: number | undefined;
}

export type Script = (asked: Asked, response: ServerResponse) => unknown;

export class ScriptedServer implements AsyncDisposable {
  readonly asked: Asked[] = [];
  readonly url: string;
  readonly #server: Server;

  static async start(script: Script): Promise<ScriptedServer> {
    return ScriptedServer.#listen(createServer(), 'http', script);
  }

  /** With the certificate that nobody trusts, from the folder that has it (test/fixtures/self-signed). */
  static async startSelfSigned(folder: string, script: Script): Promise<ScriptedServer> {
    const read = (name: string) => readFileSync(join(folder, name));
    const server = createTlsServer({ key: read('key.pem'), cert: read('certificate.pem') });
    return ScriptedServer.#listen(server, 'https', script);
  }

  static async #listen(server: Server, scheme: string, script: Script): Promise<ScriptedServer> {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ScriptedServer(server, scheme, script);
  }

  private constructor(server: Server, scheme: string, script: Script) {
    this.#server = server;
    const address = server.address() as AddressInfo;
    this.url = `${scheme}://127.0.0.1:${address.port}`;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      void this.#answer(request, response, script);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse, script: Script): Promise<void> {
    const { method, url, headers } = request;
    const port = request.socket.remotePort;
    const asked = { method, url, headers, port, body: await text(request).catch(() => '') };
    this.asked.push(asked);
    await script(asked, response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

export function answerJson(response: ServerResponse, value: unknown, status = 200, headers: object = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof value === 'string' ? value : JSON.stringify(value));
}
