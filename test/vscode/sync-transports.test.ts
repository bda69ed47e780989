// Transports as VS Code runs them: registered in the extension host, used by the engine in its thread, whose fetch is that of
// the editor's own Node.
import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import type { LocalDataApi, OpenTransport } from '../../src/api.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';
import { openInWorker } from '../../src/worker/open-in-worker.ts';
import type { SupervisedEngine } from '../../src/worker/supervised-engine.ts';
import { TransportRegistry } from '../../src/worker/transport-registry.ts';
import { ScriptedServer, answerJson } from '../sync/scripted-server.ts';

interface ExampleExports {
  readonly localData: LocalDataApi;
  readonly shelf: { readonly open: OpenTransport };
}

describe('transports of synchronisation', () => {
  let example: ExampleExports;
  let engine: SupervisedEngine;

  before(async () => {
    const extension = vscode.extensions.getExtension<ExampleExports>('example.example-transport');
    assert.ok(extension, 'the example extension is installed');
    example = await extension.activate();
    engine = await open();
  });

  after(() => engine.close());

  function open(): Promise<SupervisedEngine> {
    const workerFile = vscode.Uri.joinPath(home(), 'dist', 'worker.js').fsPath;
    const transports = new TransportRegistry();
    transports.register('shelf', (options) => example.shelf.open(options));
    return openInWorker({ workerFile, engine: { memory: true }, transports });
  }

  it('are registered by another extension, one for a scheme, until it takes its own back', () => {
    const open: OpenTransport = (options) => example.shelf.open(options);
    const isRefused = (error: unknown) =>
      error instanceof Error && 'code' in error && error.code === 'INVALID_ARGUMENT';
    assert.throws(() => example.localData.registerSyncTransport('shelf', open), isRefused);
    assert.throws(() => example.localData.registerSyncTransport('https', open), isRefused);
    assert.throws(() => example.localData.registerSyncTransport('drawer', 'open' as never), isRefused);
    const registered = example.localData.registerSyncTransport('drawer', open);
    assert.throws(() => example.localData.registerSyncTransport('drawer', open), isRefused);
    registered.dispose();
    example.localData.registerSyncTransport('drawer', open).dispose();
  });

  it('carry changes from the engine’s thread to an extension', async () => {
    const { data } = engine;
    await data.registerEntityType({ entityType: 'Note' });
    await data.upsertEntity('Note', 'n1', { text: 'Remember the milk' });
    await data.sync.connect({ url: 'shelf:here', token: 'any', space: 'notes' });
    await data.sync.whenSynced();
    const there = example.shelf.open({ url: 'shelf:here', token: 'any', space: 'notes' });
    const { signal } = new AbortController();
    const { entities } = await there.snapshot({ page: null, limit: 10 }, { signal, timeoutMs: 1_000 });
    assert.equal(entities.length, 1);
    await data.sync.disconnect();
  });

  it('tell over HTTP, in the editor’s own Node, a redirect, a strange certificate and no protocol apart', async () => {
    const codeOf = async (url: string): Promise<unknown> => {
      const connecting = http.data.sync.connect({ url, token: 'any', space: 'notes' });
      const error: unknown = await connecting.then(
        () => assert.fail('should have been refused'),
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof LocalDataError, String(error));
      return error.details.code ?? error.code;
    };
    const http = await open();
    try {
      await using elsewhere = await ScriptedServer.start((_, response) => answerJson(response, {}));
      await using redirecting = await ScriptedServer.start((_, response) => {
        answerJson(response, '', 307, { location: elsewhere.url });
      });
      const selfSigned = vscode.Uri.joinPath(home(), 'test', 'fixtures', 'self-signed').fsPath;
      await using strange = await ScriptedServer.startSelfSigned(selfSigned, (_, response) => answerJson(response, {}));
      assert.equal(await codeOf(redirecting.url), 'SYNC_REFUSED');
      assert.equal(elsewhere.asked.length, 0);
      assert.equal(await codeOf(strange.url), 'DEPTH_ZERO_SELF_SIGNED_CERT');
      assert.equal(await codeOf(elsewhere.url), 'NOT_PROTOCOL');
    } finally {
      await http.close();
    }
  });
});

function home(): vscode.Uri {
  const extension = vscode.extensions.getExtension('vibestack.local-data');
  assert.ok(extension, 'the extension is installed');
  return extension.extensionUri;
}
