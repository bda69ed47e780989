// What the Changes view says of a transaction that the server refused: with the real engine and the real server, what is asked
// of the one and said of the others.
import assert from 'node:assert/strict';
import { inTransaction, transactionsOf, withOthers } from '../../src/host/changes-view/transactions.ts';
import type { LocalDataEngine } from '../support/engine.ts';
import { SECRET, newSpace, openTasks, startServer, tokenFor, whenChange } from '../support/sync.ts';

describe('a transaction in the Changes view', () => {
  let server: Awaited<ReturnType<typeof startServer>>;
  let data: LocalDataEngine;

  before(async () => {
    const validate = ({ after }: { readonly after: { readonly title?: unknown } | null }) =>
      after?.title === 'forbidden' ? { reason: 'That is not allowed.' } : null;
    server = await startServer({ memory: true, secret: SECRET, validate });
    data = await openTasks();
    await data.sync.connect({ url: server.url, token: await tokenFor(newSpace()) });
    await data.transaction((tx) => {
      tx.upsertEntity('Project', 'p1', { name: 'Its project' });
      tx.upsertEntity('Task', 't1', { title: 'forbidden', project_id: 'p1' });
      tx.upsertEntity('Task', 't2', { title: 'allowed' });
    });
    await data.upsertEntity('Task', 't3', { title: 'forbidden' });
  });

  after(async () => {
    await data.close();
    await server.close();
  });

  async function changeOf(entityId: string, status: string) {
    const [change] = (await data.listChanges({ entityId })).changes;
    assert.ok(change, entityId);
    await whenChange(data, change.id, (one) => one.status === status);
    const now = await data.getChange(change.id);
    assert.ok(now, entityId);
    return now;
  }

  it('says on the one at fault of how many it is one, and on the others with which they wait', async () => {
    const [failed, project, task] = [
      await changeOf('t1', 'failed'),
      await changeOf('p1', 'blocked'),
      await changeOf('t2', 'blocked'),
    ];
    const transaction = (await transactionsOf(data, [failed, project, task])).get(failed.transactionId ?? '');
    assert.deepEqual(transaction, { size: 3, head: failed.seq });
    assert.equal(inTransaction(failed, 'not allowed', transaction), 'transaction of 3: not allowed');
    for (const other of [project, task]) {
      assert.equal(inTransaction(other, 'waits', transaction), `with change ${failed.seq} (transaction)`);
    }
    assert.equal(await withOthers(data, failed), ', with 2 others of its transaction');
  });

  it('says nothing of a change of its own', async () => {
    const alone = await changeOf('t3', 'failed');
    const transactions = await transactionsOf(data, [alone]);
    assert.equal(transactions.size, 0);
    assert.equal(inTransaction(alone, 'not allowed', undefined), 'not allowed');
    assert.equal(await withOthers(data, alone), '');
  });

  it('says nothing any more of one that is discarded', async () => {
    const failed = await changeOf('t1', 'failed');
    await data.discardChange(failed.id, { withDependents: true });
    assert.equal((await transactionsOf(data, [failed])).size, 0);
  });
});
