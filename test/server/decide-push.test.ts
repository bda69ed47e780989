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

const emptyDraft: AnyDraft = {
  entityId: 'b',
  operation: 'insert',
  field: 'x',
  value: 0,
  baseVersion: 0,
  client: 'bob',
};
