// The report of a comparison with the server, as Markdown. Pure.
import { sameJson } from '../../protocol/canonical-json.ts';
import type { Entity } from '../../protocol/changes.ts';
import type { VerifyDifference, VerifyReport } from '../../protocol/sync-state.ts';

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
  const rows = kind === 'different' || kind === 'not-as-base' ? tableOf(here, server) : [];
  return [`## ${entityType} ${entityId}`, '', MEANINGS[kind], '', ...rows];
}

function tableOf(here: Entity | null, server: Entity | null): string[] {
  const fields = [...new Set([...Object.keys(here ?? {}), ...Object.keys(server ?? {})])];
  const differing = fields.filter((field) => !sameJson(here?.[field] ?? null, server?.[field] ?? null));
  const cell = (value: unknown) =>
    JSON.stringify(value ?? null)
      .slice(0, 200)
      .replaceAll('|', '\\|');
  return [
    '| Field | Here | Server |',
    '| --- | --- | --- |',
    ...differing.map((field) => `| ${field} | ${cell(here?.[field])} | ${cell(server?.[field])} |`),
    '',
  ];
}
