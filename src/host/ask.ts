// The questions commands ask, step by step, in VS Code's own quick inputs. Escape at any step ends the command: each
// function then throws `CancellationError`, which is told to nobody.
import * as vscode from 'vscode';
import type { LocalData } from '../engine/local-data.ts';
import { type JsonObject, OPERATIONS, type Operation } from '../protocol/changes.ts';
import type { EntityTypeInfo } from '../protocol/engine.ts';
import { CannotActError } from './notices.ts';

const IDS_OFFERED = 50;

export async function pick<T extends vscode.QuickPickItem>(
  items: readonly T[],
  title: string,
  placeHolder: string,
): Promise<T> {
  const chosen = await vscode.window.showQuickPick(items, {
    title,
    placeHolder,
    matchOnDescription: true,
    matchOnDetail: true,
    ignoreFocusOut: true,
  });
  if (chosen === undefined) throw new vscode.CancellationError();
  return chosen;
}

export async function ask(options: vscode.InputBoxOptions): Promise<string> {
  const answer = await vscode.window.showInputBox({ ignoreFocusOut: true, ...options });
  if (answer === undefined) throw new vscode.CancellationError();
  return answer;
}

export async function askEntityType(data: LocalData, title: string): Promise<EntityTypeInfo> {
  const types = await data.listEntityTypes();
  if (types.length === 0) {
    throw new CannotActError('Local Data: there is no entity type yet. Register one, or create the sample data.', [
      { title: 'Register Entity Type…', command: 'localData.registerEntityType' },
      { title: 'Create Sample Data', command: 'localData.createSampleData' },
    ]);
  }
  const items = types.map((info) => ({
    label: info.entityType,
    description: `${info.count.toLocaleString()} ${info.count === 1 ? 'entity' : 'entities'}`,
    detail: info.kind === 'table' ? `table ${info.table}, key ${info.key}` : `documents in ${info.table}`,
    info,
  }));
  return (await pick(items, title, 'Entity type')).info;
}

/** Offers ids that are there and takes any other that is typed. */
export async function askEntityId(data: LocalData, info: EntityTypeInfo, title: string): Promise<string> {
  const { rows } = await data.queryEntities(info.entityType, { limit: IDS_OFFERED });
  const known = rows.map((row) => ({ label: String(row[info.key]), description: summaryOf(row, info.key) }));
  const typed = await typedOrPicked(known, title, `Id of the ${info.entityType}: pick one or type another`);
  if (typed === '') throw new vscode.CancellationError();
  return typed;
}

function typedOrPicked(known: readonly vscode.QuickPickItem[], title: string, placeholder: string): Promise<string> {
  const input = vscode.window.createQuickPick();
  Object.assign(input, { title, placeholder, items: known, matchOnDescription: true, ignoreFocusOut: true });
  return new Promise<string>((resolve) => {
    // Whoever types and presses Enter at once means what was typed: the list may not have followed yet.
    let listFollows = true;
    input.onDidChangeActive(() => {
      listFollows = true;
    });
    input.onDidChangeValue((value) => {
      listFollows = value === '';
      const isNew = value !== '' && !known.some(({ label }) => label === value);
      input.items = isNew ? [{ label: value, description: 'as typed', alwaysShow: true }, ...known] : known;
    });
    input.onDidAccept(() => {
      const picked =
        listFollows && !known.some(({ label }) => label === input.value) ? input.activeItems[0]?.label : undefined;
      resolve(picked ?? input.value);
      input.hide();
    });
    input.onDidHide(() => {
      resolve('');
      input.dispose();
    });
    input.show();
  });
}

export async function askOperation(title: string): Promise<Operation> {
  const meanings: Readonly<Record<Operation, string>> = {
    insert: 'the whole entity; fails where it exists',
    update: 'only the fields given; fails where it is missing',
    delete: 'the entity goes away',
  };
  const items = OPERATIONS.map((operation) => ({ label: operation, description: meanings[operation], operation }));
  return (await pick(items, title, 'Operation')).operation;
}

/** One line of JSON, checked while it is typed. */
export async function askPayload(
  info: EntityTypeInfo,
  entityId: string,
  operation: Operation,
  title: string,
): Promise<JsonObject> {
  const { parsePayload } = await import('./documents/payload.ts');
  const start = startingPayload(info, operation);
  const text = await ask({
    title,
    prompt: `Payload of ${info.entityType} ${entityId} as JSON. Fields: ${fieldsOf(info)}`,
    value: start,
    valueSelection: [start.length - 1, start.length - 1],
    validateInput: (typed) => {
      try {
        parsePayload(typed);
        return undefined;
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    },
  });
  return parsePayload(text);
}

function fieldsOf(info: EntityTypeInfo): string {
  if (info.kind === 'document') return 'any';
  const writable = info.columns.filter(({ generated, name }) => !generated && name !== info.key);
  return writable.map(({ name, type }) => `${name} (${type})`).join(', ');
}

/** For an insert the fields it must have; an update carries only what is to differ. */
function startingPayload({ kind, columns, key }: EntityTypeInfo, operation: Operation): string {
  if (kind === 'document' || operation === 'update') return '{}';
  const required = columns.filter(({ notNull, hasDefault, name }) => notNull && !hasDefault && name !== key);
  return JSON.stringify(Object.fromEntries(required.map(({ name, type }) => [name, emptyValueOf(type)])));
}

function emptyValueOf(type: string): string | number | boolean {
  if (type === 'boolean') return false;
  return /^(integer|smallint|bigint|numeric|real|double)/.test(type) ? 0 : '';
}

function summaryOf(row: JsonObject, key: string): string {
  const text = Object.entries(row).find(([name, value]) => name !== key && typeof value === 'string' && value !== '');
  return text === undefined ? '' : String(text[1]).slice(0, 60);
}
