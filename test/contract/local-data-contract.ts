// What every LocalData does, in process or over RPC: one suite for both. Each suite run opens one database in memory;
// tests keep to entities and tables of their own, so that their order does not matter.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LocalData } from '../../src/engine/local-data.ts';
import type { Change, JsonObject, Operation } from '../../src/protocol/changes.ts';
import type { CommitEvent, ImportProgress } from '../../src/protocol/engine.ts';
import type { ErrorCode, LocalDataError } from '../../src/protocol/errors.ts';

/** Options that both implementations take. */
export interface ContractOptions {
  readonly memory: true;
  readonly retry?: { readonly attempts?: number; readonly baseDelayMs?: number; readonly maxDelayMs?: number };
  readonly maxPayloadBytes?: number;
}

export type OpenForContract = (options: ContractOptions) => Promise<LocalData>;

const TABLES = `
  CREATE TABLE projects (id text PRIMARY KEY, name text NOT NULL UNIQUE);
  CREATE TABLE tasks (
    id text PRIMARY KEY, title text NOT NULL, priority int NOT NULL DEFAULT 1 CHECK (priority BETWEEN 1 AND 9),
    done boolean NOT NULL DEFAULT false, note text, project_id text REFERENCES projects(id) ON DELETE CASCADE,
    slug text GENERATED ALWAYS AS (lower(title)) STORED);
  CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE samples (id text PRIMARY KEY, big int8, amount numeric, at timestamptz, raw bytea, tags jsonb, flags text[]);`;

const TYPES = [
  ['Project', 'projects'],
  ['Task', 'tasks'],
  ['Counter', 'counters'],
  ['Sample', 'samples'],
] as const;

export function describeLocalData(name: string, open: OpenForContract): void {
  describe(`LocalData ${name}`, function () {
    this.timeout(60_000);
    let data: LocalData;
    let directory: string;
    let counter = 0;

    const unique = (prefix: string): string => `${prefix}-${(counter += 1)}`;
    const record = (id: string, operation: Operation, payload?: JsonObject | null): Promise<Change> =>
      data.recordChange('Task', id, operation, payload);

    /** Records a change, waits until nothing can run, and gives the change as it then is. */
    async function settled(
      entityType: string,
      id: string,
      operation: Operation,
      payload?: JsonObject,
    ): Promise<Change> {
      const change = await data.recordChange(entityType, id, operation, payload);
      await data.whenIdle();
      return latest(change);
    }

    async function latest({ id }: Change): Promise<Change> {
      const change = await data.getChange(id);
      assert.ok(change !== undefined);
      return change;
    }

    async function changesOf(entityId: string, entityType = 'Task'): Promise<Change[]> {
      return (await data.listChanges({ entityType, entityId })).changes;
    }

    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'local-data-contract-'));
      data = await open({
        memory: true,
        retry: { attempts: 2, baseDelayMs: 20, maxDelayMs: 50 },
        maxPayloadBytes: 100_000,
      });
      await data.createChangesTable();
      await data.exec(TABLES);
      for (const [entityType, table] of TYPES) await data.registerEntityType({ entityType, table, key: 'id' });
    });

    after(async () => {
      await data.close();
      await rm(directory, { recursive: true, force: true });
    });

    afterEach(() => data.startChangeProcessor());

    describe('the changes table', () => {
      it('is made once, and making it again changes nothing', async () => {
        const change = await settled('Task', unique('kept'), 'insert', { title: 'kept' });
        await data.createChangesTable();
        assert.equal(await data.doesChangesTableExist(), true);
        assert.deepEqual(await latest(change), change);
      });

      it('has the ten columns and the three indexes', async () => {
        const columns = await data.query(
          `SELECT column_name AS name, data_type AS type FROM information_schema.columns WHERE table_name = 'local_changes'`,
        );
        const types = Object.fromEntries(columns.rows.map(({ name: column, type }) => [column, type]));
        const wanted = { id: 'text', entity_type: 'text', entity_id: 'text', operation: 'text', data: 'jsonb' };
        const counted = { timestamp: 'bigint', processed_local: 'boolean', processed_sync: 'boolean', error: 'text' };
        assert.partialDeepStrictEqual(types, { ...wanted, ...counted, attempts: 'integer' });
        const indexes = await data.query(`SELECT indexname FROM pg_indexes WHERE tablename = 'local_changes'`);
        const names = indexes.rows.map(({ indexname }) => indexname);
        for (const suffix of ['processed_local', 'processed_sync', 'entity']) {
          assert.ok(names.includes(`idx_local_changes_${suffix}`), String(names));
        }
      });
    });

    describe('entity types', () => {
      it('are listed with table, key, kind, columns and references', async () => {
        const task = (await data.listEntityTypes()).find(({ entityType }) => entityType === 'Task');
        assert.ok(task !== undefined);
        assert.deepEqual([task.key, task.kind], ['id', 'table']);
        const column = (wanted: string) => task.columns.find(({ name: found }) => found === wanted);
        assert.equal(column('title')?.notNull, true);
        assert.equal(column('priority')?.hasDefault, true);
        assert.equal(column('slug')?.generated, true);
        assert.equal(column('project_id')?.references?.entityType, 'Project');
      });

      it('need a table that is there', async () => {
        const registering = data.registerEntityType({ entityType: 'Ghost', table: 'no_such_table' });
        await assert.rejects(registering, hasCode('UNKNOWN_TABLE'));
      });

      it('without a table keep documents, with the key in them', async () => {
        const info = await data.registerEntityType({ entityType: 'Note' });
        assert.equal(info.kind, 'document');
        const note = await data.upsertEntity('Note', 'n1', { text: 'hello', nested: { deep: [1, null] } });
        assert.deepEqual(note, { id: 'n1', text: 'hello', nested: { deep: [1, null] } });
        await data.upsertEntity('Note', 'n1', { text: 'bye' });
        assert.deepEqual(await data.getEntity('Note', 'n1'), { ...note, text: 'bye' });
      });

      it('describe their payloads as JSON Schema, with nothing required in a patch', async () => {
        const insert = await data.describePayload('Task', 'insert');
        assert.ok(Array.isArray(insert['required']) && insert['required'].includes('title'));
        const { required = [] } = await data.describePayload('Task', 'update');
        assert.deepEqual(required, []);
        await assert.rejects(data.describePayload('Ghost', 'insert'), hasCode('UNKNOWN_ENTITY_TYPE'));
      });
    });

    describe('recording a change', () => {
      it('resolves with the change as recorded, and the processor applies it', async () => {
        const id = unique('recorded');
        const change = await record(id, 'insert', { title: 'Write' });
        assert.deepEqual([change.entityType, change.entityId, change.operation], ['Task', id, 'insert']);
        assert.deepEqual([change.data, change.status, change.processedLocal], [{ title: 'Write' }, 'pending', false]);
        assert.deepEqual(
          [change.processedSync, change.error, change.attempts, change.origin],
          [false, null, 0, 'local'],
        );
        assert.ok(Number.isSafeInteger(change.seq) && Number.isSafeInteger(change.timestamp));
        await data.whenIdle();
        const applied = await latest(change);
        assert.deepEqual([applied.status, applied.processedLocal, applied.reason], ['applied', true, null]);
        assert.equal(applied.result?.['slug'], 'write');
        assert.equal((await data.getEntity('Task', id))?.['title'], 'Write');
      });

      it('is refused at the door, naming what is wrong, and then records nothing', async () => {
        const before = (await data.query('SELECT count(*) AS n FROM local_changes')).rows;
        const refusals: [ErrorCode, () => Promise<unknown>][] = [
          ['UNKNOWN_OPERATION', () => record('x', 'upsert' as Operation, {})],
          ['MISSING_DATA', () => record('x', 'insert')],
          ['MISSING_DATA', () => record('x', 'update', null)],
          ['INVALID_PAYLOAD', () => record('x', 'insert', [1] as unknown as JsonObject)],
          ['INVALID_PAYLOAD', () => record('x', 'insert', 'text' as unknown as JsonObject)],
          ['EMPTY_ENTITY_ID', () => record('', 'insert', { title: 'x' })],
          ['PAYLOAD_TOO_LARGE', () => record('x', 'insert', { title: 'x'.repeat(100_001) })],
          ['NUL_CHARACTER', () => record('x', 'insert', { title: 'a\u0000b' })],
        ];
        for (const [code, refused] of refusals) await assert.rejects(refused, hasCode(code), code);
        assert.deepEqual((await data.query('SELECT count(*) AS n FROM local_changes')).rows, before);
      });

      it('of a column that is not there, another key, or an unknown type is refused or fails at once with that code', async () => {
        const cases: [ErrorCode, string, JsonObject][] = [
          ['UNKNOWN_COLUMN', 'Task', { title: 'x', colour: 'red' }],
          ['KEY_MISMATCH', 'Task', { id: 'other', title: 'x' }],
          ['UNKNOWN_ENTITY_TYPE', 'Ghost', { title: 'x' }],
        ];
        for (const [code, entityType, payload] of cases) {
          const change = await settled(entityType, unique('unfit'), 'insert', payload);
          assert.deepEqual([change.status, change.failure?.code, change.failure?.kind], ['failed', code, 'permanent']);
          await assert.rejects(data.upsertEntity(entityType, unique('unfit'), payload), hasCode(code));
        }
      });

      it('takes many in their order, or none', async () => {
        const id = unique('many');
        const changes = await data.recordChanges([
          { entityType: 'Task', entityId: id, operation: 'insert', data: { title: 'a' } },
          ...Array.from({ length: 12 }, (_, n) => {
            return { entityType: 'Task', entityId: id, operation: 'update' as const, data: { title: `t${n}` } };
          }),
        ]);
        assert.deepEqual(
          changes.map(({ seq }) => seq),
          changes.map(({ seq }) => seq).toSorted((a, b) => a - b),
        );
        await data.whenIdle();
        assert.equal((await data.getEntity('Task', id))?.['title'], 't11');
        const refused = data.recordChanges([
          { entityType: 'Task', entityId: unique('none'), operation: 'insert', data: { title: 'a' } },
          { entityType: 'Task', entityId: '', operation: 'delete' },
        ]);
        await assert.rejects(refused, hasCode('EMPTY_ENTITY_ID'));
        assert.deepEqual(await changesOf(`none-${counter}`), []);
        assert.deepEqual(await data.recordChanges([]), []);
      });
    });

    describe('what operations mean', () => {
      it('an insert of an entity that exists fails', async () => {
        const id = unique('twice');
        await settled('Task', id, 'insert', { title: 'a' });
        const second = await settled('Task', id, 'insert', { title: 'b' });
        assert.deepEqual([second.status, second.failure?.code], ['failed', '23505']);
        assert.equal((await data.getEntity('Task', id))?.['title'], 'a');
      });

      it('an update patches the keys present, null meaning NULL, and of a missing entity fails', async () => {
        const id = unique('patched');
        await settled('Task', id, 'insert', { title: 'a', note: 'n', priority: 3 });
        await settled('Task', id, 'update', { note: null });
        assert.partialDeepStrictEqual(await data.getEntity('Task', id), { title: 'a', note: null, priority: 3 });
        const missing = await settled('Task', unique('missing'), 'update', { title: 'a' });
        assert.equal(missing.status, 'failed');
      });

      it('a delete deletes, and of a missing entity is applied', async () => {
        const id = unique('deleted');
        await settled('Task', id, 'insert', { title: 'a' });
        assert.equal((await settled('Task', id, 'delete')).status, 'applied');
        assert.equal(await data.getEntity('Task', id), undefined);
        assert.equal((await settled('Task', id, 'delete')).status, 'applied');
      });

      it('ids that the key type holds as one are one lane', async () => {
        await data.upsertEntity('Counter', '7', { n: 1 });
        const change = await settled('Counter', '07', 'update', { n: 2 });
        assert.deepEqual([change.entityId, change.status], ['7', 'applied']);
        assert.equal((await data.getEntity('Counter', '007'))?.['n'], 2);
      });
    });

    describe('lanes', () => {
      it('a failed change blocks the later ones of its entity and no other', async () => {
        const [bad, good] = [unique('bad'), unique('good')];
        const failed = await settled('Task', bad, 'insert', { title: 'a', priority: 99 });
        const later = await settled('Task', bad, 'update', { title: 'b' });
        const other = await settled('Task', good, 'insert', { title: 'a' });
        assert.deepEqual([failed.status, failed.failure?.code, failed.failure?.kind], ['failed', '23514', 'permanent']);
        assert.deepEqual([later.status, later.blockedBy], ['blocked', failed.seq]);
        assert.ok(later.reason?.includes(String(failed.seq)), String(later.reason));
        assert.equal(other.status, 'applied');
      });

      it('an edit of the failed change frees its lane, in order', async () => {
        const id = unique('edited');
        const failed = await settled('Task', id, 'insert', { title: 'a', priority: 99 });
        const later = await settled('Task', id, 'update', { title: 'b' });
        const edited = await data.editChange(failed.id, { title: 'a', priority: 9 });
        assert.deepEqual([edited.id, edited.seq, edited.attempts], [failed.id, failed.seq, 0]);
        await data.whenIdle();
        assert.deepEqual([(await latest(failed)).status, (await latest(later)).status], ['applied', 'applied']);
        assert.partialDeepStrictEqual(await data.getEntity('Task', id), { title: 'b', priority: 9 });
      });

      it('a child whose parent still waits is blocked, and goes on when the parent is there', async () => {
        const [parent, child] = [unique('parent'), unique('child')];
        const failed = await settled('Project', parent, 'insert', {});
        const waiting = await settled('Task', child, 'insert', { title: 'a', project_id: parent });
        assert.deepEqual([failed.status, waiting.status], ['failed', 'blocked']);
        await data.editChange(failed.id, { name: parent });
        await data.whenIdle();
        assert.equal((await latest(waiting)).status, 'applied');
      });

      it('a child without any parent fails, and is tried again when the parent appears', async () => {
        const [parent, child] = [unique('parent'), unique('child')];
        const failed = await settled('Task', child, 'insert', { title: 'a', project_id: parent });
        assert.deepEqual([failed.status, failed.failure?.code], ['failed', '23503']);
        await data.upsertEntity('Project', parent, { name: parent });
        await data.whenIdle();
        assert.equal((await latest(failed)).status, 'applied');
      });

      it('a child waits no longer for a parent that has appeared by another way than the insert it waited for', async () => {
        const [parent, child] = [unique('parent'), unique('child')];
        const failed = await settled('Project', parent, 'insert', {});
        const waiting = await settled('Task', child, 'insert', { title: 'a', project_id: parent });
        assert.deepEqual([waiting.status, waiting.blockedBy], ['blocked', failed.seq]);
        await data.exec(`INSERT INTO projects (id, name) VALUES ('${parent}', '${parent}')`);
        await data.whenIdle();
        assert.equal((await latest(waiting)).status, 'applied');
      });

      it('a parent is known by the column that refers to its key, and not by others of the foreign key', async () => {
        await data.exec(`
          CREATE TABLE areas (id text PRIMARY KEY, region text NOT NULL, code text UNIQUE, UNIQUE (region, id));
          CREATE TABLE plots (id text PRIMARY KEY, region text, area_id text, code text REFERENCES areas (code),
            FOREIGN KEY (region, area_id) REFERENCES areas (region, id));`);
        await data.registerEntityType({ entityType: 'Area', table: 'areas' });
        await data.registerEntityType({ entityType: 'Plot', table: 'plots' });
        const area = await settled('Area', 'a1', 'insert', {});
        const plot = await settled('Plot', 'p1', 'insert', { region: 'north', area_id: 'a1' });
        assert.deepEqual([plot.status, plot.blockedBy], ['blocked', area.seq]);
        assert.deepEqual(plot.failure?.awaits, { entityType: 'Area', entityId: 'a1' });
        await data.editChange(area.id, { region: 'north', code: 'c1' });
        await data.whenIdle();
        assert.equal((await latest(plot)).status, 'applied');
        const { dependents } = await data.previewDiscard(area.id);
        assert.deepEqual(
          dependents.map(({ id }) => id),
          [plot.id],
        );
        // By its code no area can be told: it is no area's id.
        const byCode = await settled('Plot', 'p2', 'insert', { code: 'nowhere' });
        assert.deepEqual([byCode.failure?.code, byCode.failure?.awaits], ['23503', undefined]);
      });
    });

    describe('the entity API', () => {
      it('inserts what is not there, and gives back what defaults and generated columns made of it', async () => {
        const id = unique('upserted');
        const entity = await data.upsertEntity('Task', id, { title: 'New' });
        assert.partialDeepStrictEqual(entity, { id, title: 'New', priority: 1, done: false, slug: 'new' });
        const [change] = await changesOf(id);
        assert.deepEqual([change?.operation, change?.status], ['insert', 'applied']);
      });

      it('updates only the fields that differ, and records nothing when none does', async () => {
        const id = unique('differing');
        await data.upsertEntity('Task', id, { title: 'a', note: 'n' });
        await data.upsertEntity('Task', id, { title: 'b', note: 'n' });
        await data.upsertEntity('Task', id, { title: 'b', note: 'n' });
        const changes = await changesOf(id);
        assert.deepEqual(
          changes.map(({ operation, data: payload }) => [operation, payload]),
          [
            ['insert', { title: 'a', note: 'n' }],
            ['update', { title: 'b' }],
          ],
        );
        assert.equal(changes[1]?.previous?.['title'], 'a');
      });

      it('deletes, telling whether there was one; an upsert after that is an insert', async () => {
        const id = unique('gone');
        await data.upsertEntity('Task', id, { title: 'a' });
        assert.equal(await data.deleteEntity('Task', id), true);
        assert.equal(await data.deleteEntity('Task', id), false);
        await data.upsertEntity('Task', id, { title: 'b' });
        assert.deepEqual(
          (await changesOf(id)).map(({ operation }) => operation),
          ['insert', 'delete', 'insert'],
        );
      });

      it('drains what waits in the lane first', async () => {
        await data.stopChangeProcessor();
        const id = unique('drained');
        const waiting = await record(id, 'insert', { title: 'a', note: 'kept' });
        const entity = await data.upsertEntity('Task', id, { title: 'b' });
        assert.partialDeepStrictEqual(entity, { title: 'b', note: 'kept' });
        assert.equal((await latest(waiting)).status, 'applied');
      });

      it('refuses with LANE_BLOCKED where the lane is blocked, and records nothing', async () => {
        const id = unique('blocked');
        await settled('Task', id, 'insert', { title: 'a', priority: 99 });
        await assert.rejects(data.upsertEntity('Task', id, { title: 'b' }), hasCode('LANE_BLOCKED'));
        await assert.rejects(data.deleteEntity('Task', id), hasCode('LANE_BLOCKED'));
        assert.equal((await changesOf(id)).length, 1);
      });

      it('refuses with CONSTRAINT_VIOLATION what a constraint refuses, and records nothing', async () => {
        const id = unique('constrained');
        const upserting = data.upsertEntity('Task', id, { title: 'a', priority: 99 });
        await assert.rejects(upserting, hasCode('CONSTRAINT_VIOLATION'));
        assert.deepEqual([await data.getEntity('Task', id), await changesOf(id)], [undefined, []]);
      });

      it('carries large and exact values unchanged', async () => {
        const id = unique('values');
        const values = {
          big: '9007199254740993',
          amount: '12345678901234567890.123456789',
          at: '2026-01-02T03:04:05.678901Z',
          raw: Buffer.from([0, 1, 255]).toString('base64'),
          tags: { list: [1, 'two', null] },
          flags: ['a', 'b'],
        };
        const entity = await data.upsertEntity('Sample', id, values);
        assert.deepEqual(entity, { id, ...values });
        assert.deepEqual(await data.getEntity('Sample', id), entity);
        await data.upsertEntity('Sample', id, values);
        assert.equal((await changesOf(id, 'Sample')).length, 1);
        assert.deepEqual((await changesOf(id, 'Sample'))[0]?.result, entity);
      });
    });

    describe('queryEntities', () => {
      const project = 'query-project';

      before(async () => {
        await data.upsertEntity('Project', project, { name: project });
        await data.transaction((tx) => {
          for (let n = 1; n <= 25; n++) {
            const payload = { title: `Task ${n}`, priority: (n % 5) + 1, note: n % 2 === 0 ? 'even' : null };
            tx.upsertEntity('Task', `query-${String(n).padStart(2, '0')}`, { ...payload, project_id: project });
          }
        });
      });

      const ids = (rows: readonly JsonObject[]) => rows.map(({ id }) => String(id));

      it('pages through everything once, in a total order', async () => {
        const where = { project_id: project };
        const seen: string[] = [];
        let after: string | undefined;
        do {
          const page = await data.queryEntities('Task', { where, orderBy: ['-priority', 'title'], limit: 4, after });
          seen.push(...ids(page.rows));
          after = page.next ?? undefined;
        } while (after !== undefined);
        const whole = await data.queryEntities('Task', { where, orderBy: ['-priority', 'title'], limit: 100 });
        assert.deepEqual(seen, ids(whole.rows));
        assert.deepEqual([new Set(seen).size, whole.next], [25, null]);
        const skipped = await data.queryEntities('Task', { where, orderBy: ['-priority', 'title'], offset: 20 });
        assert.deepEqual(ids(skipped.rows), seen.slice(20));
      });

      it('filters by equality, null, comparisons and text', async () => {
        const count = (where: object) =>
          data.countEntities('Task', { where: { project_id: project, ...where } as JsonObject });
        assert.equal(await count({ note: null }), 13);
        assert.equal(await count({ note: 'even' }), 12);
        const conditions = [
          { field: 'project_id', op: '=', value: project },
          { field: 'priority', op: '>=', value: 4 },
          { field: 'title', op: 'startsWith', value: 'Task 1' },
        ] as const;
        const { rows } = await data.queryEntities('Task', { where: conditions });
        assert.deepEqual(ids(rows).toSorted(), ['query-13', 'query-14', 'query-18', 'query-19']);
        const found = await data.queryEntities('Task', { where: { project_id: project }, search: 'TASK 25' });
        assert.deepEqual(ids(found.rows), ['query-25']);
      });

      it('refuses a field that is no column, a type that is not known, and an option that does not fit', async () => {
        await assert.rejects(data.queryEntities('Task', { where: { colour: 1 } }), hasCode('UNKNOWN_COLUMN'));
        await assert.rejects(data.queryEntities('Task', { orderBy: 'colour' }), hasCode('UNKNOWN_COLUMN'));
        await assert.rejects(data.queryEntities('Ghost'), hasCode('UNKNOWN_ENTITY_TYPE'));
        await assert.rejects(data.queryEntities('Task', { after: 'not a page' }), hasCode('INVALID_ARGUMENT'));
      });
    });

    describe('transaction', () => {
      it('applies and records everything together, under one id', async () => {
        const [a, b] = [unique('tx'), unique('tx')];
        const { transactionId, changes } = await data.transaction(async (tx) => {
          tx.upsertEntity('Task', a, { title: 'a' });
          await Promise.resolve();
          tx.upsertEntity('Task', b, { title: 'b' });
          tx.deleteEntity('Task', a);
        });
        assert.ok(transactionId !== null);
        assert.deepEqual(new Set(changes.map((change) => change.transactionId)), new Set([transactionId]));
        assert.deepEqual(
          changes.map(({ operation }) => operation),
          ['insert', 'insert', 'delete'],
        );
        assert.deepEqual(
          [await data.getEntity('Task', a), (await data.getEntity('Task', b))?.['title']],
          [undefined, 'b'],
        );
      });

      it('leaves nothing when one of its operations is refused, or its callback throws', async () => {
        const id = unique('tx');
        const refused = data.transaction((tx) => {
          tx.upsertEntity('Task', id, { title: 'a' });
          tx.upsertEntity('Task', unique('tx'), { title: 'b', priority: 99 });
        });
        await assert.rejects(refused, hasCode('CONSTRAINT_VIOLATION'));
        const thrown = data.transaction((tx) => {
          tx.upsertEntity('Task', id, { title: 'a' });
          throw new RangeError('changed my mind');
        });
        await assert.rejects(thrown, RangeError);
        assert.deepEqual([await data.getEntity('Task', id), await changesOf(id)], [undefined, []]);
      });

      it('of nothing has no id, and above 1,000 changes is refused', async () => {
        assert.deepEqual(await data.transaction(() => {}), { transactionId: null, changes: [] });
        const large = data.transaction((tx) => {
          for (let n = 0; n <= 1_000; n++) tx.upsertEntity('Task', `large-${n}`, { title: 'a' });
        });
        await assert.rejects(large, hasCode('TRANSACTION_TOO_LARGE'));
        assert.equal(await data.getEntity('Task', 'large-0'), undefined);
      });
    });

    describe('SQL', () => {
      it('gives rows and fields, with parameters and exact numbers', async () => {
        const result = await data.query('SELECT $1::int8 AS big, $2::text AS text', ['9007199254740993', "it's"]);
        assert.deepEqual(result.rows, [{ big: '9007199254740993', text: "it's" }]);
        assert.deepEqual(
          result.fields.map((field) => field.name),
          ['big', 'text'],
        );
      });

      it('cuts a query at its limit and says so', async () => {
        const result = await data.query('SELECT * FROM generate_series(1, 20)', [], { limit: 5 });
        assert.deepEqual([result.rows.length, result.truncated], [5, true]);
        const all = await data.query('SELECT * FROM generate_series(1, 5)', [], { limit: 5 });
        assert.deepEqual([all.rows.length, all.truncated ?? false], [5, false]);
      });

      it('keeps query read-only, whatever is tried', async () => {
        await data.upsertEntity('Project', 'read-only', { name: 'read-only' });
        const attempts = [
          `DELETE FROM projects`,
          `WITH gone AS (DELETE FROM projects RETURNING 1) SELECT * FROM gone`,
          `SET TRANSACTION READ WRITE`,
          `SELECT 1; DELETE FROM projects`,
          `COMMIT; DELETE FROM projects`,
          `CREATE TABLE sneaky (id int)`,
        ];
        for (const sql of attempts) await assert.rejects(data.query(sql), isLocalDataError, sql);
        await assert.rejects(data.query(`DELETE FROM projects`), hasCode('READ_ONLY_QUERY'));
        assert.ok((await data.getEntity('Project', 'read-only')) !== undefined);
        await data.upsertEntity('Project', 'read-only', { name: 'still writable' });
      });

      it('reports wrong SQL with its SQLSTATE', async () => {
        await assert.rejects(data.query('SELECT FROM WHERE'), hasCode('SQL_ERROR'));
        await assert.rejects(data.exec('SELECT * FROM no_such_table'), hasCode('SQL_ERROR'));
      });

      it('that writes an entity table is captured as applied changes, cascades included', async () => {
        const [project, task] = [unique('captured'), unique('captured')];
        await data.exec(`INSERT INTO projects VALUES ('${project}', '${project}');
          INSERT INTO tasks (id, title, project_id) VALUES ('${task}', 'a', '${project}')`);
        await data.exec('UPDATE tasks SET title = $1 WHERE id = $2', ['b', task]);
        await data.exec('DELETE FROM projects WHERE id = $1', [project]);
        const changes = await changesOf(task);
        assert.deepEqual(
          changes.map(({ operation }) => operation),
          ['insert', 'update', 'delete'],
        );
        assert.deepEqual(new Set(changes.map(({ origin, status }) => `${origin} ${status}`)), new Set(['sql applied']));
        assert.deepEqual(changes[1]?.data, { title: 'b' });
        assert.equal((await changesOf(project, 'Project')).length, 2);
      });
    });

    describe('listing changes', () => {
      it('pages by seq in both directions and filters', async () => {
        const id = unique('listed');
        for (const title of ['a', 'b', 'c', 'd', 'e']) await data.upsertEntity('Task', id, { title });
        const filter = { entityType: 'Task', entityId: id, status: ['applied', 'failed'] } as const;
        const first = await data.listChanges({ ...filter, limit: 2 });
        assert.deepEqual([first.changes.length, first.next], [2, first.changes[1]?.seq]);
        const second = await data.listChanges({ ...filter, limit: 3, after: first.next ?? 0 });
        assert.deepEqual([second.changes.length, second.next], [3, null]);
        const newest = await data.listChanges({ ...filter, order: 'desc', limit: 1 });
        assert.deepEqual(newest.changes[0]?.data, { title: 'e' });
        assert.deepEqual((await data.listChanges({ ...filter, status: 'failed' })).changes, []);
        assert.equal(await data.getChange('no such change'), undefined);
      });

      it('marks entities by the change that needs a person most, however many wait behind it', async () => {
        const [stuck, fine, there] = [unique('stuck'), unique('fine'), unique('there')];
        const failed = await settled('Task', stuck, 'insert', { title: 'a', priority: 99 });
        await data.recordChanges(
          Array.from({ length: 1_100 }, (_, n) => {
            return { entityType: 'Task', entityId: stuck, operation: 'update' as const, data: { title: `t${n}` } };
          }),
        );
        await data.upsertEntity('Task', fine, { title: 'a' });
        await data.upsertEntity('Task', there, { title: 'a' });
        const refused = await settled('Task', there, 'update', { priority: 99 });
        await settled('Task', there, 'delete');
        await settled('Task', there, 'insert', { title: 'b' });
        await data.whenIdle();
        const marks = await data.listMarks('Task', [fine, there, stuck, 'nobody', "it's"]);
        const seen = Object.fromEntries(marks.map((mark) => [mark.entityId, [mark.changeId, mark.status]]));
        assert.deepEqual(seen, { [stuck]: [failed.id, 'failed'], [there]: [refused.id, 'failed'] });
        assert.equal(marks.find(({ entityId }) => entityId === stuck)?.reason, failed.reason);
        const notInserted = (await data.listNotInserted('Task', 1_000)).map(({ entityId }) => entityId);
        assert.deepEqual([notInserted.filter((id) => id === stuck).length, notInserted.includes(there)], [1, false]);
        assert.equal((await data.listNotInserted('Task', 1)).length, 1);
      });
    });

    describe('following changes', () => {
      it('watchChanges tells each commit that matches, until unsubscribed', async () => {
        const id = unique('watched');
        const seen: string[] = [];
        const stop = await data.watchChanges({ entityType: 'Task', entityId: id }, (changes) => {
          seen.push(...changes.map(({ operation, status }) => `${operation} ${status}`));
        });
        await data.upsertEntity('Task', unique('unwatched'), { title: 'a' });
        await data.upsertEntity('Task', id, { title: 'a' });
        await settled('Task', id, 'update', { title: 'b' });
        stop();
        await data.upsertEntity('Task', id, { title: 'c' });
        assert.deepEqual(seen, ['insert applied', 'update pending', 'update applied']);
      });

      it('a listener that throws keeps nobody else from being told', async () => {
        const stop = data.onCommit(() => {
          throw new Error('a listener of somebody else');
        });
        const event = new Promise<CommitEvent>((resolve) => data.onCommit(resolve));
        const id = unique('told');
        await data.upsertEntity('Task', id, { title: 'a' });
        stop();
        const { changes, entities } = await event;
        assert.deepEqual(
          changes.map(({ entityId }) => entityId),
          [id],
        );
        assert.equal(entities[0]?.upserted[0]?.['title'], 'a');
      });

      it('the stores hold what was written when the call that wrote it resolves', async () => {
        const { entities, changes } = data.stores;
        const applied = changes.getState().counts.applied;
        const id = unique('stored');
        await data.upsertEntity('Task', id, { title: 'a' });
        assert.equal(changes.getState().counts.applied, applied + 1);
        assert.equal(changes.getState().newest.applied[0]?.entityId, id);
        assert.equal(entities.getState().get('Task', id)?.['title'], 'a');
        const count = entities.getState().types.get('Task')?.count;
        assert.equal(count, await data.countEntities('Task'));
        await data.deleteEntity('Task', id);
        assert.equal(entities.getState().get('Task', id), undefined);
      });

      it('the stores notify once a commit', async () => {
        let notified = 0;
        const stop = data.stores.changes.subscribe(() => (notified += 1));
        await data.transaction((tx) => {
          for (let n = 0; n < 10; n++) tx.upsertEntity('Task', unique('once'), { title: 'a' });
        });
        stop();
        assert.equal(notified, 1);
      });

      it('a snapshot has the counts and the types', async () => {
        const snapshot = await data.snapshot();
        assert.deepEqual(snapshot.counts, data.stores.changes.getState().counts);
        assert.ok(snapshot.entityTypes.some(({ entityType }) => entityType === 'Task'));
      });
    });

    describe('the change processor', () => {
      it('leaves changes waiting while stopped, and goes on when started', async () => {
        await data.stopChangeProcessor();
        const change = await record(unique('stopped'), 'insert', { title: 'a' });
        await data.whenIdle();
        const waiting = await latest(change);
        assert.equal(waiting.status, 'pending');
        assert.ok(waiting.reason !== null);
        data.startChangeProcessor();
        await data.whenIdle();
        assert.equal((await latest(change)).status, 'applied');
      });

      it('processes once on demand while stopped', async () => {
        await data.stopChangeProcessor();
        const change = await record(unique('now'), 'insert', { title: 'a' });
        await data.processNow();
        assert.equal((await latest(change)).status, 'applied');
      });
    });

    describe('a transient failure', () => {
      before(async () => {
        await data.exec(`
          CREATE TABLE gate (is_open boolean NOT NULL);
          INSERT INTO gate VALUES (false);
          CREATE TABLE gated (id text PRIMARY KEY, n int);
          CREATE FUNCTION pass_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NOT (SELECT is_open FROM gate) THEN RAISE EXCEPTION 'the gate is shut' USING ERRCODE = '40001'; END IF;
            RETURN NEW; END $$;
          CREATE TRIGGER pass_gate BEFORE INSERT ON gated FOR EACH ROW EXECUTE FUNCTION pass_gate();`);
        await data.registerEntityType({ entityType: 'Gated', table: 'gated' });
      });

      it('is retried with a time for the next attempt, and applied once what was in the way is gone', async () => {
        await data.stopChangeProcessor();
        const change = await data.recordChange('Gated', unique('gated'), 'insert', { n: 1 });
        await data.processNow();
        const retrying = await latest(change);
        assert.deepEqual([retrying.status, retrying.attempts, retrying.failure?.kind], ['retrying', 1, 'transient']);
        assert.ok(retrying.nextAttemptAt !== null && retrying.reason !== null);
        await data.exec('UPDATE gate SET is_open = true');
        await data.processNow();
        assert.equal((await latest(change)).status, 'applied');
        await data.exec('UPDATE gate SET is_open = false');
      });

      it('is failed at the limit of attempts', async () => {
        await data.stopChangeProcessor();
        const change = await data.recordChange('Gated', unique('gated'), 'insert', { n: 1 });
        for (let attempt = 0; attempt < 2; attempt++) await data.processNow();
        const failed = await latest(change);
        assert.deepEqual([failed.status, failed.attempts, failed.failure?.code], ['failed', 2, '40001']);
        await data.discardChange(change.id);
      });
    });

    describe('repairing', () => {
      const failedChange = () => settled('Task', unique('failed'), 'insert', { title: 'a', priority: 99 });

      it('retry keeps id and place, starts the attempts anew, and fails again where nothing changed', async () => {
        const failed = await failedChange();
        const retried = await data.retryChange(failed.id);
        assert.deepEqual([retried.id, retried.seq], [failed.id, failed.seq]);
        await data.whenIdle();
        const again = await latest(failed);
        assert.deepEqual([again.status, again.failure?.code, again.attempts], ['failed', '23514', failed.attempts]);
      });

      it('retryFailed retries what matches and tells how many', async () => {
        const failed = await failedChange();
        const filter = { entityType: 'Task', entityId: failed.entityId };
        assert.equal(await data.retryFailed(filter), 1);
        await data.whenIdle();
        assert.equal(await data.retryFailed({ ...filter, entityId: 'nobody' }), 0);
      });

      it('refuses what is not there or cannot be done', async () => {
        for (const method of ['retryChange', 'previewDiscard', 'discardChange', 'restoreChange'] as const) {
          await assert.rejects(data[method]('no such change'), hasCode('CHANGE_NOT_FOUND'), method);
        }
        await assert.rejects(data.editChange('no such change', {}), hasCode('CHANGE_NOT_FOUND'));
        const applied = await settled('Task', unique('applied'), 'insert', { title: 'a' });
        await assert.rejects(data.retryChange(applied.id), hasCode('CHANGE_NOT_ALLOWED'));
        await assert.rejects(data.restoreChange(applied.id), hasCode('CHANGE_NOT_ALLOWED'));
      });

      it('discard of a failed change frees its lane', async () => {
        const id = unique('freed');
        await data.upsertEntity('Task', id, { title: 'a' });
        const failed = await settled('Task', id, 'update', { priority: 99 });
        const later = await settled('Task', id, 'update', { title: 'b' });
        assert.equal(later.status, 'blocked');
        assert.equal((await data.discardChange(failed.id)).status, 'discarded');
        await data.whenIdle();
        assert.equal((await latest(later)).status, 'applied');
        assert.partialDeepStrictEqual(await data.getEntity('Task', id), { title: 'b', priority: 1 });
      });

      it('discard of an applied change takes back its effect and keeps later ones; restore brings it back', async () => {
        const id = unique('undone');
        await data.upsertEntity('Task', id, { title: 'a', note: 'n' });
        const change = await settled('Task', id, 'update', { note: 'changed' });
        await settled('Task', id, 'update', { title: 'b' });
        const preview = await data.previewDiscard(change.id);
        assert.deepEqual([preview.before?.['note'], preview.after?.['note']], ['changed', 'n']);
        await data.discardChange(change.id);
        await data.whenIdle();
        assert.partialDeepStrictEqual(await data.getEntity('Task', id), { title: 'b', note: 'n' });
        await data.restoreChange(change.id);
        await data.whenIdle();
        assert.partialDeepStrictEqual(await data.getEntity('Task', id), { title: 'b', note: 'changed' });
        assert.equal((await latest(change)).status, 'applied');
      });

      it('discard of what others stand on is refused, listing them, or takes them with it', async () => {
        const [project, task] = [unique('stood-on'), unique('standing')];
        const parent = await settled('Project', project, 'insert', { name: project });
        const child = await settled('Task', task, 'insert', { title: 'a', project_id: project });
        const preview = await data.previewDiscard(parent.id);
        assert.deepEqual(
          preview.dependents.map(({ id }) => id),
          [child.id],
        );
        await assert.rejects(data.discardChange(parent.id), hasCode('HAS_DEPENDENTS'));
        assert.ok((await data.getEntity('Task', task)) !== undefined);
        await data.discardChange(parent.id, { withDependents: true });
        await data.whenIdle();
        assert.deepEqual([(await latest(parent)).status, (await latest(child)).status], ['discarded', 'discarded']);
        assert.equal(await data.getEntity('Project', project), undefined);
      });

      it('discard with what stands on it takes the whole of a transaction along that it reaches', async () => {
        const [project, task] = [unique('stood-on'), unique('standing')];
        await data.upsertEntity('Counter', '7001', { n: 1 });
        const parent = await settled('Project', project, 'insert', { name: project });
        const { changes } = await data.transaction((tx) => {
          tx.upsertEntity('Counter', '7001', { n: 2 });
          tx.upsertEntity('Task', task, { title: 'a', project_id: project });
        });
        const { dependents, dependentsTotal } = await data.previewDiscard(parent.id);
        assert.deepEqual([dependents.map(({ id }) => id), dependentsTotal], [changes.map(({ id }) => id), 2]);
        await data.discardChange(parent.id, { withDependents: true });
        await data.whenIdle();
        for (const change of changes) assert.equal((await latest(change)).status, 'discarded');
        assert.equal((await data.getEntity('Counter', '7001'))?.['n'], 1);
        assert.equal(await data.getEntity('Task', task), undefined);
      });
    });

    describe('undoing', () => {
      const noted = (change: Change) => [change.operation, change.data, change.status, change.note];

      it('an update writes back the fields it wrote, and only those, as a change that says so', async () => {
        const id = unique('undone');
        await data.upsertEntity('Task', id, { title: 'a', note: 'n' });
        const change = await settled('Task', id, 'update', { title: 'b', note: null });
        await data.upsertEntity('Task', id, { priority: 4 });
        const undo = await data.undoChange(change.id);
        assert.deepEqual(noted(undo), ['update', { note: 'n', title: 'a' }, 'applied', `undoes change ${change.seq}`]);
        assert.equal(undo.transactionId, null);
        assert.partialDeepStrictEqual(await data.getEntity('Task', id), {
          title: 'a',
          note: 'n',
          priority: 4,
          slug: 'a',
        });
        assert.deepEqual(await latest(change), change);
        assert.equal(data.stores.changes.getState().newest.applied[0]?.id, undo.id);
        assert.equal(data.stores.entities.getState().get('Task', id)?.['title'], 'a');
      });

      it('an insert deletes, and its undo brings all of it back', async () => {
        const id = unique('undone');
        const insert = await settled('Task', id, 'insert', { title: 'a', priority: 7 });
        const before = await data.getEntity('Task', id);
        const undo = await data.undoChange(insert.id);
        assert.deepEqual(noted(undo), ['delete', null, 'applied', `undoes change ${insert.seq}`]);
        assert.equal(await data.getEntity('Task', id), undefined);
        const again = await data.undoChange(undo.id);
        assert.deepEqual([again.operation, again.note], ['insert', `undoes change ${undo.seq}`]);
        assert.deepEqual(await data.getEntity('Task', id), before);
      });

      it("a document's field that was not there is taken out, and the others stay", async () => {
        await data.registerEntityType({ entityType: 'Note' });
        const id = unique('note');
        await data.upsertEntity('Note', id, { text: 'a', kept: [1] });
        await data.upsertEntity('Note', id, { text: 'b', added: true });
        const change = (await changesOf(id, 'Note')).at(-1);
        assert.ok(change !== undefined);
        const undo = await data.undoChange(change.id);
        assert.deepEqual(undo.data, { text: 'a', added: null });
        assert.partialDeepStrictEqual(await data.getEntity('Note', id), { text: 'a', kept: [1] });
        assert.equal((await data.getEntity('Note', id))?.['added'] ?? null, null);
      });

      it('a member of a transaction undoes all of it, newest first, as one transaction', async () => {
        const [kept, made, gone] = [unique('undone'), unique('undone'), unique('undone')];
        await data.upsertEntity('Task', kept, { title: 'a' });
        await data.upsertEntity('Task', gone, { title: 'gone' });
        const before = [await data.getEntity('Task', kept), await data.getEntity('Task', gone)];
        const { changes } = await data.transaction((tx) => {
          tx.upsertEntity('Task', kept, { title: 'b' });
          tx.upsertEntity('Task', made, { title: 'made' });
          tx.upsertEntity('Task', kept, { title: 'c' });
          tx.deleteEntity('Task', gone);
        });
        const [first] = changes;
        assert.ok(first !== undefined);
        const undo = await data.undoChange(first.id);
        assert.equal(undo.note, `undoes change ${first.seq}`);
        assert.ok(undo.transactionId !== null && undo.transactionId !== first.transactionId);
        const undone = (await data.listChanges({ order: 'desc', limit: 4 })).changes.toReversed();
        assert.deepEqual(
          undone.map(({ note, transactionId }) => [note, transactionId]),
          changes.toReversed().map(({ seq }) => [`undoes change ${seq}`, undo.transactionId]),
        );
        const after = [await data.getEntity('Task', kept), await data.getEntity('Task', gone)];
        assert.deepEqual(after, before);
        assert.equal(await data.getEntity('Task', made), undefined);
      });

      it('what a cascade took comes back after what it referred to', async () => {
        const [project, task] = [unique('undone'), unique('undone')];
        await data.upsertEntity('Project', project, { name: project });
        await data.upsertEntity('Task', task, { title: 'a', project_id: project });
        await data.deleteEntity('Project', project);
        const change = (await changesOf(project, 'Project')).at(-1);
        assert.ok(change !== undefined);
        await data.undoChange(change.id);
        assert.equal((await data.getEntity('Task', task))?.['project_id'], project);
      });

      it('is refused where there is nothing to undo, or something else is in the way, with what helps', async () => {
        const refused = async (id: string, code: ErrorCode, message: RegExp): Promise<void> => {
          const before = (await data.query('SELECT count(*) AS n FROM local_changes')).rows;
          await assert.rejects(data.undoChange(id), (error) => {
            hasCode(code)(error);
            assert.match(String(error), message);
            return true;
          });
          assert.deepEqual((await data.query('SELECT count(*) AS n FROM local_changes')).rows, before);
        };
        await refused('no such change', 'CHANGE_NOT_FOUND', /no such change/);
        const failed = await settled('Task', unique('undone'), 'insert', { title: 'a', priority: 99 });
        await refused(failed.id, 'CHANGE_NOT_ALLOWED', /Discard it instead/);
        const id = unique('undone');
        const insert = await settled('Task', id, 'insert', { title: 'a' });
        const update = await settled('Task', id, 'update', { title: 'b' });
        await data.undoChange(update.id);
        await refused(update.id, 'CHANGE_NOT_ALLOWED', /is as it was before it/);
        const remove = await settled('Task', id, 'delete');
        await refused(insert.id, 'CHANGE_NOT_ALLOWED', /is gone already/);
        await refused(update.id, 'CHANGE_NOT_ALLOWED', /is gone\. Undo its delete first/);
        const nothing = await settled('Task', id, 'delete');
        await refused(nothing.id, 'CHANGE_NOT_ALLOWED', /deleted nothing/);
        await data.upsertEntity('Task', id, { title: 'again' });
        await refused(remove.id, 'CHANGE_NOT_ALLOWED', /exists again/);
        const [discarded] = (await data.listChanges({ entityId: id, order: 'desc', limit: 1 })).changes;
        assert.ok(discarded !== undefined);
        await data.discardChange(discarded.id);
        await refused(discarded.id, 'CHANGE_NOT_ALLOWED', /taken back already/);
        const project = unique('undone');
        const parent = await settled('Project', project, 'insert', { name: project });
        await data.upsertEntity('Task', unique('undone'), { title: 'child', project_id: project });
        await refused(parent.id, 'HAS_DEPENDENTS', /depend/);
        assert.ok((await data.getEntity('Project', project)) !== undefined);
      });
    });

    describe('importing', () => {
      it('records rows as changes under one label, reports those refused, and undoes it', async () => {
        const file = join(directory, 'counters.csv');
        await writeFile(file, 'id,n\n101,1\n102,2\n103\n104,4\n');
        const progress: ImportProgress[] = [];
        const options = { file, entityType: 'Counter' };
        const report = await data.importEntities(options, { onProgress: (step) => progress.push(step) });
        await data.whenIdle();
        assert.deepEqual([report.rowsRecorded, report.refusedTotal, report.cancelled], [3, 1, false]);
        assert.equal(report.refused[0]?.row, 4);
        assert.ok(progress.length > 0);
        assert.equal((await data.getEntity('Counter', '104'))?.['n'], 4);
        const labelled = await data.listChanges({ label: report.label });
        assert.equal(labelled.changes.length, 3);
        assert.equal((await data.listImports()).find(({ label }) => label === report.label)?.undone, false);
        await data.upsertEntity('Counter', '102', { n: 20 });
        await assert.rejects(data.undoImport(report.label), hasCode('HAS_DEPENDENTS'));
        const [later] = (await data.listChanges({ entityType: 'Counter', entityId: '102', order: 'desc' })).changes;
        assert.ok(later !== undefined);
        await data.discardChange(later.id);
        assert.equal((await data.undoImport(report.label)).undone, 3);
        await data.whenIdle();
        assert.equal(await data.getEntity('Counter', '101'), undefined);
        assert.equal((await data.listImports()).find(({ label }) => label === report.label)?.undone, true);
      });

      it('lets go what waited for a row of it when it is undone, which goes on once that entity is there', async () => {
        const [project, task] = [unique('imported'), unique('waiting')];
        const file = join(directory, 'projects.jsonl');
        await writeFile(file, JSON.stringify({ id: project, name: null }));
        const { label } = await data.importEntities({ file, entityType: 'Project' });
        await data.whenIdle();
        const waiting = await settled('Task', task, 'insert', { title: 'a', project_id: project });
        assert.equal(waiting.status, 'blocked');
        await data.undoImport(label);
        await data.whenIdle();
        const alone = await latest(waiting);
        assert.deepEqual([alone.status, alone.blockedBy, alone.failure?.code], ['failed', null, '23503']);
        await data.upsertEntity('Project', project, { name: project });
        await data.whenIdle();
        assert.equal((await latest(waiting)).status, 'applied');
      });

      it('stops when it is told to, and keeps and lists what was recorded until then', async () => {
        const file = join(directory, 'many.jsonl');
        const rows = Array.from({ length: 20_000 }, (_, n) => JSON.stringify({ id: 1_000_000 + n, n }));
        await writeFile(file, rows.join('\n'));
        const controller = new AbortController();
        const report = await data.importEntities(
          { file, entityType: 'Counter' },
          { signal: controller.signal, onProgress: () => controller.abort() },
        );
        assert.equal(report.cancelled, true);
        assert.ok(report.rowsRecorded < 20_000, String(report.rowsRecorded));
        await data.whenIdle();
        const imported = (await data.listImports()).find(({ label }) => label === report.label);
        assert.equal(imported?.rowsRecorded ?? 0, report.rowsRecorded);
      });

      it('refuses a file that cannot be read, a type that is not known, and a label that is not there', async () => {
        const file = join(directory, 'nothing.json');
        await assert.rejects(data.importEntities({ file, entityType: 'Counter' }), hasCode('IMPORT_UNREADABLE'));
        await writeFile(file, '[]');
        await assert.rejects(data.importEntities({ file, entityType: 'Ghost' }), hasCode('UNKNOWN_ENTITY_TYPE'));
        await assert.rejects(data.undoImport('no such import'), hasCode('IMPORT_NOT_FOUND'));
      });
    });

    describe('the whole', () => {
      it('tells about itself', async () => {
        const diagnostics = await data.diagnostics();
        assert.deepEqual([diagnostics.openedFrom, diagnostics.dataDir], ['memory', null]);
        assert.deepEqual(diagnostics.counts, data.stores.changes.getState().counts);
        assert.ok(diagnostics.rssBytes > 0);
      });

      it('refuses a call whose signal was given up already', async () => {
        const signal = AbortSignal.abort();
        await assert.rejects(data.query('SELECT 1', [], { signal }), hasCode('CANCELLED'));
        await assert.rejects(data.queryEntities('Task', {}, { signal }), hasCode('CANCELLED'));
        await assert.rejects(data.countEntities('Task', undefined, { signal }), hasCode('CANCELLED'));
      });

      it('writes a backup', async () => {
        const file = join(directory, 'backup.tar.gz');
        await data.backup(file);
        assert.deepEqual([...(await readFile(file)).subarray(0, 2)], [0x1f, 0x8b]);
      });

      it('creates sample data with three troubles that can be repaired', async () => {
        const other = await open({ memory: true });
        try {
          await other.createSampleData();
          await other.whenIdle();
          const { failed, blocked } = other.stores.changes.getState().counts;
          assert.ok(failed >= 2 && blocked >= 1, `failed ${failed}, blocked ${blocked}`);
          const total = (await other.snapshot()).counts;
          await other.createSampleData();
          await other.whenIdle();
          assert.deepEqual((await other.snapshot()).counts, total);
        } finally {
          await other.close();
        }
        await other.close();
        await assert.rejects(other.getEntity('Task', 't1'), hasCode('ENGINE_CLOSED'));
        await assert.rejects(other.recordChange('Task', 't1', 'delete'), hasCode('ENGINE_CLOSED'));
        await assert.rejects(other.whenIdle(), hasCode('ENGINE_CLOSED'));
        await assert.rejects(other.processNow(), hasCode('ENGINE_CLOSED'));
      });
    });
  });
}

function hasCode(code: ErrorCode): (error: unknown) => true {
  return (error) => {
    assert.ok(isLocalDataError(error), String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

/** By name: the built engine has a class of its own. */
function isLocalDataError(error: unknown): error is LocalDataError {
  return error instanceof Error && error.name === 'LocalDataError';
}
