// How entity types take part in synchronisation, as a person wrote it: in the setting, and in the workspace's own
// `.localdata/localdata.json`, which wins. What does not fit is named, and what it speaks of stays on this machine until it is
// corrected: nothing may be sent because of a slip of the pen.
import { CONFLICT_POLICIES, type EntityTypeSync, type SyncRules } from '../../protocol/sync-state.ts';

export interface RulesRead {
  readonly rules: SyncRules;
  /** One sentence for each part that does not fit. */
  readonly problems: readonly string[];
}

const KEPT_HERE: EntityTypeSync = { sync: false };
const HELD = ' Until that is corrected nothing it speaks of is sent.';

/** `where` names the source in what is said of it, such as `localData.sync.rules`. */
export function readRules(value: unknown, where: string): RulesRead {
  if (value === undefined) return { rules: {}, problems: [] };
  if (!isRecord(value)) return unreadable(`${where} must be an object of entity types.`);
  const rules: Record<string, EntityTypeSync> = {};
  const problems: string[] = [];
  for (const [entityType, rule] of Object.entries(value)) {
    const problem = problemOf(rule);
    rules[entityType] = problem === null ? (rule as EntityTypeSync) : KEPT_HERE;
    if (problem !== null) problems.push(`${where}: "${entityType}" ${problem}${HELD}`);
  }
  return { rules, problems };
}

/** For rules that cannot be read at all. */
export function unreadable(problem: string): RulesRead {
  return { rules: { '*': KEPT_HERE }, problems: [`${problem}${HELD}`] };
}

/** Type by type and field by field; the later one wins. */
export function joinRules(...all: readonly RulesRead[]): RulesRead {
  const rules: Record<string, EntityTypeSync> = {};
  for (const read of all) {
    for (const [entityType, rule] of Object.entries(read.rules)) rules[entityType] = { ...rules[entityType], ...rule };
  }
  return { rules, problems: all.flatMap(({ problems }) => problems) };
}

function problemOf(rule: unknown): string | null {
  if (!isRecord(rule)) return 'must be an object such as { "conflicts": "manual" }.';
  for (const [name, value] of Object.entries(rule)) {
    switch (name) {
      case 'sync':
        if (typeof value !== 'boolean') return 'has a "sync" that is neither true nor false.';
        break;
      case 'conflicts':
        if (!CONFLICT_POLICIES.some((policy) => policy === value)) {
          return `has "conflicts": ${JSON.stringify(value)}; it can be ${CONFLICT_POLICIES.join(', ')}.`;
        }
        break;
      default:
        return `has "${name}"; it can have "sync" and "conflicts".`;
    }
  }
  return null;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
