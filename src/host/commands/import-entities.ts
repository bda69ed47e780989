// Imports a JSON, JSON Lines or CSV file into an entity type, as changes under one label. What was refused, and why, is
// listed in a report; Undo Import takes the whole back.
import { basename } from 'node:path';
import * as vscode from 'vscode';
import type { LocalData } from '../../engine/local-data.ts';
import type { ImportProgress, ImportReport } from '../../protocol/engine.ts';
import { ask, pick } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { showReport } from '../documents/view-documents.ts';
import { withQuietProgress } from '../progress.ts';

export const importEntities = defineCommand('localData.import', async (host, givenFile, givenType) => {
  const data = host.database.require();
  const file = givenFile ?? (await askFile());
  const entityType = givenType ?? (await askTargetType(data, file));
  const report = await withQuietProgress(`Importing ${basename(file)}`, (work) =>
    data.importEntities(
      { file, entityType },
      {
        signal: work.signal,
        onProgress: (progress) => work.report(`${progress.rowsRead.toLocaleString()} rows`, fractionOf(progress)),
      },
    ),
  );
  host.log.info(`Imported ${report.rowsRecorded} of ${report.rowsRead} rows of ${file} into ${entityType}`);
  vscode.window.setStatusBarMessage(`$(check) ${summaryOf(report)}`, 8_000);
  if (report.refusedTotal > 0 || report.cancelled)
    await showReport(`Import of ${basename(file)}.md`, reportText(report));
  return report;
});

async function askFile(): Promise<string> {
  const chosen = await vscode.window.showOpenDialog({
    title: 'Import into Local Data',
    openLabel: 'Import',
    canSelectMany: false,
    filters: { 'JSON, JSON Lines, CSV': ['json', 'jsonl', 'ndjson', 'csv'] },
    ...(vscode.workspace.workspaceFolders?.[0] === undefined
      ? {}
      : { defaultUri: vscode.workspace.workspaceFolders[0].uri }),
  });
  if (chosen?.[0] === undefined) throw new vscode.CancellationError();
  return chosen[0].fsPath;
}

async function askTargetType(data: LocalData, file: string): Promise<string> {
  const types = await data.listEntityTypes();
  const title = `Import ${basename(file)}`;
  const chosen = await pick(
    [
      { label: '$(add) New document type…', description: 'keeps each row as a JSON document', entityType: undefined },
      ...types.map((info) => ({
        label: info.entityType,
        description: `${info.count.toLocaleString()} entities`,
        entityType: info.entityType,
      })),
    ],
    title,
    'Entity type to import into',
  );
  return chosen.entityType ?? newDocumentType(data, file, title);
}

async function newDocumentType(data: LocalData, file: string, title: string): Promise<string> {
  const taken = new Set((await data.listEntityTypes()).map(({ entityType }) => entityType));
  const entityType = await ask({
    title,
    prompt: 'Name of the new entity type',
    value: suggestedName(file),
    validateInput: (name) => {
      if (name.trim() === '') return 'Type a name, such as City.';
      return taken.has(name.trim())
        ? `There is an entity type ${name.trim()} already; pick it in the step before.`
        : undefined;
    },
  });
  const key = await ask({ title, prompt: 'Field that identifies a row', value: 'id' });
  await data.registerEntityType({ entityType: entityType.trim(), key: key.trim() === '' ? 'id' : key.trim() });
  return entityType.trim();
}

/** `world-cities.json` → `WorldCities`. */
function suggestedName(file: string): string {
  const words = basename(file)
    .replace(/\.[^.]*$/, '')
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '');
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
}

function fractionOf({ bytesRead, bytesTotal }: ImportProgress): number {
  return bytesTotal === 0 ? 0 : Math.min(1, bytesRead / bytesTotal);
}

function summaryOf({ rowsRecorded, refusedTotal, cancelled, entityType }: ImportReport): string {
  const refused = refusedTotal === 0 ? '' : `, ${refusedTotal.toLocaleString()} refused`;
  return `${rowsRecorded.toLocaleString()} rows imported into ${entityType}${refused}${cancelled ? ', cancelled' : ''}`;
}

function reportText(report: ImportReport): string {
  const { refused, refusedTotal } = report;
  const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  const rows = refused.map(({ row, reason }) => `| ${row} | ${cell(reason)} |`);
  const rest = refusedTotal - refused.length;
  return [
    `# Import of ${basename(report.file)} into ${report.entityType}`,
    '',
    `${report.rowsRead.toLocaleString()} rows read, ${report.rowsRecorded.toLocaleString()} recorded as changes, ${refusedTotal.toLocaleString()} refused.`,
    ...(report.cancelled
      ? ['', 'The import was cancelled; what had been recorded until then stays. Undo Import… takes it back.']
      : []),
    ...(rows.length === 0 ? [] : ['', '| Row | Why it was refused |', '| ---: | --- |', ...rows]),
    ...(rest > 0 ? ['', `… and ${rest.toLocaleString()} more.`] : []),
    '',
  ].join('\n');
}
