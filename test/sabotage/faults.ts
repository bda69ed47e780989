// Ten faults an engine like this could have, each as a change of one place in the built bundle, and the test that must
// notice it. An anchor that does not match exactly once stops the run: then the fault was not put in.

export interface Fault {
  readonly name: string;
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
    anchor: 'w.entity_type = b.t AND w.entity_id = b.e',
    replacement: 'w.entity_type = b.t',
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
];
