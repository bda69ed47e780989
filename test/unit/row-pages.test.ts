// The panel's windows onto entities, over a source whose answers come when the test says.
import assert from 'node:assert/strict';
import { type PageAnswer, RowPages, type RowSource } from '../../src/webview/row-pages.ts';
import type { EntityDelta } from '../../src/protocol/engine.ts';

const PAGE = 50;

interface Asked {
  readonly offset: number;
  readonly limit: number;
  readonly signal: AbortSignal;
  answer(answer?: Partial<PageAnswer>): Promise<void>;
  refuse(message: string): Promise<void>;
}

describe('pages of entities', () => {
  let asked: Asked[];
  let waiting: (() => void)[];
  let pages: RowPages | undefined;

  beforeEach(() => {
    asked = [];
    waiting = [];
  });
  afterEach(() => pages?.dispose());

  function open(options: Partial<RowSource> = {}, total: number | null = null): RowPages {
    const read = (offset: number, limit: number, signal: AbortSignal): Promise<PageAnswer> => {
      const { promise, resolve, reject } = Promise.withResolvers<PageAnswer>();
      signal.addEventListener('abort', () => reject(new Error('given up')));
      const settled = async (): Promise<void> => {
        await promise.catch(() => undefined);
        await Promise.resolve();
      };
      asked.push({
        offset,
        limit,
        signal,
        answer: (answer) => (resolve({ rows: rowsFrom(offset, limit), total: 10_000, ...answer }), settled()),
        refuse: (message) => (reject(new Error(message)), settled()),
      });
      for (const go of waiting.splice(0)) go();
      return promise;
    };
    pages = new RowPages({ key: 'id', pageSize: PAGE, mayMove: false, read, ...options }, total);
    return pages;
  }

  const nextAsked = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));
  const rowsFrom = (offset: number, limit: number) =>
    Array.from({ length: limit }, (_, at) => ({ id: `e${offset + at}`, title: 'as read' }));
  const commit = (delta: Partial<EntityDelta>): EntityDelta => {
    return { entityType: 'Task', upserted: [], deleted: [], count: 10_000, ...delta };
  };
  const last = (): Asked => asked.at(-1) ?? assert.fail('nothing was asked for');

  it('are read by the page size that is set, and only those in view', async () => {
    const rows = open({ pageSize: 20 });
    rows.show(30, 45);
    assert.deepEqual(
      asked.map(({ offset, limit }) => [offset, limit]),
      [
        [20, 20],
        [40, 20],
      ],
    );
    await Promise.all(asked.map((each) => each.answer()));
    assert.deepEqual([rows.row(20)?.['id'], rows.row(59)?.['id'], rows.row(60)], ['e20', 'e59', undefined]);
    assert.deepEqual([rows.total, rows.isLoading], [10_000, false]);
  });

  it('are not asked for twice while they are on their way', () => {
    const rows = open();
    rows.show(0, 10);
    rows.show(5, 15);
    assert.equal(asked.length, 1);
  });

  it('are given up once they are out of view, and asked for again when they come back', async () => {
    const rows = open();
    rows.show(0, 10);
    rows.show(5_000, 5_010);
    assert.deepEqual(
      asked.map(({ signal }) => signal.aborted),
      [true, false],
    );
    await last().answer();
    assert.equal(rows.error, null);
    rows.show(0, 10);
    assert.deepEqual([asked.length, last().offset], [3, 0]);
  });

  it('are given up when another question is asked', () => {
    const rows = open();
    rows.show(0, 10);
    rows.dispose();
    assert.equal(last().signal.aborted, true);
  });

  it('show what commits told, however many other entities were changed since', async () => {
    const rows = open();
    rows.show(0, 10);
    await last().answer();
    rows.commit(commit({ upserted: [{ id: 'e3', title: 'changed' }] }));
    for (let batch = 0; batch < 10; batch++) {
      rows.commit(commit({ upserted: rowsFrom(1_000 + batch * 1_000, 1_000) }));
    }
    assert.equal(rows.row(3)?.['title'], 'changed');
    assert.equal(rows.row(4)?.['title'], 'as read');
  });

  it('do not fall back behind a commit that was told while they were on their way', async () => {
    const rows = open();
    rows.show(0, 10);
    rows.commit(commit({ upserted: [{ id: 'e3', title: 'changed' }] }));
    await last().answer();
    assert.equal(rows.row(3)?.['title'], 'changed');
    rows.readAgain();
    await last().answer();
    assert.equal(rows.row(3)?.['title'], 'as read');
  });

  it('are read again when entities come, go, may have moved, or cannot be told', async () => {
    const cases: [Partial<RowSource>, Partial<EntityDelta>][] = [
      [{}, { count: 10_001 }],
      [{}, { deleted: ['e1'] }],
      [{}, { reload: true }],
      [{ mayMove: true }, { upserted: [{ id: 'e1' }] }],
    ];
    for (const [source, delta] of cases) {
      const rows = open(source);
      rows.show(0, 10);
      await last().answer();
      const before = asked.length;
      rows.commit(commit(delta));
      await nextAsked();
      assert.equal(asked.length, before + 1);
      rows.dispose();
    }
  });

  it('that were read before a reading anew are read again when they are scrolled to', async () => {
    const rows = open();
    rows.show(0, 10);
    await last().answer();
    rows.show(60, 70);
    await last().answer();
    rows.readAgain();
    await last().answer({ rows: rowsFrom(50, 50), total: 9_999 });
    rows.show(0, 10);
    assert.deepEqual([asked.length, last().offset, rows.row(0)?.['id']], [4, 0, 'e0']);
  });

  it('are held no further from the view than a bound', async () => {
    const rows = open();
    for (let first = 0; first < 10_000; first += 1_000) {
      rows.show(first, first + 10);
      await last().answer();
    }
    const held = Array.from({ length: 10_000 }, (_, index) => rows.row(index)).filter((row) => row !== undefined);
    assert.equal(held.length, 3 * PAGE);
  });

  it('tell why they cannot be read, and are read again on a person’s word', async () => {
    const rows = open();
    rows.show(0, 10);
    await last().refuse('no such column');
    assert.deepEqual([rows.error, rows.isLoading], ['no such column', false]);
    rows.retry();
    assert.deepEqual([rows.error, rows.isLoading], [null, true]);
    await last().answer();
    assert.equal(rows.row(0)?.['id'], 'e0');
  });
});
