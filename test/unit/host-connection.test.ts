// The panel's line to its host, with VS Code's side of it played by the test.
import assert from 'node:assert/strict';
import type { FromPanel } from '../../src/protocol/panel.ts';
import { HostConnection } from '../../src/webview/host-connection.ts';

describe('the panel’s line to its host', () => {
  const sent: FromPanel[] = [];
  let receive: (event: { data: unknown }) => void;

  before(() => {
    const page = {
      window: { addEventListener: (_kind: string, listener: typeof receive) => (receive = listener) },
      acquireVsCodeApi: () => ({ postMessage: (message: FromPanel) => sent.push(message) }),
    };
    Object.assign(globalThis, page);
  });
  after(() => {
    for (const name of ['window', 'acquireVsCodeApi']) Reflect.deleteProperty(globalThis, name);
  });
  beforeEach(() => (sent.length = 0));

  const query = { entityType: 'Task', offset: 0, limit: 20 };

  it('tells the host of a call that is given up, and takes no answer to it', async () => {
    const host = new HostConnection();
    const controller = new AbortController();
    const page = host.call('page', query, controller.signal);
    controller.abort();
    await assert.rejects(page, /given up/);
    assert.deepEqual(sent, [
      { kind: 'call', id: 1, call: 'page', query },
      { kind: 'cancel', id: 1 },
    ]);
    receive({ data: { kind: 'answer', id: 1, value: { rows: [], total: 0 } } });
  });

  it('tells nothing of a call that was answered before it was given up', async () => {
    const host = new HostConnection();
    const controller = new AbortController();
    const page = host.call('page', query, controller.signal);
    receive({ data: { kind: 'answer', id: 1, value: { rows: [], total: 7 } } });
    assert.equal((await page).total, 7);
    controller.abort();
    assert.deepEqual(
      sent.map(({ kind }) => kind),
      ['call'],
    );
  });
});
