// Finds the data directory of the walked demo and has a separate process read it, to set it beside what the screen said.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { node24 } from '../../scripts/project.ts';
import type { Comparison } from './report.ts';
import type { ScreenFacts } from './steps.ts';

interface DataFound {
  readonly statuses: Readonly<Record<string, number>>;
  readonly types: Readonly<Record<string, number>>;
  readonly waiting: readonly string[];
  readonly entity: Readonly<Record<string, unknown>> | undefined;
}

export function compareWithData(project: string, facts: ScreenFacts): Comparison[] {
  const { entityType, entityId, field, value } = facts.entity;
  const reader = fileURLToPath(new URL('./read-data.ts', import.meta.url));
  const words = [reader, join(project, 'dist/engine.js'), dataDirectory(project), entityType, entityId];
  const found = JSON.parse(execFileSync(node24(), words, { encoding: 'utf8' })) as DataFound;
  const { statuses } = found;
  const finished = (statuses.applied ?? 0) + (statuses.synced ?? 0) + (statuses.discarded ?? 0);
  const doneHere = (facts.groups.Finished ?? 0) + (facts.groups['Waiting for the server'] ?? 0);
  return [
    { what: 'Failed changes', screen: String(facts.groups.Failed ?? 0), data: String(statuses.failed ?? 0) },
    { what: 'Blocked changes', screen: String(facts.groups.Blocked ?? 0), data: String(statuses.blocked ?? 0) },
    { what: 'Changes that are finished or wait for the server', screen: String(doneHere), data: String(finished) },
    { what: 'Changes that wait', screen: [...facts.waiting].sort().join(', '), data: found.waiting.join(', ') },
    ...Object.entries(facts.types).map(([type, count]) => ({
      what: `${type} entities`,
      screen: String(count),
      data: String(found.types[type] ?? 0),
    })),
    { what: `${field} of ${entityType} ${entityId}`, screen: value, data: String(found.entity?.[field]) },
  ];
}

function dataDirectory(project: string): string {
  const demo = join(project, '.localdata-demo/vscode');
  const files = readdirSync(demo, { recursive: true, encoding: 'utf8' });
  const found = files.filter((file) => /globalStorage.*databases[\\/][^\\/]+[\\/]data[\\/]PG_VERSION$/.test(file));
  const [only] = found;
  if (only !== undefined && found.length === 1) return join(demo, dirname(only));
  throw new Error(`${demo} should hold the one database of the demo, and holds ${found.length}.`);
}
