// What a person repairs while a server is there: the entity stays base + what is in place here, the server gets what was
// decided last, and what it has already is undone rather than taken back. Real engine, real server, real HTTP.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Change, JsonObject } from '../../src/protocol/changes.ts';
import type { ErrorCode } from '../../src/protocol/errors.ts';
import { httpTransport } from '../../src/sync/http-transport.ts';
import type { OpenTransport, SyncTransport } from '../../src/sync/transport.ts';
import { LocalDataError, type LocalDataEngine, temporaryDirectory } from '../support/engine.ts';
import { type OpenOptions, type Rules, SyncSuite, startServer, whenChange, whenState } from '../support/sync.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

type Validate = NonNullable<Parameters<typeof startServer>[0]['validate']>;

const refuseForbidden: Validate = ({ after }) =>
  after?.['title'] === 'forbidden' ? { reason: 'The title is not allowed.', field: 'title' } : null;

describe('repairing beside a server', () => {
  let validate: Validate = refuseForbidden;
  const suite = new SyncSuite({ validate: (write) => validate(write) });

  beforeEach(() => {
    validate = refuseForbidden;
  });

  const client = (options?: OpenOptions): Promise<LocalDataEngine> => suite.client(options);

  const connected = (rules?: Rules): Promise<LocalDataEngine> => suite.connected(rules);

  /** Task t1 is on the server; then, offline, a change that the server refuses and one behind it, and both are sent. */
  async function refusedAndBehind(
    a: LocalDataEngine,
    refused: JsonObject = { title: 'forbidden' },
    behind: JsonObject = { done: true },
  ): Promise<[Change, Change]> {
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
    await a.sync.whenSynced();
    await a.sync.goOffline();
    await a.upsertEntity('Task', 't1', refused);
    await a.upsertEntity('Task', 't1', behind);
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const [, head, later] = await changesOf(a, 't1');
    assert.deepEqual([head?.status, later?.status], ['failed', 'blocked']);
    assert.ok(head !== undefined && later !== undefined);
    return [head, later];
  }

  async function changesOf(data: LocalDataEngine, entityId: string): Promise<Change[]> {
    return (await data.listChanges({ entityId })).changes;
  }

  async function latest(data: LocalDataEngine, { id }: { readonly id: string }): Promise<Change> {
    const change = await data.getChange(id);
    assert.ok(change !== undefined);
    return change;
  }

  /** A database whose server's answers to what is pushed are held back from now until they are let through. */
  async function held(options: OpenOptions = {}) {
    const arrived = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    let isHolding = false;
    const late: OpenTransport = (given) => {
      const transport = httpTransport({ ...given, url: suite.url });
      const push: SyncTransport['push'] = async (request, call) => {
        const answer = await transport.push(request, call);
        if (isHolding) arrived.resolve();
        if (isHolding) await answered.promise;
        return answer;
      };
      // What the feed says is held back with it, because it settles as well.
      const pull: SyncTransport['pull'] = async (request, call) => {
        const page = await transport.pull(request, call);
        if (isHolding) await answered.promise;
        return page;
      };
      return { ...transport, push, pull };
    };
    const a = await client({ transports: { late }, ...options });
    await a.sync.connect({ url: 'late:server', token: suite.token });
    await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
    await a.sync.whenSynced();
    /** Resolves once the server has what is pushed from now on, and its answer is held back. */
    const startHolding = (): Promise<void> => {
      isHolding = true;
      return arrived.promise;
    };
    const hold = async (data: JsonObject): Promise<Change> => {
      const whenArrived = startHolding();
      await a.upsertEntity('Task', 't1', data);
      await whenArrived;
      const change = (await changesOf(a, 't1')).at(-1);
      assert.equal(change?.status, 'applied');
      return change;
    };
    return { a, startHolding, hold, letThrough: () => answered.resolve() };
  }

  const task = (data: LocalDataEngine, id = 't1') => data.getEntity('Task', id);

  describe('an edit of a change that is in place here', () => {
    it('shows at once under the later changes, keeps its place, and is sent under a new id with what waited behind it', async () => {
      const a = await connected();
      const [refused, later] = await refusedAndBehind(a);
      await a.sync.goOffline();
      const edited = await a.editChange(refused.id, { priority: 7 });
      assert.partialDeepStrictEqual(await task(a), { title: 'base', priority: 7, done: true });
      assert.notEqual(edited.id, refused.id);
      assert.deepEqual([edited.seq, edited.status, edited.error, edited.attempts], [refused.seq, 'applied', null, 0]);
      assert.deepEqual([edited.data, edited.failure], [{ priority: 7 }, null]);
      assert.equal(await a.getChange(refused.id), undefined);
      assert.deepEqual(
        [(await latest(a, later)).status, (await latest(a, later)).previous?.['title']],
        ['applied', 'base'],
      );
      await a.sync.goOnline();
      await a.sync.whenSynced();
      assert.deepEqual([(await latest(a, edited)).status, (await latest(a, later)).status], ['synced', 'synced']);
      const b = await connected();
      assert.deepEqual(await task(b), await task(a));
    });

    it('is one change to the stores and to who watches, and not two', async () => {
      const a = await connected();
      const [refused] = await refusedAndBehind(a);
      await a.sync.goOffline();
      const seen: string[] = [];
      const stop = await a.watchChanges({ entityId: 't1' }, (changes) => {
        seen.push(...changes.filter(({ seq }) => seq === refused.seq).map(({ id }) => id));
      });
      const edited = await a.editChange(refused.id, { title: 'allowed' });
      stop();
      assert.deepEqual(seen, [edited.id]);
      const { newest, counts } = a.stores.changes.getState();
      const shown = Object.values(newest).flat();
      assert.deepEqual(
        shown.filter(({ seq }) => seq === refused.seq).map(({ id, status }) => [id, status]),
        [[edited.id, 'applied']],
      );
      assert.deepEqual([counts.failed, counts.blocked, counts.applied], [0, 0, 2]);
    });

    it('sends the new values where the table had brought the old ones to another form', async () => {
      const a = await connected();
      await a.exec(`ALTER TABLE tasks ADD COLUMN amount numeric(10, 2)`);
      validate = ({ after }) => (after?.['amount'] === '1.50' ? { reason: 'Not 1.50.' } : null);
      await a.upsertEntity('Task', 't1', { title: 'base' });
      await a.upsertEntity('Task', 't1', { amount: 1.5 });
      await a.sync.whenSynced();
      const refused = (await changesOf(a, 't1')).at(-1);
      assert.equal(refused?.status, 'failed');
      const edited = await a.editChange(refused.id, { amount: 2.5 });
      assert.equal((await task(a))?.['amount'], '2.50');
      assert.equal((await latest(a, edited)).result?.['amount'], '2.50');
      await a.sync.whenSynced();
      assert.equal((await latest(a, edited)).status, 'synced');
      const b = await connected();
      await b.exec(`ALTER TABLE tasks ADD COLUMN amount numeric(10, 2)`);
      const base = await b.query(`SELECT data->>'amount' AS amount FROM local_data.entity_bases`);
      assert.deepEqual(base.rows, [{ amount: '2.50' }]);
    });

    it('makes of an insert what the table makes of the new data, and keeps what only a default had made', async () => {
      const a = await connected();
      await a.exec(`ALTER TABLE tasks ADD COLUMN made uuid NOT NULL DEFAULT gen_random_uuid(),
        ALTER COLUMN priority SET DEFAULT 3`);
      await a.upsertEntity('Task', 't1', { title: 'forbidden', priority: 8 });
      await a.sync.whenSynced();
      const before = await task(a);
      const [refused] = await changesOf(a, 't1');
      assert.equal(refused?.status, 'failed');
      await a.editChange(refused.id, { title: 'allowed', settings: { a: 1 } });
      const wanted = { ...before, title: 'allowed', priority: 3, settings: { a: 1 } };
      assert.deepEqual(await task(a), wanted);
      await a.sync.whenSynced();
      assert.deepEqual(await task(a), wanted);
      assert.equal((await changesOf(a, 't1'))[0]?.status, 'synced');
    });

    it('of one that waits behind another shows at once, keeps its id, and waits on', async () => {
      const a = await connected();
      const [refused, later] = await refusedAndBehind(a, { title: 'forbidden' }, { priority: 5 });
      const edited = await a.editChange(later.id, { priority: 6 });
      assert.deepEqual([edited.id, edited.status, edited.blockedBy], [later.id, 'blocked', refused.seq]);
      assert.partialDeepStrictEqual(await task(a), { title: 'forbidden', priority: 6 });
    });

    it('of one that has never left keeps its id, though it is applied', async () => {
      const a = await connected();
      await a.sync.goOffline();
      await a.upsertEntity('Task', 't1', { title: 'first' });
      await a.upsertEntity('Task', 't1', { priority: 2 });
      const [insert] = await changesOf(a, 't1');
      assert.ok(insert !== undefined);
      const edited = await a.editChange(insert.id, { title: 'better' });
      assert.equal(edited.id, insert.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'better', priority: 2 });
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const b = await connected();
      assert.deepEqual(await task(b), await task(a));
    });

    it('with a value that the table refuses changes nothing, and says which', async () => {
      const a = await connected();
      await a.exec(`ALTER TABLE tasks ADD CHECK (priority < 10);
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          RAISE 'not this title' USING ERRCODE = 'LD001'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON tasks FOR EACH ROW WHEN (NEW.title = 'raised') EXECUTE FUNCTION refuse()`);
      const [refused] = await refusedAndBehind(a);
      const before = [await task(a), await a.listChanges()];
      const refusals: [string, JsonObject, RegExp][] = [
        ['CONSTRAINT_VIOLATION', { priority: 99 }, /^Change 2 \(update of Task "t1"\) was not edited.*priority is 99/],
        ['CONSTRAINT_VIOLATION', { project_id: 'none' }, /refers to Project "none" by project_id, and there is none/],
        ['CONSTRAINT_VIOLATION', { priority: 'many' }, /was not edited/],
        ['CONSTRAINT_VIOLATION', { title: 'raised' }, /was not edited. not this title/],
        ['UNKNOWN_COLUMN', { colour: 'red' }, /"colour" is no column/],
        ['KEY_MISMATCH', { id: 't2' }, /"t2"/],
      ];
      for (const [code, data, message] of refusals) {
        await assert.rejects(a.editChange(refused.id, data), (error: Error & { code?: string }) => {
          assert.equal(error.code, code, error.message);
          assert.match(error.message, message);
          return true;
        });
      }
      assert.deepEqual([await task(a), await a.listChanges()], before);
    });

    it('takes an open conflict away: what the server then says of it is what is shown', async () => {
      const rules = { Task: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
      await a.sync.whenSynced();
      const b = await connected(rules);
      await a.sync.goOffline();
      await a.upsertEntity('Task', 't1', { priority: 2 });
      await b.upsertEntity('Task', 't1', { priority: 3 });
      await b.sync.whenSynced();
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const [conflicted] = await a.sync.conflicts();
      assert.ok(conflicted !== undefined);
      await a.sync.goOffline();
      const edited = await a.editChange(conflicted.id, { title: 'forbidden' });
      assert.deepEqual([edited.status, edited.conflict, edited.seq], ['applied', null, conflicted.seq]);
      assert.notEqual(edited.id, conflicted.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'forbidden', priority: 3 });
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const refused = await latest(a, edited);
      assert.deepEqual([refused.status, refused.failure?.code], ['failed', 'REFUSED']);
      assert.deepEqual(await a.sync.conflicts(), []);
    });

    it('says what is sent instead of what a conflict was settled by, and brings back whole what was deleted there', async () => {
      const rules = { Task: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      await a.upsertEntity('Task', 't1', { title: 'base', priority: 1 });
      await a.upsertEntity('Task', 't2', { title: 'base', priority: 1 });
      await a.sync.whenSynced();
      const b = await connected(rules);
      await a.sync.goOffline();
      await a.upsertEntity('Task', 't1', { title: 'mine' });
      await a.upsertEntity('Task', 't2', { title: 'mine' });
      await b.upsertEntity('Task', 't1', { title: 'theirs' });
      await b.deleteEntity('Task', 't2');
      await b.sync.whenSynced();
      await a.sync.goOnline();
      await a.sync.whenSynced();
      validate = ({ after }) => (after?.['title'] === 'mine' ? { reason: 'Not mine.' } : null);
      const conflicts = await a.sync.conflicts();
      assert.equal(conflicts.length, 2);
      for (const { id } of conflicts) await a.sync.resolve(id, { keep: 'mine' });
      await a.sync.whenSynced();
      for (const { id, entityId } of conflicts) {
        assert.equal((await latest(a, { id })).status, 'failed');
        await a.editChange(id, { title: `edited ${entityId}` });
        assert.equal((await task(a, entityId))?.['title'], `edited ${entityId}`);
      }
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      for (const { entityId } of conflicts) {
        const wanted = { title: `edited ${entityId}`, priority: 1 };
        assert.partialDeepStrictEqual(await task(b, entityId), wanted);
        assert.partialDeepStrictEqual(await task(a, entityId), wanted);
      }
    });
  });

  describe('a transaction of which the server refused a member', () => {
    /** Three tasks together, of which the second is refused. */
    async function refusedTogether(a: LocalDataEngine): Promise<Change[]> {
      await a.sync.goOffline();
      await a.transaction((tx) => {
        tx.upsertEntity('Task', 't1', { title: 'one' });
        tx.upsertEntity('Task', 't2', { title: 'forbidden' });
        tx.upsertEntity('Task', 't3', { title: 'three' });
      });
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const { changes } = await a.listChanges();
      assert.deepEqual(
        changes.map(({ status }) => status),
        ['blocked', 'failed', 'blocked'],
      );
      return changes;
    }

    async function isThereAsAWhole(a: LocalDataEngine): Promise<void> {
      await a.sync.whenSynced();
      const { changes } = await a.listChanges();
      assert.deepEqual(new Set(changes.map(({ status }) => status)), new Set(['synced']));
      const b = await connected();
      for (const id of ['t1', 't2', 't3']) assert.deepEqual(await task(b, id), await task(a, id), id);
      assert.ok((await task(b, 't2')) !== undefined);
    }

    it('goes again as a whole when that one is retried', async () => {
      const a = await connected();
      const [, refused] = await refusedTogether(a);
      validate = () => null;
      assert.ok(refused !== undefined);
      assert.equal((await a.retryChange(refused.id)).id, refused.id);
      await isThereAsAWhole(a);
    });

    it('goes again as a whole when all that failed of one entity is retried', async () => {
      const a = await connected();
      await refusedTogether(a);
      validate = () => null;
      assert.equal(await a.retryFailed({ entityType: 'Task', entityId: 't2' }), 1);
      await isThereAsAWhole(a);
    });

    it('goes again as a whole when that one is edited, or another of them', async () => {
      const a = await connected();
      const [first, refused] = await refusedTogether(a);
      assert.ok(first !== undefined && refused !== undefined);
      const edited = await a.editChange(first.id, { title: 'one, edited' });
      assert.equal(edited.id, first.id);
      await whenChange(a, refused.id, ({ status }) => status === 'failed');
      await a.editChange(refused.id, { title: 'allowed' });
      await isThereAsAWhole(a);
      assert.equal((await task(a))?.['title'], 'one, edited');
    });
  });

  it('a discard leaves the member alone for which the server has something else', async () => {
    const rules = { Task: { conflicts: 'remote-wins' } } as const;
    const a = await connected(rules);
    await a.upsertEntity('Task', 't1', { title: 'base' });
    await a.sync.whenSynced();
    const b = await connected(rules);
    await a.sync.goOffline();
    const { changes } = await a.transaction((tx) => {
      tx.upsertEntity('Task', 't1', { title: 'mine' });
      tx.upsertEntity('Task', 't2', { title: 'forbidden' });
    });
    await b.upsertEntity('Task', 't1', { title: 'theirs' });
    await b.sync.whenSynced();
    await a.sync.goOnline();
    await a.sync.whenSynced();
    const [taken, refused] = changes;
    assert.ok(taken !== undefined && refused !== undefined);
    assert.deepEqual([(await latest(a, taken)).status, (await latest(a, refused)).status], ['synced', 'failed']);
    await a.discardChange(refused.id);
    assert.deepEqual([(await latest(a, taken)).status, (await latest(a, refused)).status], ['synced', 'discarded']);
    assert.deepEqual([(await task(a))?.['title'], await task(a, 't2')], ['theirs', undefined]);
    await assert.rejects(a.discardChange(taken.id), hasCode('CHANGE_NOT_ALLOWED', /taken instead/));
  });

  it('a discard takes back of a transaction that went in pieces, because of its bytes, what the server has refused', async () => {
    validate = ({ after }) =>
      after?.['id'] === 't2' && after['title'] !== 'base' ? { reason: 'Not this one.', field: 'title' } : null;
    const a = await connected();
    await a.exec(`INSERT INTO tasks (id, title) SELECT 't' || i, 'base' FROM generate_series(0, 9) i`);
    await a.sync.whenSynced();
    await a.exec(`UPDATE tasks SET title = repeat('long', 150000)`);
    await a.sync.whenSynced();
    const [refused, ...others] = (await a.listChanges({ status: 'failed' })).changes;
    assert.deepEqual([refused?.entityId, others], ['t2', []]);
    assert.ok(refused !== undefined);
    assert.deepEqual((await a.previewDiscard(refused.id)).members, []);
    assert.equal((await a.discardChange(refused.id)).status, 'discarded');
    assert.equal((await task(a, 't2'))?.['title'], 'base');
    assert.equal((await a.listChanges({ status: 'synced' })).changes.length, 19);
  });

  it('a discard with what stands on it is refused where the server has another change of a transaction it reaches', async () => {
    const a = await connected({ Project: { sync: false }, Task: { sync: false } });
    await a.registerEntityType({ entityType: 'Note' });
    await a.upsertEntity('Project', 'p1', { name: 'One' });
    await a.transaction((tx) => {
      tx.upsertEntity('Task', 't1', { title: 'child', project_id: 'p1' });
      tx.upsertEntity('Note', 'n1', { text: 'with it' });
    });
    await a.sync.whenSynced();
    const [[parent], [note]] = [await changesOf(a, 'p1'), await changesOf(a, 'n1')];
    assert.equal(note?.status, 'synced');
    assert.ok(parent !== undefined);
    const before = (await a.listChanges()).changes;
    const refused = hasCode('ALREADY_SENT', /insert of Note "n1"\) is on the server/);
    await assert.rejects(a.discardChange(parent.id, { withDependents: true }), refused);
    assert.deepEqual((await a.listChanges()).changes, before);
    assert.equal((await task(a))?.['project_id'], 'p1');
  });

  describe('of a change that has left and whose answer has not come', () => {
    it('a discard waits for it, and is refused where the server has applied it', async () => {
      const { a, hold, letThrough } = await held();
      const change = await hold({ title: 'mine' });
      const discarding = assert.rejects(
        a.discardChange(change.id),
        hasCode('ALREADY_SENT', /as version \d+ .*Undo it/),
      );
      // Everything asked before has had its turn.
      await a.query('SELECT 1');
      assert.equal((await latest(a, change)).status, 'applied');
      letThrough();
      await discarding;
      assert.equal((await latest(a, change)).status, 'synced');
      assert.equal((await task(a))?.['title'], 'mine');
    });

    it('a discard waits for it, and goes ahead where the server has refused it', async () => {
      const { a, hold, letThrough } = await held();
      const change = await hold({ title: 'forbidden' });
      const discarding = a.discardChange(change.id);
      await a.query('SELECT 1');
      assert.equal((await latest(a, change)).status, 'applied');
      letThrough();
      assert.equal((await discarding).status, 'discarded');
      assert.equal((await task(a))?.['title'], 'base');
    });

    it('an edit waits for it, and where the server has refused it, it goes again under a new id at its place', async () => {
      const { a, hold, letThrough } = await held();
      const change = await hold({ title: 'forbidden' });
      const editing = a.editChange(change.id, { title: 'allowed' });
      await a.query('SELECT 1');
      letThrough();
      const edited = await editing;
      assert.equal(edited.seq, change.seq);
      assert.notEqual(edited.id, change.id);
      await a.sync.whenSynced();
      assert.equal((await latest(a, edited)).status, 'synced');
    });

    it('an edit of what the server turns out to have is refused', async () => {
      const { a, hold, letThrough } = await held();
      const change = await hold({ title: 'mine' });
      const editing = assert.rejects(a.editChange(change.id, { title: 'other' }), hasCode('ALREADY_SENT', /Undo it/));
      await a.query('SELECT 1');
      letThrough();
      await editing;
    });

    it('neither waits longer than ten seconds', async () => {
      const clock = new VirtualClock();
      const { a, hold, letThrough } = await held({ clock });
      const change = await hold({ title: 'mine' });
      const discarding = assert.rejects(a.discardChange(change.id), hasCode('SENDING_IN_DOUBT', /no answer has come/));
      await a.query('SELECT 1');
      clock.advance(10_000);
      await discarding;
      assert.equal((await latest(a, change)).status, 'applied');
      assert.equal((await task(a))?.['title'], 'mine');
      letThrough();
    });

    it('neither waits longer while others write all the time', async () => {
      const clock = new VirtualClock();
      const { a, hold, letThrough } = await held({ clock });
      const change = await hold({ title: 'mine' });
      const enough = new AbortController();
      const writing = (async () => {
        for (let n = 0; !enough.signal.aborted; n++) await a.upsertEntity('Task', 't2', { title: `title ${n}` });
      })();
      const discarding = assert.rejects(a.discardChange(change.id), hasCode('SENDING_IN_DOUBT', /no answer has come/));
      await a.query('SELECT 1');
      clock.advance(10_000);
      await discarding;
      enough.abort();
      await writing;
      letThrough();
    });

    it('both are refused at once while there is no contact, also for the others of a transaction', async () => {
      const a = await connected();
      await a.sync.setNetworkConditions({ lostAnswers: 1 });
      await a.transaction((tx) => {
        tx.upsertEntity('Task', 't1', { title: 'one' });
        tx.upsertEntity('Task', 't2', { title: 'two' });
      });
      await whenState(a, ({ status }) => status === 'offline');
      await a.sync.goOffline();
      const { changes } = await a.listChanges();
      for (const { id } of changes) {
        await assert.rejects(a.discardChange(id), hasCode('SENDING_IN_DOUBT', /Change \d+ \(insert of Task "t1"\)/));
        await assert.rejects(a.editChange(id, { title: 'x' }), hasCode('SENDING_IN_DOUBT', /try again/));
      }
      assert.deepEqual((await a.listChanges()).changes, changes);
    });
  });

  describe('undo', () => {
    it('of what is on the server reaches everyone, whoever made it', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'a', priority: 1 });
      await a.upsertEntity('Task', 't1', { title: 'b' });
      await a.upsertEntity('Task', 't2', { title: 'gone' });
      await a.deleteEntity('Task', 't2');
      await a.sync.whenSynced();
      const update = (await changesOf(a, 't1')).at(-1);
      assert.equal(update?.status, 'synced');
      await a.undoChange(update.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'a', priority: 1 });
      await a.sync.whenSynced();
      const b = await connected();
      assert.deepEqual(await task(b), await task(a));
      await a.upsertEntity('Task', 't1', { title: 'by a', done: true });
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      const remote = (await changesOf(b, 't1')).at(-1);
      assert.equal(remote?.origin, 'remote');
      const undo = await b.undoChange(remote.id);
      assert.equal(undo.note, `undoes change ${remote.seq}`);
      await b.sync.whenSynced();
      await a.sync.whenSynced();
      assert.partialDeepStrictEqual(await task(a), { title: 'a', done: false });
      assert.deepEqual(await task(b), await task(a));
    });

    it('of a change that a conflict settled writes back what it overwrote there, and of one that was given up is refused', async () => {
      const rules = { Task: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      for (const id of ['t1', 't2']) await a.upsertEntity('Task', id, { title: 'base' });
      await a.sync.whenSynced();
      const b = await connected(rules);
      await a.sync.goOffline();
      for (const id of ['t1', 't2']) await a.upsertEntity('Task', id, { title: 'mine' });
      for (const id of ['t1', 't2']) await b.upsertEntity('Task', id, { title: 'theirs' });
      await b.sync.whenSynced();
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const [kept, givenUp] = await a.sync.conflicts();
      assert.ok(kept !== undefined && givenUp !== undefined);
      await a.sync.resolve(kept.id, { keep: 'mine' });
      await a.sync.resolve(givenUp.id, { keep: 'theirs' });
      await a.sync.whenSynced();
      await a.undoChange(kept.id);
      assert.equal((await task(a, kept.entityId))?.['title'], 'theirs');
      const refused = hasCode('CHANGE_NOT_ALLOWED', /What the server has was taken instead/);
      await assert.rejects(a.undoChange(givenUp.id), refused);
    });

    it('of a change behind one that a conflict settled takes out what it wrote, and leaves what the other side brought in', async () => {
      const rules = { Task: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      await a.upsertEntity('Task', 't1', { title: 'base', settings: { kept: 1, own: 1 } });
      await a.sync.whenSynced();
      const b = await connected(rules);
      await a.sync.goOffline();
      await a.upsertEntity('Task', 't1', { settings: { kept: 1, own: 2 } });
      await a.upsertEntity('Task', 't1', { settings: { kept: 1, own: 3, later: true } });
      await b.upsertEntity('Task', 't1', { settings: { kept: 1, own: 1, theirs: 1 } });
      await b.sync.whenSynced();
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const [conflict] = await a.sync.conflicts();
      assert.ok(conflict !== undefined);
      await a.sync.resolve(conflict.id, { data: { settings: { kept: 1, own: 2, theirs: 1 } } });
      await a.sync.whenSynced();
      assert.deepEqual((await task(a))?.['settings'], { kept: 1, own: 3, later: true, theirs: 1 });
      const behind = (await changesOf(a, 't1'))[2];
      assert.deepEqual([behind?.origin, behind?.status, behind?.conflict], ['local', 'synced', null]);
      assert.ok(behind !== undefined);
      await a.undoChange(behind.id);
      assert.deepEqual((await task(a))?.['settings'], { kept: 1, own: 2, theirs: 1 });
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      assert.deepEqual(await task(b), await task(a));
    });
  });

  describe('a remote change that is set aside', () => {
    /** Names are unique here and not on the server; a project of another has the name of one here, and contact is ended. */
    async function setAside(): Promise<{ b: LocalDataEngine; aside: Change }> {
      const b = await connected();
      await b.exec(`ALTER TABLE projects ADD UNIQUE (name)`);
      await b.upsertEntity('Project', 'own', { name: 'One' });
      await b.sync.whenSynced();
      const a = await connected();
      await a.upsertEntity('Project', 'theirs', { name: 'One' });
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      await b.sync.goOffline();
      const [aside] = await changesOf(b, 'theirs');
      assert.ok(aside !== undefined);
      assert.deepEqual([aside.status, aside.origin, aside.failure?.code], ['failed', 'remote', '23505']);
      return { b, aside };
    }

    it('is put in place by a retry, once a person has taken away what was in its way', async () => {
      const { b, aside } = await setAside();
      assert.equal((await b.retryChange(aside.id)).status, 'failed');
      assert.equal(await b.getEntity('Project', 'theirs'), undefined);
      await b.deleteEntity('Project', 'own');
      const retried = await b.retryChange(aside.id);
      assert.deepEqual([retried.id, retried.status, retried.error], [aside.id, 'synced', null]);
      assert.deepEqual(await b.getEntity('Project', 'theirs'), { id: 'theirs', name: 'One' });
      await whenState(b, (state) => state.setAside === 0);
    });

    it('is among those that are retried together', async () => {
      const { b, aside } = await setAside();
      await b.deleteEntity('Project', 'own');
      assert.equal(await b.retryFailed({ entityType: 'Task' }), 0);
      assert.equal((await latest(b, aside)).status, 'failed');
      assert.equal(await b.retryFailed(), 1);
      assert.equal((await latest(b, aside)).status, 'synced');
      assert.equal(await b.retryFailed(), 0);
    });

    it('is neither edited, discarded nor undone, and says what helps', async () => {
      const { b, aside } = await setAside();
      const refused = hasCode('CHANGE_NOT_ALLOWED', /mend what is in its way, then retry it/);
      await assert.rejects(b.editChange(aside.id, { name: 'Two' }), refused);
      await assert.rejects(b.discardChange(aside.id), refused);
      await assert.rejects(b.previewDiscard(aside.id), refused);
      await assert.rejects(b.undoChange(aside.id), hasCode('CHANGE_NOT_ALLOWED', /not in place here; retry it/));
      assert.deepEqual(await latest(b, aside), aside);
    });
  });

  describe('undoing an import', () => {
    let directory: ReturnType<typeof temporaryDirectory>;
    before(() => (directory = temporaryDirectory()));
    after(() => directory.remove());

    async function imported(a: LocalDataEngine, names: readonly string[]): Promise<string> {
      const file = join(directory.path, 'projects.csv');
      await writeFile(file, ['id,name', ...names.map((name, n) => `p${n},${name}`)].join('\n'));
      const { label, rowsRecorded } = await a.importEntities({ entityType: 'Project', file });
      await a.whenIdle();
      assert.equal(rowsRecorded, names.length);
      return label;
    }

    const isUndone = async (data: LocalDataEngine) => (await data.listImports()).map(({ undone }) => undone);

    it('that the server has deletes its rows there too, and says how many', async () => {
      const a = await connected();
      const label = await imported(
        a,
        Array.from({ length: 1_200 }, (_, n) => `project ${n}`),
      );
      await a.sync.whenSynced();
      const b = await connected();
      assert.equal(await b.countEntities('Project'), 1_200);
      assert.deepEqual(await a.undoImport(label), { label, undone: 1_200 });
      assert.deepEqual(await isUndone(a), [true]);
      assert.equal(await a.countEntities('Project'), 0);
      assert.equal(a.stores.entities.getState().types.get('Project')?.count, 0);
      const [insert, undo] = await changesOf(a, 'p7');
      assert.deepEqual([undo?.operation, undo?.note], ['delete', `undoes change ${insert?.seq}`]);
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      assert.equal(await b.countEntities('Project'), 0);
      assert.deepEqual(await a.undoImport(label), { label, undone: 0 });
    });

    it('of which the server has refused a row and has another instead of one, takes back what is its own', async () => {
      validate = ({ after }) => (after?.['name'] === 'forbidden' ? { reason: 'Not this name.' } : null);
      const rules = { Project: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      const b = await connected(rules);
      await b.upsertEntity('Project', 'p2', { name: 'theirs' });
      await a.sync.goOffline();
      const label = await imported(a, ['one', 'forbidden', 'mine']);
      await b.sync.whenSynced();
      await a.sync.goOnline();
      await a.sync.whenSynced();
      const statuses = (await a.listChanges({ label })).changes.map(({ status }) => status);
      assert.deepEqual(statuses, ['synced', 'failed', 'conflicted']);
      assert.deepEqual(await isUndone(a), [false]);
      assert.equal((await a.undoImport(label)).undone, 3);
      const left = async (data: LocalDataEngine) => (await data.queryEntities('Project')).rows;
      assert.deepEqual(await left(a), [{ id: 'p2', name: 'theirs' }]);
      assert.deepEqual(await isUndone(a), [true]);
      await a.sync.whenSynced();
      await b.sync.whenSynced();
      assert.deepEqual(await left(b), [{ id: 'p2', name: 'theirs' }]);
    });

    it('is refused where a later change stands on a row that the server has', async () => {
      const a = await connected();
      const label = await imported(a, ['one', 'two']);
      await a.sync.whenSynced();
      const b = await connected();
      await b.upsertEntity('Project', 'p1', { name: 'by another' });
      await b.sync.whenSynced();
      await a.sync.whenSynced();
      await assert.rejects(a.undoImport(label), hasCode('HAS_DEPENDENTS', /1 later change stands on it/));
      assert.equal(await a.countEntities('Project'), 2);
      assert.deepEqual(await isUndone(a), [false]);
    });

    it('that has left waits for the answer, and then deletes what the server has taken', async () => {
      const { a, startHolding, letThrough } = await held();
      const arrived = startHolding();
      const label = await imported(a, ['one', 'two']);
      await arrived;
      const undoing = a.undoImport(label);
      await a.query('SELECT 1');
      assert.equal(await a.countEntities('Project'), 2);
      letThrough();
      assert.equal((await undoing).undone, 2);
      await a.sync.whenSynced();
      assert.equal(await a.countEntities('Project'), 0);
      const b = await connected();
      assert.equal(await b.countEntities('Project'), 0);
      assert.deepEqual(await isUndone(a), [true]);
    });
  });

  describe('discard and restore', () => {
    it('keep what others wrote meanwhile: the entity is its base with what is in place, in its order', async () => {
      const a = await connected();
      const [refused, later] = await refusedAndBehind(a);
      const b = await connected();
      await b.upsertEntity('Task', 't1', { priority: 9 });
      await b.sync.whenSynced();
      await a.sync.whenSynced();
      await a.sync.goOffline();
      await a.discardChange(refused.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'base', done: true, priority: 9 });
      assert.partialDeepStrictEqual((await latest(a, later)).previous, { title: 'base', done: false, priority: 9 });
      await a.restoreChange(refused.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'forbidden', done: true, priority: 9 });
      const restored = await latest(a, refused);
      assert.deepEqual([restored.status, restored.previous?.['priority']], ['applied', 9]);
      assert.partialDeepStrictEqual((await latest(a, later)).previous, { title: 'forbidden', priority: 9 });
    });

    it('leave a later change of the same field with what it was made on, so that a conflict of it is still one', async () => {
      const rules = { Task: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      const [refused, later] = await refusedAndBehind(a, { title: 'forbidden' }, { title: 'mine' });
      const b = await connected(rules);
      await b.upsertEntity('Task', 't1', { title: 'theirs' });
      await b.sync.whenSynced();
      await a.sync.whenSynced();
      await a.discardChange(refused.id);
      assert.equal((await latest(a, later)).previous?.['title'], 'base');
      await whenChange(a, later.id, ({ status }) => status === 'conflicted');
      const { base, mine, theirs } = (await latest(a, later)).conflict?.fields['title'] ?? {};
      assert.deepEqual([base, mine, theirs], ['base', 'mine', 'theirs']);
    });

    it('leave a column alone that the server does not know, but for what was written to it', async () => {
      const a = await connected();
      await a.upsertEntity('Task', 't1', { title: 'base' });
      await a.sync.whenSynced();
      await a.sync.goOffline();
      await a.exec(`ALTER TABLE tasks ADD COLUMN extra text NOT NULL DEFAULT 'none'`);
      const change = await a.recordChange('Task', 't1', 'update', { extra: 'some' });
      await a.whenIdle();
      await a.editChange(change.id, { title: 'other' });
      assert.partialDeepStrictEqual(await task(a), { title: 'other', extra: 'none' });
      await a.editChange(change.id, { extra: 'more' });
      assert.partialDeepStrictEqual(await task(a), { title: 'base', extra: 'more' });
      await a.discardChange(change.id);
      assert.partialDeepStrictEqual(await task(a), { title: 'base', extra: 'none' });
      await a.restoreChange(change.id);
      await a.whenIdle();
      assert.partialDeepStrictEqual(await task(a), { title: 'base', extra: 'more' });
    });

    it('bring no field of a document back that it has lost on the server', async () => {
      const rules = { Note: { conflicts: 'manual' } } as const;
      const a = await connected(rules);
      await a.registerEntityType({ entityType: 'Note' });
      await a.upsertEntity('Note', 'n1', { text: 'first', stars: 8 });
      await a.sync.whenSynced();
      const b = await connected(rules);
      await b.registerEntityType({ entityType: 'Note' });
      await b.sync.whenSynced();
      await a.sync.goOffline();
      const change = await a.recordChange('Note', 'n1', 'update', { stars: 3, title: 'forbidden' });
      await a.whenIdle();
      await b.deleteEntity('Note', 'n1');
      await b.upsertEntity('Note', 'n1', { text: 'anew' });
      await b.sync.whenSynced();
      await a.sync.goOnline();
      await a.sync.whenSynced();
      assert.equal((await latest(a, change)).status, 'failed');
      await a.discardChange(change.id);
      assert.deepEqual(await a.getEntity('Note', 'n1'), { id: 'n1', text: 'anew' });
    });

    it('bring a project back before the tasks that went with it', async () => {
      validate = ({ change }) =>
        change.operation === 'delete' && change.entityType === 'Project' ? { reason: 'Projects stay.' } : null;
      const a = await client();
      await a.exec(`ALTER TABLE tasks DROP CONSTRAINT tasks_project_id_fkey,
        ADD FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE`);
      await a.sync.connect({ url: suite.url, token: suite.token });
      await a.upsertEntity('Project', 'p1', { name: 'One' });
      await a.upsertEntity('Task', 't1', { title: 'child', project_id: 'p1' });
      await a.sync.whenSynced();
      await a.deleteEntity('Project', 'p1');
      await a.sync.whenSynced();
      const refused = (await changesOf(a, 'p1')).at(-1);
      assert.equal(refused?.status, 'failed');
      assert.equal(await task(a), undefined);
      await a.discardChange(refused.id);
      assert.equal((await task(a))?.['project_id'], 'p1');
      const statuses = (await a.listChanges()).changes.map(({ status }) => status);
      assert.deepEqual(statuses, ['synced', 'synced', 'discarded', 'discarded']);
    });
  });
});

function hasCode(code: ErrorCode, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(LocalDataError.isCode(error, code), String(error));
    assert.match(error.message, message);
    return true;
  };
}
