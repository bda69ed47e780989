// The report of a comparison with the server, as Markdown. Pure.
import { sameJson } from '../../protocol/canonical-json.ts';
import type { Entity, JsonValue } from '../../protocol/changes.ts';
import type { VerifyDifference, VerifyReport } from '../../protocol/sync-state.ts';

/** The change that made a value holds all of it. */
const LONGEST = 200;

const MEANINGS: Readonly<Record<VerifyDifference['kind'], string>> = {
  'missing-here': 'The server has it, this database does not.',
  'missing-there': 'This database has it, the server does not.',
  different: 'Both have it, with other values:',
  'not-as-base': 'It is not what the server sent last:',
};

export function verifyText(report: VerifyReport, url: string, at: Date): string {
  const { version, compared, differences, differencesTotal } = report;
  const listed =
    differencesTotal > differences.length ? ` The first ${differences.length.toLocaleString()} are listed.` : '';
  return [
    '# Verify Against Server',
    '',
    `${url}, ${at.toLocaleString()}, version ${version.toLocaleString()}.`,
    '',
    `**${differencesTotal.toLocaleString()}** of ${compared.toLocaleString()} entities differ.${listed} Changes that still wait here are left out of the comparison.`,
    '',
    ...differences.flatMap(linesOf),
  ].join('\n');
}

function linesOf({ entityType, entityId, kind, server, here }: VerifyDifference): string[] {
  const lines =
    here !== null && server !== null ? fieldsOf(here, server) : [`- ${valueOf(here ?? server ?? undefined)}`];
  return [`## ${entityType} ${entityId}`, '', MEANINGS[kind], '', ...lines, ''];
}

/** As a list: the lines of a table would be broken where the editor is narrow. */
function fieldsOf(here: Entity, server: Entity): string[] {
  const fields = [...new Set([...Object.keys(here), ...Object.keys(server)])];
  const isSame = (field: string) => field in here === field in server && sameJson(here[field], server[field]);
  return fields
    .filter((field) => !isSame(field))
    .flatMap((field) => [`- ${field}`, `  - here: ${valueOf(here[field])}`, `  - server: ${valueOf(server[field])}`]);
}

function valueOf(value: JsonValue | undefined): string {
  if (value === undefined) return '(not there)';
  const text = JSON.stringify(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}
