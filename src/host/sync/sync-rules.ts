// How entity types take part in synchronisation, as a person wrote it: in the setting, and in the workspace's own
// `.localdata/localdata.json`, which wins. One schema says what fits, here and, as JSON schema, in the editor. What does not
// fit is named, and what it speaks of stays on this machine until it is corrected: nothing may be sent because of a slip of
// the pen. Must not import `vscode`, since the manifest is made with it.
import * as z from 'zod';
import { CONFLICT_POLICIES, type ConflictPolicy, type EntityTypeSync } from '../../protocol/sync-state.ts';
import type { SyncRules } from '../../protocol/sync-state.ts';
import { RULES_FILE, RULES_SETTING, type RulePlace } from '../contributions.ts';

export type RulesSource = RulePlace['source'];

/** `at` is empty where all of it is meant. */
export interface RuleFault extends RulePlace {
  /** In one or two sentences. */
  readonly message: string;
  /** What does not fit, without where it stands and what follows. */
  readonly short: string;
}

export interface RulesRead {
  readonly rules: SyncRules;
  /** It is not known which types it speaks of: all stay here, whatever else is said of them elsewhere. */
  readonly holdsAll: boolean;
  readonly faults: readonly RuleFault[];
}

const POLICY_MEANINGS: Readonly<Record<ConflictPolicy, string>> = {
  merge: 'Objects are merged field by field; of other values the later write holds.',
  'last-write-wins': 'The later write holds, by a clock that all clients keep in step.',
  'local-wins': 'What was written here holds, and is sent.',
  'remote-wins': 'What the server has holds; what was written here is kept with the change.',
  manual: 'You are asked: the change stands under Conflicts until you choose.',
};

const ruleSchema = z.strictObject(
  {
    sync: z
      .boolean({ error: 'has a "sync" that is neither true nor false.' })
      .optional()
      .meta({ description: 'false keeps the type on this machine. Default: true.' }),
    conflicts: z
      .enum(CONFLICT_POLICIES, {
        error: ({ input }) => `has "conflicts": ${JSON.stringify(input)}; it can be ${CONFLICT_POLICIES.join(', ')}.`,
      })
      .optional()
      .meta({
        description: 'What becomes of a field that was written here and on the server. Default: merge.',
        enumDescriptions: CONFLICT_POLICIES.map((policy) => POLICY_MEANINGS[policy]),
      }),
  },
  {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `has ${quoted(issue.keys)}; it can have "sync" and "conflicts".`
        : 'must be an object such as { "conflicts": "manual" }.',
  },
);

const rulesSchema = z
  .object(
    { '*': ruleSchema.optional().meta({ description: 'For all entity types that are not named.' }) },
    { error: 'must be an object of entity types, such as { "Task": { "conflicts": "manual" } }.' },
  )
  .catchall(ruleSchema);

const fileSchema = z
  .strictObject(
    {
      $schema: z.string({ error: 'must be a text.' }).optional(),
      demo: z
        .boolean({ error: 'must be true or false.' })
        .optional()
        .meta({ description: 'Marks the demo workspace, which gets a database and sample data unasked.' }),
      sync: rulesSchema.optional().meta({ description: 'How entity types take part in synchronisation, by type.' }),
    },
    {
      error: (issue) =>
        issue.code === 'unrecognized_keys'
          ? `has ${quoted(issue.keys)}; it can have "sync" and "demo".`
          : 'must be an object such as { "sync": { "Task": { "conflicts": "manual" } } }.',
    },
  )
  // Read by the editor's JSON language support.
  .meta({ title: 'Local Data', allowComments: true, allowTrailingCommas: true });

const KEPT_HERE: EntityTypeSync = { sync: false };
const NO_RULES: RulesRead = { rules: {}, holdsAll: false, faults: [] };

/** Of the setting. */
export function readRulesSetting(value: unknown): RulesRead {
  return value === undefined ? NO_RULES : read(value, 'setting', RULES_SETTING, []);
}

/** Of the parsed file; what is in it beside the rules must fit too, since a misspelt `sync` would leave all rules out. */
export function readRulesFile(content: unknown): RulesRead {
  const issues = fileSchema.safeParse(content).error?.issues ?? [];
  const around = issues.filter(({ path }) => path[0] !== 'sync');
  if (around.length > 0) return unreadable(...around.map((issue) => faultOf(issue, RULES_FILE)));
  const rules: unknown = isRecord(content) ? content['sync'] : undefined;
  return rules === undefined ? NO_RULES : read(rules, 'file', `"sync" in ${RULES_FILE}`, ['sync']);
}

/** For a file that cannot be read at all. */
export function unreadable(...faults: readonly Omit<RuleFault, 'source'>[]): RulesRead {
  const held = faults.map(({ message, short, at }): RuleFault => ({
    message: `${message} Until that is corrected nothing is sent.`,
    short,
    source: 'file',
    at,
  }));
  return { rules: {}, holdsAll: true, faults: held };
}

/** Type by type and field by field; the later one wins. */
export function joinRules(...all: readonly RulesRead[]): RulesRead {
  const rules: Record<string, EntityTypeSync> = {};
  const holdsAll = all.some((read) => read.holdsAll);
  if (holdsAll) rules['*'] = {};
  for (const read of all) {
    for (const [entityType, rule] of Object.entries(read.rules)) rules[entityType] = { ...rules[entityType], ...rule };
  }
  if (holdsAll) for (const entityType of Object.keys(rules)) rules[entityType] = { ...rules[entityType], ...KEPT_HERE };
  return { rules, holdsAll, faults: all.flatMap(({ faults }) => faults) };
}

/** Of `.localdata/localdata.json`, for the editor. */
export function rulesFileJsonSchema(): object {
  return z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-07' });
}

/** Of the setting's value. */
export function rulesJsonSchema(): object {
  const made = z.toJSONSchema(rulesSchema, { io: 'input', target: 'draft-07' });
  return Object.fromEntries(Object.entries(made).filter(([name]) => name !== '$schema'));
}

function read(value: unknown, source: RulesSource, where: string, under: readonly string[]): RulesRead {
  const issues = rulesSchema.safeParse(value).error?.issues ?? [];
  const rules: Record<string, EntityTypeSync> = {};
  for (const [entityType, written] of Object.entries(isRecord(value) ? value : {})) {
    const { success, data } = ruleSchema.safeParse(written);
    rules[entityType] = success ? data : KEPT_HERE;
  }
  const holdsAll = issues.some(({ path }) => path.length === 0);
  const faults = issues.map((issue): RuleFault => {
    const { message, short, at } = faultOf(issue, where);
    const held = holdsAll ? 'nothing is sent.' : 'nothing it speaks of is sent.';
    return { message: `${message} Until that is corrected ${held}`, short, source, at: [...under, ...at] };
  });
  return { rules, holdsAll, faults };
}

function faultOf(issue: z.core.$ZodIssue, where: string): Omit<RuleFault, 'source'> {
  const at = issue.path.filter((step) => typeof step !== 'symbol');
  const [part] = at;
  const short = part === undefined ? issue.message : `"${part}" ${issue.message}`;
  const message = part === undefined ? `${where} ${short}` : `${where}: ${short}`;
  // Of unknown keys the first, of the rest the value that does not fit.
  const key = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  return { message, short, at: [...at, ...key] };
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(' and ');
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
