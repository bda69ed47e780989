// Import files as they are met in the wild: read row by row, refused with a reason, never half understood.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChangeInput } from '../../src/protocol/changes.ts';
import type { EntityTypeInfo, ImportOptions } from '../../src/protocol/engine.ts';
import { LocalDataError } from '../../src/protocol/errors.ts';
import { type ImportCall, type ImportDeps, importEntities } from '../../src/entities/import/import-entities.ts';
import { type ImportRow, readRows } from '../../src/entities/import/read-rows.ts';

describe('import files', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'local-data-import-'));
  });
  after(async () => {
    await rm(folder, { recursive: true });
  });

  async function write(name: string, content: string | Uint8Array): Promise<string> {
    const file = join(folder, name);
    await writeFile(file, content);
    return file;
  }

  async function rowsOf(name: string, content: string | Uint8Array): Promise<ImportRow[]> {
    return Array.fromAsync(readRows({ file: await write(name, content) }));
  }

  async function refusalOf(name: string, content: string | Uint8Array): Promise<LocalDataError> {
    const error: unknown = await rowsOf(name, content).then(
      () => assert.fail('it was read'),
      (thrown: unknown) => thrown,
    );
    assert.ok(LocalDataError.isCode(error, 'IMPORT_UNREADABLE'), String(error));
    assert.ok(error.message.includes(join(folder, name)), error.message);
    return error;
  }

  describe('CSV', () => {
    it('gives quoted cells, line breaks within them and a byte order mark as they are meant', async () => {
      const rows = await rowsOf('quoted.csv', '\uFEFFid,title\r\n1,"a ""quoted"", cell\nin two lines"\r\n');
      assert.deepEqual(rows, [{ row: 3, value: { id: '1', title: 'a "quoted", cell\nin two lines' } }]);
    });

    for (const [name, delimiter] of Object.entries({ comma: ',', semicolon: ';', tab: '\t' })) {
      it(`finds the ${name} between cells by itself`, async () => {
        const rows = await rowsOf(`${name}.csv`, [`id`, `"a,b;c"`].join(delimiter) + '\n' + ['1', 'x'].join(delimiter));
        assert.deepEqual(rows, [{ row: 2, value: { id: '1', 'a,b;c': 'x' } }]);
      });
    }

    it('refuses a ragged row with its line and goes on', async () => {
      const rows = await rowsOf('ragged.csv', 'id,title\n1,a\n2\n3,c,d\n4,e\n');
      assert.deepEqual(rows, [
        { row: 2, value: { id: '1', title: 'a' } },
        { row: 3, refused: 'It has 1 cells where the header names 2 columns.' },
        { row: 4, refused: 'It has 3 cells where the header names 2 columns.' },
        { row: 5, value: { id: '4', title: 'e' } },
      ]);
    });

    it('keeps what looks like a formula as the text it is', async () => {
      const formulas = ['=1+1', '+cmd|x', '-2+3', '@SUM(A1)', '=HYPERLINK("http://a.example")'];
      const lines = formulas.map((formula, index) => `${index},"${formula.replaceAll('"', '""')}"`);
      const rows = await rowsOf('formulas.csv', `id,title\n${lines.join('\n')}`);
      assert.deepEqual(
        rows.map((row) => ('value' in row ? row.value['title'] : row.refused)),
        formulas,
      );
    });

    it('names file and line of a quote that is not closed', async () => {
      const error = await refusalOf('open.csv', 'id,title\n1,"never closed\n2,b\n');
      assert.match(error.message, /Correct the quotes/);
    });

    it('refuses a header that names a column twice or not at all', async () => {
      assert.match((await refusalOf('twice.csv', 'id,a,a\n1,2,3')).message, /line 1: .*"a" twice/);
      assert.match((await refusalOf('nameless.csv', 'id,,a\n1,2,3')).message, /line 1: column 2 has no name/);
      assert.match((await refusalOf('empty.csv', '')).message, /is empty/);
    });
  });

  describe('JSON', () => {
    it('gives the objects of an array, and refuses elements that are none', async () => {
      const rows = await rowsOf('mixed.json', ' [ {"id": "a", "t": "],}\\"["}, 7, null, [1, [2]], {"id": "b"} ]\n');
      assert.deepEqual(rows, [
        { row: 1, value: { id: 'a', t: '],}"[' } },
        { row: 2, refused: 'It is the number 7, not an object.' },
        { row: 3, refused: 'It is null, not an object.' },
        { row: 4, refused: 'It is a list, not an object.' },
        { row: 5, value: { id: 'b' } },
      ]);
      assert.deepEqual(await rowsOf('none.json', '[ ]'), []);
    });

    it('keeps an integer that a JavaScript number would change', async () => {
      const [row] = await rowsOf('large.json', '[{"id": 9007199254740993, "small": 12, "half": 0.5}]');
      assert.deepEqual(row, { row: 1, value: { id: '9007199254740993', small: 12, half: 0.5 } });
    });

    it('reads elements that lie across the pieces in which a large file comes', async () => {
      const wanted = Array.from({ length: 3_000 }, (_, index) => ({
        id: `${index}`,
        text: `"[{ ${'ä'.repeat(index % 300)}`,
      }));
      const rows = await rowsOf('pieces.json', JSON.stringify(wanted, null, 1));
      assert.deepEqual(
        rows.map((row) => ('value' in row ? row.value : row.refused)),
        wanted,
      );
    });

    it('names file, line and remedy of what does not parse', async () => {
      assert.match(
        (await refusalOf('broken.json', '[\n{"id": 1},\n{"id": }\n]')).message,
        /line 3: element 2 .*Correct it/s,
      );
      assert.match((await refusalOf('unfinished.json', '[\n{"id": 1},\n{"id": 2')).message, /ends before its array/);
      assert.match((await refusalOf('object.json', '{"id": 1}')).message, /array of objects, but begins with/);
      assert.match((await refusalOf('comma.json', '[{"id": 1},]')).message, /nothing between two commas/);
      assert.match((await refusalOf('after.json', '[{"id": 1}] [2]')).message, /after the array/);
      assert.match((await refusalOf('void.json', ' \n')).message, /is empty/);
    });
  });

  describe('JSON Lines', () => {
    it('refuses a line that is no object with its number and goes on', async () => {
      const rows = await rowsOf('lines.jsonl', '{"id":"a"}\r\n\n{"id":\n[1]\n{"id":"b"}');
      assert.deepEqual(rows[0], { row: 1, value: { id: 'a' } });
      assert.ok(rows[1] !== undefined && 'refused' in rows[1] && rows[1].row === 3);
      assert.deepEqual(rows[2], { row: 4, refused: 'The line is a list, not an object.' });
      assert.deepEqual(rows[3], { row: 5, value: { id: 'b' } });
    });
  });

  it('refuses a file that is not there, is a folder, is not UTF-8 or has an unknown ending', async () => {
    const missing = await Array.fromAsync(readRows({ file: join(folder, 'missing.csv') })).catch(String);
    assert.match(String(missing), /there is no such file. Check the path/);
    assert.match(
      String(await Array.fromAsync(readRows({ file: folder, format: 'csv' })).catch(String)),
      /this is no file/,
    );
    assert.match(
      (await refusalOf('utf16.csv', Buffer.from('\uFEFFid', 'utf16le'))).message,
      /UTF-16. Save it as UTF-8/,
    );
    assert.match((await refusalOf('latin1.csv', Buffer.from('id\n\xe4', 'latin1'))).message, /not UTF-8/);
    assert.throws(() => readRows({ file: join(folder, 'a.xlsx') }), /"\.xlsx" names no format/);
  });

  describe('as changes', () => {
    const column = { notNull: false, hasDefault: false, generated: false };
    const tasks: EntityTypeInfo = {
      entityType: 'Task',
      table: 'tasks',
      key: 'id',
      kind: 'table',
      count: 0,
      columns: [
        { ...column, name: 'id', type: 'integer', notNull: true },
        { ...column, name: 'title', type: 'text', notNull: true, hasDefault: true },
        { ...column, name: 'done', type: 'boolean' },
        { ...column, name: 'hours', type: 'numeric(6,2)' },
        { ...column, name: 'serial', type: 'bigint' },
        { ...column, name: 'details', type: 'jsonb' },
        { ...column, name: 'total', type: 'integer', generated: true },
      ],
    };
    const notes: EntityTypeInfo = {
      ...tasks,
      entityType: 'Note',
      table: 'note_documents',
      kind: 'document',
      columns: [],
    };

    async function run(options: ImportOptions, call: ImportCall = {}, more: Partial<ImportDeps> = {}) {
      const batches: ChangeInput[][] = [];
      const labels = new Set<string>();
      let applied = 0;
      const deps: ImportDeps = {
        describe: (entityType) => (entityType === 'Task' ? tasks : notes),
        recordBatch: async (inputs, label) => {
          batches.push([...inputs]);
          labels.add(label);
        },
        whenApplied: async () => {
          applied++;
        },
        maxPayloadBytes: 1_000,
        canonicalId: (entityType, id) => (entityType === 'Task' ? id.replace(/^0+(?=\d)/, '') : id),
        ...more,
      };
      const report = await importEntities(deps, options, call);
      return { report, batches, inputs: batches.flat(), labels: [...labels], applied };
    }

    it('turns cells into what their columns hold', async () => {
      const file = await write(
        'typed.csv',
        'id,title,done,hours,serial,details,total\n07,=1+1,yes,1.50,9007199254740993,"{""a"":1}",5\n8,,,,,,\n',
      );
      const { inputs, labels, report, applied } = await run({ file, entityType: 'Task' });
      assert.deepEqual(
        inputs.map(({ entityId, data }) => ({ entityId, data })),
        [
          {
            entityId: '7',
            data: { id: 7, title: '=1+1', done: true, hours: '1.50', serial: '9007199254740993', details: { a: 1 } },
          },
          { entityId: '8', data: { id: 8, done: null, hours: null, serial: null, details: null } },
        ],
      );
      assert.deepEqual(labels, [report.label]);
      assert.match(report.label, /^import:[0-9a-f-]{36}$/);
      assert.equal(applied, 1);
    });

    it('refuses what cannot become a change, each with its row and reason, and goes on', async () => {
      const rows = [
        '{"id": 1, "title": "good"}',
        '{"title": "no id"}',
        '{"id": 2, "colour": "red"}',
        '{"id": "01", "title": "again"}',
        '{"id": 3, "title": "nul \\u0000"}',
        '{"id": 4, "title": "half \\ud800"}',
        `{"id": 5, "title": "${'x'.repeat(1_001)}"}`,
        '{"id": {"a": 1}}',
        '{"id": 6, "title": "a literal \\\\u0000 is text"}',
      ];
      const { report, inputs } = await run({ file: await write('bad.jsonl', rows.join('\n')), entityType: 'Task' });
      assert.deepEqual(
        inputs.map((input) => input.entityId),
        ['1', '6'],
      );
      assert.equal(report.rowsRead, 9);
      assert.equal(report.rowsRecorded, 2);
      assert.equal(report.refusedTotal, 7);
      const reasons = [
        /has no id: the field "id"/,
        /"colour" is no column of table "tasks"/,
        /"1" stands in the file already/,
        /U\+0000/,
        /surrogate/,
        /1020 bytes, more than the 1000/,
        /neither text nor a number/,
      ];
      for (const [index, reason] of reasons.entries()) assert.match(report.refused[index]?.reason ?? '', reason);
      assert.deepEqual(
        report.refused.map((refused) => refused.row),
        [2, 3, 4, 5, 6, 7, 8],
      );
    });

    it('refuses a cell that is not of its column’s type, naming cell, column and table', async () => {
      const file = await write('types.csv', 'id,done,hours\n1,maybe,1\n2,no,ten\n');
      const { report } = await run({ file, entityType: 'Task' });
      assert.deepEqual(
        report.refused.map((refused) => refused.reason),
        [
          '"maybe" in column "done" of table "tasks" is no boolean (true or false).',
          '"ten" in column "hours" of table "tasks" is no number.',
        ],
      );
    });

    it('takes the id from the field that is named, and makes one for documents without', async () => {
      const named = await run({
        file: await write('a.json', '[{"cityId": 5, "name": "x"}]'),
        entityType: 'Note',
        idField: 'cityId',
      });
      assert.deepEqual(named.inputs[0], {
        entityType: 'Note',
        entityId: '5',
        operation: 'insert',
        data: { cityId: 5, name: 'x' },
      });
      const made = await run({ file: await write('b.csv', 'name,size\nx,1\n'), entityType: 'Note' });
      assert.match(made.inputs[0]?.entityId ?? '', /^[0-9a-f-]{36}$/);
      assert.deepEqual(made.inputs[0]?.data, { name: 'x', size: '1' });
    });

    it('records in batches, tells how far it is, and keeps what was recorded when cancelled', async () => {
      const lines = Array.from({ length: 5_500 }, (_, index) => JSON.stringify({ id: index }));
      const file = await write('many.jsonl', lines.join('\n'));
      const whole = await run({ file, entityType: 'Task' });
      assert.deepEqual(
        whole.batches.map((batch) => batch.length),
        [1_000, 1_000, 1_000, 1_000, 1_000, 500],
      );
      const stop = new AbortController();
      const seen: number[] = [];
      const onProgress = ({ rowsRecorded }: { rowsRecorded: number }): void => {
        seen.push(rowsRecorded);
        if (rowsRecorded === 2_000) stop.abort();
      };
      const { report, inputs, applied } = await run({ file, entityType: 'Task' }, { signal: stop.signal, onProgress });
      assert.equal(report.cancelled, true);
      assert.equal(report.rowsRecorded, inputs.length);
      assert.deepEqual(seen.slice(0, 2), [1_000, 2_000]);
      assert.ok(inputs.length >= 2_000 && inputs.length < 5_500);
      assert.equal(applied, 0);
    });

    it('says what was recorded before the file turned out to be broken', async () => {
      const objects = Array.from({ length: 1_500 }, (_, index) => JSON.stringify({ id: index }));
      const file = await write('half.json', `[${objects.join(',\n')},\n{"id": }]`);
      const error: unknown = await run({ file, entityType: 'Task' }).catch((thrown: unknown) => thrown);
      assert.ok(LocalDataError.isCode(error, 'IMPORT_UNREADABLE'), String(error));
      assert.match(error.message, /line 1501.*1000 rows before it are recorded; Undo Import/s);
    });
  });
});
