// JSON schemas of payloads, made from the tables, for VS Code's own JSON editing (completion, hovers, problems).
import * as vscode from 'vscode';
import { type JsonObject, OPERATIONS, type Operation } from '../../protocol/changes.ts';
import { SCHEMES } from '../contributions.ts';
import type { Host } from '../host.ts';

export function schemaUri(entityType: string, operation: Operation): vscode.Uri {
  return vscode.Uri.from({ scheme: SCHEMES.schema, path: `/${encodeURIComponent(entityType)}/${operation}.json` });
}

export function registerSchemaDocuments(host: Host): vscode.Disposable {
  return vscode.workspace.registerTextDocumentContentProvider(SCHEMES.schema, {
    provideTextDocumentContent: async (uri) => JSON.stringify(await schemaOf(host, uri), null, 2),
  });
}

async function schemaOf(host: Host, uri: vscode.Uri): Promise<JsonObject> {
  const [, type, file] = uri.path.split('/');
  const operation = OPERATIONS.find((one) => `${one}.json` === file);
  const state = await host.database.whenSettled();
  if (state.kind !== 'ready' || type === undefined || operation === undefined) return {};
  const entityType = decodeURIComponent(type);
  const types = await state.data.listEntityTypes();
  if (!types.some((info) => info.entityType === entityType)) return {};
  return allowingNote(await state.data.describePayload(entityType, operation));
}

/** The document's own `$schema` line is no field of the payload and must not be marked as an unknown one. */
function allowingNote(schema: JsonObject): JsonObject {
  const { properties } = schema;
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) return schema;
  const note = { type: 'string', description: 'Names the schema of this payload; not saved with it.' };
  return { ...schema, properties: { $schema: note, ...properties } };
}
