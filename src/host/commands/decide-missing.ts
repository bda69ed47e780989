// Entities that the server's earlier history had and its new one lacks: shows them, and asks whether they are sent to the
// server as they are or removed here. Nothing happens to them until a person has decided.
import * as vscode from 'vscode';
import type { MissingDecision, MissingEntity, MissingOutcome } from '../../protocol/sync-state.ts';
import { pick } from '../ask.ts';
import { defineCommand } from '../command.ts';
import { showReport } from '../documents/view-documents.ts';
import type { Host } from '../host.ts';
import { withQuietProgress } from '../progress.ts';
import { requireServer, withRemedy } from '../sync/require-server.ts';

const TITLE = 'Decide on Missing Entities';
const LISTED = 1_000;
const NAMED = 5;

interface Item extends vscode.QuickPickItem {
  readonly decision?: MissingDecision;
  readonly entity?: MissingEntity;
}

export const decideMissing = defineCommand('localData.sync.decideMissing', async (host) => {
  const { missing } = requireServer(host);
  const { sync } = host.database.require();
  const entities = await sync.missingEntities({ limit: LISTED });
  if (entities.length === 0) {
    void vscode.window.showInformationMessage('The server lacks nothing that it had before.');
    return;
  }
  const total = Math.max(missing, entities.length);
  const { decision, entity } = await pick(
    itemsOf(entities, total),
    TITLE,
    `The server lacks ${count(total)} that it had. What is to become of ${total === 1 ? 'it' : 'them'}?`,
  );
  if (entity !== undefined) host.entitiesPanel.open(entity);
  if (decision === undefined || !(await confirm(decision, entities, total))) return;
  await tell(await decide(host, decision));
});

/** The whole of them first; each can be looked at in the panel. */
function itemsOf(entities: readonly MissingEntity[], total: number): Item[] {
  const separator = total > entities.length ? `the first ${entities.length.toLocaleString()} of them` : 'all of them';
  return [
    { label: '$(cloud-upload) Send to Server', description: 'as they are here', decision: 'send' },
    { label: '$(trash) Remove Here', description: 'as on the server', decision: 'remove' },
    { label: separator, kind: vscode.QuickPickItemKind.Separator },
    ...entities.map((entity): Item => ({ label: `${entity.entityType} ${entity.entityId}`, entity })),
  ];
}

async function confirm(decision: MissingDecision, entities: readonly MissingEntity[], total: number): Promise<boolean> {
  const named = entities.slice(0, NAMED).map(({ entityType, entityId }) => `• ${entityType} ${entityId}`);
  if (total > named.length) named.push(`• and ${(total - named.length).toLocaleString()} more`);
  const { question, answer, meaning } = DECISIONS[decision];
  const chosen = await vscode.window.showWarningMessage(
    question(count(total)),
    { modal: true, detail: [meaning, ...named].join('\n') },
    answer,
  );
  return chosen === answer;
}

const DECISIONS: Readonly<
  Record<MissingDecision, { question: (what: string) => string; readonly answer: string; readonly meaning: string }>
> = {
  send: {
    question: (what) => `Send ${what} to the server?`,
    answer: 'Send',
    meaning: 'The server lost them or removed them; everybody who has this space gets them again:',
  },
  remove: {
    question: (what) => `Remove ${what} here?`,
    answer: 'Remove',
    meaning: 'The server does not have them. What other entities refer to stays. The backup of before has all of them:',
  },
};

async function decide(host: Host, decision: MissingDecision): Promise<MissingOutcome> {
  const { sync } = host.database.require();
  try {
    const title = decision === 'send' ? 'Sending what the server lacks' : 'Removing what the server lacks';
    return await withQuietProgress(title, () => sync.decideMissing(decision), { cancellable: false });
  } catch (error) {
    throw withRemedy(error);
  }
}

async function tell({ decided, refused }: MissingOutcome): Promise<void> {
  vscode.window.setStatusBarMessage(`$(check) ${count(decided)} decided on`, 5_000);
  if (refused.length === 0) return;
  const lines = refused.map(({ entityType, entityId, reason }) => `- ${entityType} ${entityId}: ${reason}`);
  await showReport(
    'Not Removed.md',
    ['# Not Removed', '', 'These stay, and the question with them.', '', ...lines, ''].join('\n'),
  );
}

function count(entities: number): string {
  return entities === 1 ? '1 entity' : `${entities.toLocaleString()} entities`;
}
