// Ends the engine's thread within a running extension host as a crash would: over Node's inspector, which any Node process
// opens on a signal. Nothing of the product takes part in it.
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const INSPECTOR = 'http://127.0.0.1:9229/json/list';

/**
 * Of the session's only database. The lock beside its data names the process that owns it; resolves once the next thread
 * has the lock, so that no call is caught by the end of this one.
 */
export async function endEngineThread(home: string): Promise<void> {
  const [lock] = globSync(join(home, 'user/User/globalStorage/vibestack.local-data/databases/*/data.lock'));
  assert.ok(lock, 'a database is open');
  const owner = readFileSync(lock, 'utf8');
  const { pid } = JSON.parse(owner) as { readonly pid?: number };
  assert.ok(pid, 'the lock names its owner');
  process.kill(pid, 'SIGUSR1');
  const inspector = new Inspector(await inspectorAddress());
  try {
    await inspector.opened;
    const { result } = await inspector.post('Runtime.evaluate', { expression: 'process.pid' });
    assert.equal(result?.value, pid, 'the inspector is that of the extension host');
    const attached = inspector.next('NodeWorker.attachedToWorker');
    await inspector.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
    const { sessionId } = await attached;
    const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression: 'process.exit(3)' } });
    const detached = inspector.next('NodeWorker.detachedFromWorker');
    await inspector.post('NodeWorker.sendMessageToWorker', { sessionId, message });
    await detached;
    await inspector.post('NodeWorker.disable', {});
  } finally {
    inspector.close();
  }
  await nextOwner(lock, owner);
}

async function nextOwner(lock: string, before: string): Promise<void> {
  for (const signal = AbortSignal.timeout(20_000); ; await delay(20)) {
    signal.throwIfAborted();
    if (existsSync(lock) && ![before, ''].includes(readFileSync(lock, 'utf8'))) return;
  }
}

interface Reply {
  readonly result?: { readonly value?: unknown };
  readonly sessionId?: string;
}

/** A part of the inspector's protocol over its socket. */
class Inspector {
  readonly #socket: WebSocket;
  readonly opened: Promise<void>;
  readonly #waiting = new Map<number | string, (reply: Reply) => void>();
  #lastId = 0;

  constructor(address: string) {
    this.#socket = new WebSocket(address);
    this.opened = new Promise((resolve, reject) => {
      this.#socket.addEventListener('open', () => resolve());
      this.#socket.addEventListener('error', () => reject(new Error(`${address} cannot be reached.`)));
    });
    this.#socket.addEventListener('message', ({ data }) => {
      const message = JSON.parse(String(data)) as { id?: number; method?: string; result?: Reply; params?: Reply };
      const key = message.id ?? message.method ?? '';
      this.#waiting.get(key)?.(message.result ?? message.params ?? {});
      this.#waiting.delete(key);
    });
  }

  post(method: string, params: object): Promise<Reply> {
    const id = ++this.#lastId;
    this.#socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  next(event: string): Promise<Reply> {
    return new Promise((resolve) => this.#waiting.set(event, resolve));
  }

  close(): void {
    this.#socket.close();
  }
}

async function inspectorAddress(): Promise<string> {
  for (const signal = AbortSignal.timeout(10_000); ; await delay(50)) {
    signal.throwIfAborted();
    const response = await fetch(INSPECTOR).catch(() => undefined);
    const [target] = response === undefined ? [] : ((await response.json()) as { webSocketDebuggerUrl: string }[]);
    if (target !== undefined) return target.webSocketDebuggerUrl;
  }
}
