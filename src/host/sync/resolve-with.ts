// Resolves a conflict with an entity that a person put together. The face resolves by what is written, and what is not named
// stays as the server has it; a field that is to go is therefore taken out by a change of its own, right after.
import type { LocalData } from '../../engine/local-data.ts';
import type { Change } from '../../protocol/changes.ts';
import type { EntityTypeInfo } from '../../protocol/engine.ts';
import type { Merged } from './merge-fields.ts';

export async function resolveWith(data: LocalData, change: Change, merged: Merged): Promise<Change> {
  const info = await infoOf(data, change);
  const resolved = await data.sync.resolve(change.id, { data: merged.data });
  const removed = merged.removed.filter((field) => field !== info?.key);
  if (info !== undefined && canLoseFields(info) && removed.length > 0) {
    await takeOut(data, info, change.entityId, removed);
  }
  return resolved;
}

/** A table's column is always there, whatever it holds. */
export function canLoseFields({ kind }: EntityTypeInfo): boolean {
  return kind === 'document';
}

export async function infoOf(data: LocalData, { entityType }: Change): Promise<EntityTypeInfo | undefined> {
  return (await data.listEntityTypes()).find((info) => info.entityType === entityType);
}

async function takeOut(data: LocalData, { table }: EntityTypeInfo, id: string, fields: readonly string[]) {
  const sqlTable = table.split('.').map((part) => `"${part.replaceAll('"', '""')}"`);
  await data.exec(
    `UPDATE ${sqlTable.join('.')} SET data = data - ARRAY(SELECT jsonb_array_elements_text($1::jsonb)) WHERE id = $2`,
    [JSON.stringify(fields), id],
  );
}
