// Each setting of the manifest: that it is read, within its range, and what it does.
import assert from 'node:assert/strict';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as vscode from 'vscode';
import type { LocalDataApi } from '../../src/api.ts';
import { SETTINGS, type SettingId } from '../../src/host/contributions.ts';
import { locateWorkspace } from '../../src/worker/data-location.ts';
import { diagnostics, openDatabase, whenChange } from './open-database.ts';
import { Person } from './person.ts';

type Engine = typeof import('../../src/engine/open-local-data.ts');

describe('settings', () => {
  let api: LocalDataApi;
  let root: string;
  const changed = new Set<SettingId>();

  before(async () => {
    api = await openDatabase();
    root = await mkdtemp(join(tmpdir(), 'local-data-settings-'));
  });

  afterEach(async () => {
    for (const id of changed) await configure(id, undefined);
    changed.clear();
    // Answers once the database is open again.
    await api.listEntityTypes();
  });

  after(() => rm(root, { recursive: true, force: true }));

  /** Resolves once the extension has been told. */
  async function configure(id: SettingId, value: unknown): Promise<void> {
    const configuration = vscode.workspace.getConfiguration();
    const before = configuration.get(id);
    const told = new Promise<void>((resolve) => {
      const listening = vscode.workspace.onDidChangeConfiguration((event) => {
        if (!event.affectsConfiguration(id)) return;
        listening.dispose();
        resolve();
      });
      if (before === (value ?? SETTINGS[id].default)) resolve();
    });
    changed.add(id);
    await configuration.update(id, value, vscode.ConfigurationTarget.Global);
    await told;
  }

  it('are read, and a value out of range counts as the nearest allowed one', async () => {
    const read = async () => (await diagnostics()).settings;
    assert.deepEqual(await read(), {
      dataDirectory: SETTINGS['localData.dataDirectory'].default,
      retryLimit: SETTINGS['localData.retry.limit'].default,
      retryBaseDelayMs: SETTINGS['localData.retry.baseDelay'].default,
      retryMaxDelayMs: SETTINGS['localData.retry.maxDelay'].default,
      pausedAtStart: SETTINGS['localData.processing.pausedAtStart'].default,
      changesPageSize: SETTINGS['localData.changes.pageSize'].default,
      entitiesPageSize: SETTINGS['localData.entities.pageSize'].default,
      payloadMaxBytes: SETTINGS['localData.payload.maxBytes'].default,
    });
    await configure('localData.changes.pageSize', 1);
    await configure('localData.entities.pageSize', 33);
    const { changesPageSize, entitiesPageSize } = await read();
    assert.deepEqual([changesPageSize, entitiesPageSize], [SETTINGS['localData.changes.pageSize'].minimum, 33]);
  });

  it('cap the payload of a change', async () => {
    await api.registerEntityType({ entityType: 'Large' });
    const text = 'x'.repeat(2_000);
    await configure('localData.payload.maxBytes', 1_000);
    await assert.rejects(api.recordChange('Large', 'l', 'insert', { text }), {
      code: 'PAYLOAD_TOO_LARGE',
      message: /localData\.payload\.maxBytes/,
    });
    await configure('localData.payload.maxBytes', 3_000);
    assert.equal((await api.recordChange('Large', 'l', 'insert', { text })).status, 'pending');
  });

  it('open the database paused', async () => {
    await configure('localData.processing.pausedAtStart', true);
    // What makes the database open anew.
    await configure('localData.payload.maxBytes', 2_000);
    await api.registerEntityType({ entityType: 'Patient' });
    const change = await api.recordChange('Patient', 'p', 'insert', { text: 'x' });
    await configure('localData.processing.pausedAtStart', false);
    await configure('localData.payload.maxBytes', 4_000);
    await whenChange(api, change.id, ({ status }) => status === 'applied');
    assert.match(change.reason ?? '', /paused/);
  });

  it('keep the databases elsewhere, where retries follow their limit and delays', async () => {
    const workspace = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? '';
    const { directory, dataDir } = await locateWorkspace(await realpath(root), workspace);
    await makeDatabaseWithPassingTrouble(dataDir);
    // Only a short first delay and a cap that is kept let three attempts pass before this test's time is over.
    await configure('localData.retry.baseDelay', 10);
    await configure('localData.retry.limit', 3);
    await configure('localData.dataDirectory', await realpath(root));
    const change = await api.recordChange('Flaky', 'f', 'insert', {});
    const failed = await whenChange(api, change.id, ({ status }) => status === 'failed');
    assert.deepEqual([failed.attempts, failed.failure?.code], [3, '40001']);
    await configure('localData.retry.baseDelay', 3_600_000);
    await configure('localData.retry.maxDelay', 20);
    await configure('localData.retry.limit', 2);
    const capped = await api.recordChange('Flaky', 'g', 'insert', {});
    assert.equal((await whenChange(api, capped.id, ({ status }) => status === 'failed')).attempts, 2);
    using person = new Person();
    await vscode.commands.executeCommand('localData.showDataLocation');
    assert.ok((await person.nextNotice()).message.includes(directory));
  });

  it('refuse a data directory that is no absolute path, and say so', async () => {
    using person = new Person();
    await configure('localData.dataDirectory', 'somewhere/else');
    await vscode.commands.executeCommand('localData.tryAgain');
    assert.match((await person.nextNotice()).message, /"somewhere\/else", and must be an absolute path/);
  });
});

/** Made by the engine itself, in which every insert of a Flaky meets a passing trouble. */
async function makeDatabaseWithPassingTrouble(dataDir: string): Promise<void> {
  const extension = vscode.extensions.getExtension('vibestack.local-data');
  assert.ok(extension);
  const file = pathToFileURL(join(extension.extensionPath, 'dist/engine.js')).href;
  const { openLocalData } = (await import(file)) as Engine;
  const data = await openLocalData({ dataDir });
  await data.exec(`CREATE TABLE flaky (id text PRIMARY KEY);
    CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = '40001'; END $$;
    CREATE TRIGGER trouble BEFORE INSERT ON flaky FOR EACH ROW EXECUTE FUNCTION trouble();`);
  await data.registerEntityType({ entityType: 'Flaky', table: 'flaky' });
  await data.close();
}
