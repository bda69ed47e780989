// Where the Entities panel's view is kept, and which of two copies is believed.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeptViewFile } from '../../src/host/entities-panel/kept-view.ts';
import { checkMessage } from '../../src/host/entities-panel/panel-requests.ts';
import { type KeptView, LARGEST_VIEW, type PanelState, type PanelView } from '../../src/protocol/panel.ts';
import { noChanges } from '../../src/protocol/changes.ts';
import { NO_SYNC } from '../../src/protocol/sync-state.ts';
import { ViewKeeper, withinLimit } from '../../src/webview/view-keeper.ts';
import { EMPTY_VIEW, changeDraft, changeTypeView, typeView, viewStore } from '../../src/webview/view-state.ts';

const drafted = (text: string): PanelView => ({ ...EMPTY_VIEW, drafts: { '["Task","a"]': { title: text } } });
const searching = (search: string): PanelView => ({
  ...EMPTY_VIEW,
  types: { Task: { ...typeView(EMPTY_VIEW, 'Task'), search } },
});

describe('the file that keeps the panel’s view', () => {
  let folder: string;
  const errors: unknown[] = [];
  const open = () => KeptViewFile.open(folder, (error) => errors.push(error));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'local-data-view-'));
    errors.length = 0;
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('gives back what was kept last, and leaves no draft of itself behind', async () => {
    const file = await open();
    for (let revision = 1; revision <= 20; revision++) file.keep({ revision, view: searching(`word ${revision}`) });
    await file.whenWritten();
    assert.deepEqual((await open()).kept, { revision: 20, view: searching('word 20') });
    assert.deepEqual(readdirSync(folder), ['entities-panel.json']);
  });

  it('passes over a view that is older than the one it has', async () => {
    const file = await open();
    file.keep({ revision: 7, view: searching('new') });
    file.keep({ revision: 6, view: searching('old') });
    await file.whenWritten();
    assert.equal((await open()).kept?.revision, 7);
  });

  it('counts a file that is no view as none, and replaces it', async () => {
    const path = join(folder, 'entities-panel.json');
    for (const content of ['{"revision": 3, "vie', '{"revision":-1,"view":{}}', 'null']) {
      writeFileSync(path, content);
      assert.equal((await open()).kept, null);
    }
    const file = await open();
    file.keep({ revision: 1, view: searching('word') });
    await file.whenWritten();
    assert.equal((JSON.parse(readFileSync(path, 'utf8')) as KeptView).revision, 1);
  });

  it('is taken away when it is to be forgotten', async () => {
    const file = await open();
    file.keep({ revision: 1, view: searching('word') });
    file.forget();
    await file.whenWritten();
    assert.deepEqual(readdirSync(folder), []);
  });

  it('tells once that it cannot write, and goes on when it can', async () => {
    const missing = join(folder, 'missing');
    const file = await KeptViewFile.open(missing, (error) => errors.push(error));
    for (const revision of [1, 2]) {
      file.keep({ revision, view: EMPTY_VIEW });
      await file.whenWritten();
    }
    assert.equal(errors.length, 1);
    assert.equal(file.kept?.revision, 2);
  });

  it('is given no view that is too large or none at all', () => {
    const keep = (view: unknown) => checkMessage({ kind: 'keep', place: '/p', kept: { revision: 1, view } });
    assert.ok(keep(drafted('x'.repeat(1000))));
    assert.throws(() => keep(drafted('x'.repeat(LARGEST_VIEW))), /too large/);
    assert.throws(() => keep({ types: {} }));
  });
});

describe('the panel’s keeper of its view', () => {
  const toHost: { place: string; kept: KeptView }[] = [];
  let withVsCode: unknown;
  let keeper: ViewKeeper | undefined;
  let told = Promise.withResolvers<void>();
  const keeperOver = (kept: unknown): ViewKeeper => {
    withVsCode = kept;
    keeper = new ViewKeeper({
      kept,
      keep: (state) => (withVsCode = state),
      keepAtHost: (place, view) => {
        toHost.push({ place, kept: view });
        told.resolve();
      },
    });
    return keeper;
  };
  const open = (place: string, kept: KeptView | null): PanelState => ({
    kind: 'open',
    snapshot: { counts: noChanges(), newest: [], entityTypes: [], processor: 'idle', sync: NO_SYNC },
    pageSize: 100,
    place,
    kept,
  });
  const search = (): string => typeView(viewStore.getState(), 'Task').search;

  beforeEach(() => {
    toHost.length = 0;
    told = Promise.withResolvers();
  });

  afterEach(() => keeper?.dispose());

  it('shows the host’s copy where VS Code’s is older', () => {
    const shown = keeperOver({ place: '/a', revision: 4, view: searching('before') });
    assert.equal(search(), 'before');
    shown.follow(open('/a', { revision: 9, view: searching('after') }));
    assert.equal(search(), 'after');
    assert.deepEqual(withVsCode, { place: '/a', revision: 9, view: searching('after') });
  });

  it('keeps VS Code’s copy where that is later, and brings the host up to it', async () => {
    const shown = keeperOver({ place: '/a', revision: 9, view: searching('after') });
    shown.follow(open('/a', { revision: 4, view: searching('before') }));
    await told.promise;
    assert.equal(search(), 'after');
    assert.deepEqual(toHost, [{ place: '/a', kept: { revision: 9, view: searching('after') } }]);
  });

  it('shows nothing of another database, and nothing of one that is gone', () => {
    const shown = keeperOver({ place: '/a', revision: 9, view: searching('secret') });
    shown.follow(open('/b', null));
    assert.equal(search(), '');
    changeTypeView('Task', { search: 'typed' });
    shown.follow({ kind: 'closed', why: 'it was closed', cause: 'trouble' });
    assert.equal(search(), 'typed');
    shown.follow({ kind: 'closed', why: 'there is none', cause: 'none' });
    shown.follow(open('/b', null));
    assert.equal(search(), '');
  });

  it('tells the host what was typed last over a database before it shows another', () => {
    const shown = keeperOver(undefined);
    shown.follow(open('/a', { revision: 1, view: EMPTY_VIEW }));
    changeTypeView('Task', { search: 'typed' });
    shown.follow(open('/b', null));
    assert.deepEqual(toHost, [{ place: '/a', kept: { revision: 2, view: searching('typed') } }]);
    assert.equal(search(), '');
  });

  it('tells the host many keys in one message, and the last of them', async () => {
    const shown = keeperOver(undefined);
    changeDraft('Task', 'a', 'title', 'before the host has said what it has');
    shown.follow(open('/a', { revision: 100, view: EMPTY_VIEW }));
    for (const text of ['w', 'wo', 'wor', 'word']) changeDraft('Task', 'a', 'title', text);
    await told.promise;
    assert.deepEqual(toHost, [{ place: '/a', kept: { revision: 104, view: drafted('word') } }]);
  });

  it('leaves the largest drafts out where all would be too much', () => {
    const view = { ...searching('word'), drafts: { small: { a: 'x' }, large: { a: 'x'.repeat(LARGEST_VIEW) } } };
    assert.deepEqual(withinLimit(view), { ...searching('word'), drafts: { small: { a: 'x' } } });
  });
});
