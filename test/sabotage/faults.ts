// Faults that an engine and a server like these could have, each as a change of one place in a built bundle, and the test
// that must notice it. An anchor that does not match exactly once stops the run: then the fault was not put in.

export interface Fault {
  readonly name: string;
  /** Default the engine. */
  readonly bundle?: 'engine.js' | 'server.js';
  /** What a person would lose by it. */
  readonly harm: string;
  readonly anchor: string | RegExp;
  /** As the second argument of String.replace takes it. */
  readonly replacement: string;
  readonly testFile: string;
  /** The title of the test that must turn red. */
  readonly test: string;
}

const PROCESSOR = 'test/engine/change-processor.test.ts';
const CONTRACT = 'test/contract/in-process.test.ts';
const SYNC = 'test/sync/scenarios.test.ts';
const CRASH = 'test/sync/crash-and-order.test.ts';
const TWO_SERVERS = 'test/server/two-servers.test.ts';

export const FAULTS: readonly Fault[] = [
  {
    name: 'skip the mark',
    harm: 'a change is applied but not marked, and so applied again',
    anchor: 'var APPLIED = `processed_local = true,',
    replacement: 'var APPLIED = `processed_local = false,',
    testFile: CONTRACT,
    test: 'resolves with the change as recorded, and the processor applies it',
  },
  {
    name: 'drop the lane block',
    harm: 'later changes of an entity overtake the failed one',
    anchor: 'commits.stuck === 0 ? batch',
    replacement: 'true ? batch',
    testFile: PROCESSOR,
    test: 'let B to Z drain while A is poisoned, and say what the later changes of A wait for',
  },
  {
    name: 'block the whole type',
    harm: 'one failed change holds up every entity of its type',
    // That of the processor: the push looks for what stands before a change in the same words.
    anchor:
      /w\.entity_type = b\.t AND w\.entity_id = b\.e( AND w\.seq < b\.seq\s+AND w\.status IN \([^)]*\) AND \$\{isLocalStage)/,
    replacement: 'w.entity_type = b.t$1',
    testFile: PROCESSOR,
    test: 'let B to Z drain while A is poisoned, and say what the later changes of A wait for',
  },
  {
    name: 'order by clock',
    harm: 'a clock that steps back reorders changes',
    anchor: /rows\.sort\(\((\w+), (\w+)\) => \1\.seq - \2\.seq\)/,
    replacement: 'rows.sort(($1, $2) => $1.timestamp - $2.timestamp)',
    testFile: PROCESSOR,
    test: 'is that of recording when the clock steps back an hour and changes share a millisecond',
  },
  {
    name: 'lose a patch in a batch',
    harm: 'of two patches of one entity in one batch only one survives',
    anchor: /const (\w+) = seen\.get\(lane\) \?\? 0;/,
    replacement: 'const $1 = 0;',
    testFile: PROCESSOR,
    test: 'keeps both of two patches of one entity in one batch',
  },
  {
    name: 'swallow an error',
    harm: 'a change that was refused looks applied',
    anchor: /SET error = \$2, failure = \$3::jsonb, attempts = \$4, next_attempt_at = \$5, blocked_by = NULL/,
    replacement:
      'SET error = NULLIF($$2, $$2), failure = NULLIF($$3::jsonb, $$3::jsonb), attempts = $$4, next_attempt_at = NULLIF($$5::bigint, $$5::bigint), processed_local = true, blocked_by = NULL',
    testFile: PROCESSOR,
    test: 'of a constraint are failed at once, with SQLSTATE, values and time',
  },
  {
    name: 'apply twice',
    harm: 'narrowing a failed batch applies its first half again',
    anchor: 'runnable.slice(middle)',
    replacement: 'runnable.slice(0)',
    testFile: PROCESSOR,
    test: 'leave nothing half done: a failing batch applies all others and records each once',
  },
  {
    name: 'forget the attempts',
    harm: 'a change that can never succeed is retried for ever',
    anchor: 'const attempts = change.attempts + 1;',
    replacement: 'const attempts = 1;',
    testFile: PROCESSOR,
    test: 'that go on are failed when the attempts are spent, which are kept across a restart',
  },
  {
    name: 'take every failure for a passing one',
    harm: 'a broken constraint is retried instead of shown',
    anchor: 'return TRANSIENT_CLASSES.has(',
    replacement: 'return true || TRANSIENT_CLASSES.has(',
    testFile: PROCESSOR,
    test: 'of a constraint are failed at once, with SQLSTATE, values and time',
  },
  {
    name: 'capture nothing',
    harm: 'plain SQL writes leave no change behind',
    anchor: "IF aim->>'table' = TG_RELID::text AND aim->>'operation' = TG_OP THEN",
    replacement: 'IF true THEN RETURN NULL;',
    testFile: CONTRACT,
    test: 'that writes an entity table is captured as applied changes, cascades included',
  },
  {
    name: 'forget what was applied',
    bundle: 'server.js',
    harm: 'a change whose answer was lost takes effect twice',
    anchor: 'if (known !== void 0) return resultOfKnown(',
    replacement: 'if (false) return resultOfKnown(',
    testFile: TWO_SERVERS,
    test: 'apply a change once although both get it at the same time',
  },
  {
    name: 'store the cursor before the data',
    harm: 'a crash between the two loses what the server sent',
    anchor: /await ledger\.write\(\((\w+)\) => applyFeedPage\(\1, page\)\);/,
    replacement:
      'await ledger.parts.write((session) => setBinding(session, { cursor: page.cursor, version: page.version }));\n    await ledger.write(($1) => applyFeedPage($1, page));',
    testFile: CRASH,
    test: 'has its cursor never ahead of its data, at whichever statement (scenario 3)',
  },
  {
    name: 'send the newest first',
    harm: 'the changes of an entity reach the server in another order than they were made',
    anchor: 'json_agg(${QUEUED} ORDER BY c.seq)',
    replacement: 'json_agg(${QUEUED} ORDER BY c.seq DESC)',
    testFile: CRASH,
    test: 'sends what waits in the order in which it was made, over all lanes',
  },
  {
    name: 'let an answer move the base',
    harm: 'what others wrote before it is taken for known, and never arrives',
    anchor: /async function putCovered\((\w+), (\w+)\) \{/,
    replacement: `async function putCovered($1, $2) {
  for (const { entityType, entityId, acceptedVersion } of $2)
    await $1.session.run(
      "UPDATE local_data.entity_bases SET version = greatest(version, $$3) WHERE entity_type = $$1 AND entity_id = $$2",
      [entityType, entityId, acceptedVersion],
    );`,
    testFile: CRASH,
    test: 'has its base where the feed has brought it: what others wrote before its push still arrives (scenario 21)',
  },
  {
    name: 'acknowledge more than was sent',
    harm: 'an edit that was made while a push was on the wire is never sent',
    anchor: 'WHERE c.seq = ANY ($3::bigint[]) AND c.seq = i.s AND c.id = i.id AND NOT c.processed_sync',
    replacement: `WHERE c.seq >= i.s AND $3::bigint[] IS NOT NULL AND c.processed_local AND c.origin <> 'remote' AND NOT c.processed_sync`,
    testFile: SYNC,
    test: 'settles by an answer only what was sent; an edit meanwhile goes next (scenario 9)',
  },
  {
    name: 'drop a waiting change in a conflict',
    harm: 'where a person should be asked, what they wrote is gone without a word',
    anchor: /const settled = settleByPolicy\(change, result, policy, now\);/,
    replacement: `const settled = settleByPolicy(change, result, policy, now);
  if (settled === void 0) {
    const set = "processed_sync = true, accepted_version = 0";
    const move = { from: "applied", set, where: "c.seq = $$1", params: [queued.seq] };
    await moveChanges(context.session, move, context.draft, { now, paused: false });
    return true;
  }`,
    testFile: SYNC,
    test: 'asks a person under manual, and sends what was chosen: mine',
  },
  {
    name: 'record an echo as a change of others',
    harm: 'the audit trail tells each change twice, the second time as somebody else’s',
    anchor: /fresh\.filter\(\((\w+)\) => !echoes\.has\(\1\.id\)/,
    replacement: 'fresh.map(($1) => (echoes.has($1.id) ? { ...$1, id: `$${$1.id}-seen` } : $1)).filter(($1) => true',
    testFile: SYNC,
    test: 'sends a change again whose answer was lost with the process, and it takes effect once (scenarios 1 and 4)',
  },
  {
    name: 'take a lost answer for a failure',
    harm: 'what the server may have taken is shown as failed, and not sent again',
    anchor: /await this\.#giveBack\(batch\.queued, neverArrived\(\w+\) \? "never-sent" : "in-doubt"\);/,
    replacement: `await ledger.write(async (context) => {
        const failed = { stage: "push", kind: "permanent", code: "LOST", message: "No answer came.", at: context.now };
        for (const { seq } of batch.queued) await failPush(context, seq, failed, 1);
      });`,
    testFile: SYNC,
    test: 'sends a change again whose answer was lost with the process, and it takes effect once (scenarios 1 and 4)',
  },
  {
    name: 'ignore the policy',
    harm: 'conflicts are settled by another rule than the one that was asked for',
    anchor: /policyOf: \((\w+)\) => this\.policyOf\(\1\)/,
    replacement: 'policyOf: () => "merge"',
    testFile: SYNC,
    test: 'settles the same field by local-wins, keeps both values and converges (scenario 23)',
  },
  {
    name: 'send a refused change for ever',
    harm: 'a change that the server never takes keeps being sent, and nobody hears of it',
    anchor: /await failPush\(context, change\.seq, (\w+), 1\);/,
    replacement: 'await failPush(context, change.seq, $1, 1, context.now);',
    testFile: SYNC,
    test: 'fails a change at once that the server refuses, with its reason, and lets its lane wait (scenario 12)',
  },
  {
    name: 'trust NOTIFY alone',
    bundle: 'server.js',
    harm: 'a reader whose notice was lost waits for ever',
    anchor: '#planSweep() {\n    if (this.#isDraining) return;',
    replacement: '#planSweep() {\n    return;',
    testFile: TWO_SERVERS,
    test: 'deliver what was written while nobody can listen, by looking every few seconds',
  },
  {
    name: 'read before the lock',
    bundle: 'server.js',
    harm: 'two pushes at once apply one change twice, or lose a version',
    anchor:
      'async function lockSpace(session, space) {\n  const [row] = await session.run(STATEMENTS.lockSpace, [space]);',
    replacement:
      'async function lockSpace(session, space) {\n  const [row] = await session.run(STATEMENTS.readSpace, [space]);',
    testFile: TWO_SERVERS,
    test: 'give every reader every change in order while many clients push to both at once',
  },
];
