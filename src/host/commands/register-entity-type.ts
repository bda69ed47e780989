// Makes a table an entity type, or makes a new type of JSON documents.
import * as vscode from 'vscode';
import type { LocalData } from '../../engine/local-data.ts';
import { ask, pick } from '../ask.ts';
import { defineCommand } from '../command.ts';

const TITLE = 'Register Entity Type';
const UNREGISTERED_TABLES = `
  SELECT n.nspname AS schema, c.relname AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT LIKE 'local\\_data%' AND c.relname NOT LIKE 'local\\_%'
    AND c.relname NOT LIKE 'entity\\_%'
  ORDER BY 1, 2`;

export const registerEntityType = defineCommand('localData.registerEntityType', async (host) => {
  const data = host.database.require();
  const table = await askTable(data);
  const taken = new Set((await data.listEntityTypes()).map(({ entityType }) => entityType));
  const entityType = await ask({
    title: TITLE,
    prompt: table === undefined ? 'Name of the new entity type' : `Name of the entities of ${table}, such as Task`,
    value: table === undefined ? '' : singular(table),
    validateInput: (name) => {
      if (name.trim() === '') return 'Type a name, such as Task.';
      return taken.has(name.trim()) ? `There is an entity type ${name.trim()} already.` : undefined;
    },
  });
  const info = await data.registerEntityType({
    entityType: entityType.trim(),
    ...(table === undefined ? {} : { table }),
  });
  const message = `$(check) ${info.entityType} registered over table ${info.table}, key ${info.key}`;
  vscode.window.setStatusBarMessage(message, 5_000);
});

async function askTable(data: LocalData): Promise<string | undefined> {
  const registered = new Set((await data.listEntityTypes()).map(({ table }) => table));
  const { rows } = await data.query(UNREGISTERED_TABLES, [], { limit: 1_000 });
  const tables = rows
    .map(({ schema, name }) => (schema === 'public' ? String(name) : `${String(schema)}.${String(name)}`))
    .filter((table) => !registered.has(table) && !registered.has(`public.${table}`));
  const chosen = await pick(
    [
      { label: '$(json) JSON documents', description: 'a new table of documents with an id', table: undefined },
      ...tables.map((table) => ({ label: `$(table) ${table}`, description: 'an existing table', table })),
    ],
    TITLE,
    'What are the entities kept in?',
  );
  return chosen.table;
}

/** `project_tasks` → `ProjectTask`; only a suggestion. */
function singular(table: string): string {
  const words = (table.split('.').at(-1) ?? table).split('_').filter((word) => word !== '');
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  return name.replace(/ies$/, 'y').replace(/(?<!s)s$/, '');
}
