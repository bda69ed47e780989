// How entity types take part in synchronisation, as a person wrote it: in the setting, and in the workspace's own
// `.localdata/localdata.json`, which wins. What does not fit is named and left out; the rest holds.
import { CONFLICT_POLICIES, type EntityTypeSync, type SyncRules } from '../../protocol/sync-state.ts';

export interface RulesRead {
  readonly rules: SyncRules;
  /** One sentence for each part that does not fit. */
  readonly problems: readonly string[];
}

/** `where` names the source in what is said of it, such as `localData.sync.rules`. */
export function readRules(value: unknown, where: string): RulesRead {
  if (value === undefined) return { rules: {}, problems: [] };
  if (!isRecord(value)) return { rules: {}, problems: [`${where} must be an object of entity types.`] };
  const rules: Record<string, EntityTypeSync> = {};
  const problems: string[] = [];
  for (const [entityType, rule] of Object.entries(value)) {
    const problem = problemOf(rule);
    if (problem === null) rules[entityType] = rule as EntityTypeSync;
    else problems.push(`${where}: "${entityType}" ${problem}`);
  }
  return { rules, problems };
}

/** Type by type; the later one wins as a whole. */
export function joinRules(...all: readonly RulesRead[]): RulesRead {
  return {
    rules: Object.assign({}, ...all.map(({ rules }) => rules)) as SyncRules,
    problems: all.flatMap(({ problems }) => problems),
  };
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
