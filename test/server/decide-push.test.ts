// The decision what becomes of a push, by itself: what must hold for any batch, however it is cut.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { JsonObject } from '../../src/protocol/changes.ts';
import { compileRules, laneOf, readChange } from '../../src/server/change-rules.ts';
import { type KnownChange, type PresentEntity, decidePush } from '../../src/server/decide-push.ts';

interface Kept {
  version: number;
  readonly entities: Map<string, PresentEntity>;
  readonly known: Map<string, KnownChange>;
}

const limits = { entityBytes: 1_000_000, transactionBytes: 1_000_000 };
const nothingKept = (): Kept => ({ version: 0, entities: new Map(), known: new Map() });

async function pushTo(kept: Kept, clientId: string, changes: readonly object[]) {
  const read = changes.map((change) => readChange(change, 10_000));
  const decision = await decidePush({ clientId, changes: read, ...kept, now: 1_000, rules: compileRules(), limits });
  for (const entity of decision.entities) kept.entities.set(laneOf(entity), entity);
  for (const { id, ...known } of decision.remembered) kept.known.set(id, known);
  kept.version = decision.version;
  return decision;
}

const anyDraft = fc.record({
  entityId: fc.constantFrom('a', 'b', 'c'),
  operation: fc.constantFrom('insert', 'update', 'delete'),
  field: fc.constantFrom('x', 'y'),
  value: fc.integer({ min: 0, max: 3 }),
  baseVersion: fc.integer({ min: 0, max: 8 }),
  client: fc.constantFrom('ann', 'bob'),
});
type AnyDraft = typeof anyDraft extends fc.Arbitrary<infer T> ? T : never;

function changeOf({ entityId, operation, field, value, baseVersion }: AnyDraft, index: number): object {
  const data: JsonObject | null = operation === 'delete' ? null : { [field]: value };
  return {
    id: `c${index}`,
    entityType: 'T',
    entityId,
    operation,
    data,
    baseVersion,
    timestamp: 1,
    transactionId: null,
  };
}

describe('the decision about a push', () => {
  it('sends each change twice with the effect of once, and versions without a gap', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyDraft, { maxLength: 25 }), async (drafts) => {
        const kept = nothingKept();
        let version = 0;
        for (const [index, draft] of drafts.entries()) {
          const change = changeOf(draft, index);
          const { results, applied } = await pushTo(kept, draft.client, [change]);
          for (const one of applied) assert.equal(one.version, (version += 1));
          const before = structuredClone([...kept.entities]);
          const again = await pushTo(kept, draft.client, [change]);
          assert.equal(again.applied.length, 0);
          const first = results[0]?.outcome;
          assert.equal(again.results[0]?.outcome, first === 'applied' ? 'duplicate' : first);
          assert.deepEqual([...kept.entities], before);
        }
      }),
    );
  });

  it('comes to the same for one client however its changes are cut into pushes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyDraft, { maxLength: 20 }), fc.integer({ min: 1, max: 7 }), async (drafts, size) => {
        const changes = drafts
          // What an own earlier change made impossible would hold up the rest of its batch, and nothing beyond it.
          .map((draft) => ({ ...draft, operation: draft.operation === 'update' ? 'insert' : draft.operation }))
          .map((draft, index) => changeOf(draft, index));
        const whole = nothingKept();
        const cut = nothingKept();
        await pushTo(whole, 'ann', changes);
        for (let from = 0; from < changes.length; from += size) {
          await pushTo(cut, 'ann', changes.slice(from, from + size));
        }
        assert.deepEqual(cut, whole);
      }),
    );
  });

  it('applies all of a transaction or nothing of it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyDraft, { minLength: 2, maxLength: 8 }), async (drafts) => {
        const kept = nothingKept();
        await pushTo(kept, 'bob', [changeOf({ ...emptyDraft, entityId: 'a' }, 100), changeOf(emptyDraft, 101)]);
        const before = structuredClone(kept);
        const members = drafts.map((draft, index) => ({ ...changeOf(draft, index), transactionId: 'x' }));
        const { results } = await pushTo(kept, 'ann', members);
        const applied = results.filter(({ outcome }) => outcome === 'applied').length;
        assert.ok(applied === 0 || applied === members.length, JSON.stringify(results));
        if (applied === 0) assert.deepEqual(kept, before);
        assert.equal(results.length, members.length);
      }),
    );
  });

  it('holds a change that must come after one that was not applied, and whoever must come after that', async () => {
    const kept = nothingKept();
    await pushTo(kept, 'bob', [inserting('old', 'taken', { x: 1 })]);
    const { results } = await pushTo(kept, 'ann', [
      inserting('old', 'elsewhere', { x: 1 }),
      inserting('conflicting', 'taken', { x: 2 }),
      { ...inserting('refused', 'r', {}), operation: 'update' },
      { ...inserting('unreadable', 'u', {}), unknown: 1 },
      { ...inserting('child-1', '1', {}), after: ['not-in-this-push', 'conflicting'] },
      { ...inserting('child-2', '2', {}), after: ['refused'] },
      { ...inserting('child-3', '3', {}), after: ['unreadable'] },
      { ...inserting('grandchild', '4', {}), after: ['child-1'] },
      { ...inserting('later', '2', {}), operation: 'update' },
      { ...inserting('member-1', '5', {}), transactionId: 'x' },
      { ...inserting('member-2', '6', {}), transactionId: 'x', after: ['grandchild'] },
      { ...inserting('of-the-transaction', '7', {}), after: ['member-1'] },
      { ...inserting('free', '8', {}), after: ['old', 'not-in-this-push', 'stands-later'] },
      { ...inserting('stands-later', '9', {}), operation: 'update' },
    ]);
    assert.deepEqual(
      results.map(({ id, ...result }) => [id, result.outcome === 'held' ? result.by : result.outcome]),
      [
        // What was applied under the id before is there, whatever comes under it now.
        ['old', 'rejected'],
        ['conflicting', 'conflict'],
        ['refused', 'rejected'],
        ['unreadable', 'rejected'],
        ['child-1', 'conflicting'],
        ['child-2', 'refused'],
        ['child-3', 'unreadable'],
        ['grandchild', 'child-1'],
        ['later', 'child-2'],
        ['member-1', 'member-2'],
        ['member-2', 'grandchild'],
        ['of-the-transaction', 'member-1'],
        ['free', 'applied'],
        ['stands-later', 'rejected'],
      ],
    );
  });

  it('applies a change after the one that it must come after, in the same push or an earlier one', async () => {
    const kept = nothingKept();
    const parent = inserting('parent', 'p', {});
    const child = (id: string) => ({ ...inserting(id, id, {}), after: ['parent'] });
    const first = await pushTo(kept, 'ann', [parent, child('one')]);
    const again = await pushTo(kept, 'ann', [parent, child('two')]);
    const alone = await pushTo(kept, 'ann', [child('three'), child('one')]);
    assert.deepEqual(
      [first, again, alone].map(({ results }) => results.map(({ outcome }) => outcome)),
      [
        ['applied', 'applied'],
        ['duplicate', 'applied'],
        ['applied', 'duplicate'],
      ],
    );
  });

  it('never applies a change before the one of its push that it must come after, whatever the push', async () => {
    const drafts = fc.array(
      fc.record({
        draft: anyDraft,
        after: fc.array(fc.nat(14), { maxLength: 2 }),
        transactionId: fc.constantFrom(null, null, 'x', 'y'),
      }),
      { minLength: 2, maxLength: 15 },
    );
    await fc.assert(
      fc.asyncProperty(drafts, async (given) => {
        const kept = nothingKept();
        await pushTo(kept, 'bob', [changeOf({ ...emptyDraft, entityId: 'a' }, 100)]);
        const changes = given.map(({ draft, after, transactionId }, index) => {
          return { ...changeOf(draft, index), transactionId, after: after.map((at) => `c${at}`) };
        });
        const { results, applied } = await pushTo(kept, 'ann', changes);
        const done = new Set(applied.map(({ change }) => change.id));
        for (const [index, result] of results.entries()) {
          if (result.outcome !== 'applied') continue;
          const earlier = (given[index]?.after ?? []).filter((at) => at < index);
          for (const at of earlier) assert.equal(results[at]?.outcome, 'applied', JSON.stringify({ given, results }));
        }
        for (const id of done) assert.equal(results[Number(id.slice(1))]?.outcome, 'applied');
      }),
    );
  });

  it('refuses more ids to come after than the protocol allows, and ids that are none', async () => {
    for (const after of [Array.from({ length: 101 }, () => 'a'), ['x'.repeat(201)], [''], [7], 'a', null]) {
      const { results } = await pushTo(nothingKept(), 'ann', [{ ...inserting('one', 'e', {}), after }]);
      const [result] = results;
      assert.ok(result?.outcome === 'rejected', JSON.stringify(after));
      assert.equal(result.code, 'INVALID_CHANGE');
      assert.match(result.field ?? '', /^after/);
    }
  });

  it('clamps a clock that runs ahead, and takes two who write the same for one mind', async () => {
    const kept = nothingKept();
    const early = { ...changeOf({ ...emptyDraft, entityId: 'a' }, 1), timestamp: 9_999_999 };
    const { applied } = await pushTo(kept, 'ann', [early]);
    assert.equal(applied[0]?.timestamp, 61_000);
    const same = changeOf({ ...emptyDraft, entityId: 'a', operation: 'update' }, 2);
    assert.equal((await pushTo(kept, 'bob', [same])).results[0]?.outcome, 'applied');
    const other = changeOf({ ...emptyDraft, entityId: 'a', operation: 'update', value: 3 }, 3);
    assert.equal((await pushTo(kept, 'eve', [other])).results[0]?.outcome, 'conflict');
  });
});

function inserting(id: string, entityId: string, data: JsonObject): object {
  return { ...changeOf(emptyDraft, 0), id, entityId, data };
}

const emptyDraft: AnyDraft = {
  entityId: 'b',
  operation: 'insert',
  field: 'x',
  value: 0,
  baseVersion: 0,
  client: 'bob',
};
