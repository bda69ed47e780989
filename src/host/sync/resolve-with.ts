// Resolves a conflict with an entity that a person put together.
import type { LocalData } from '../../engine/local-data.ts';
import type { Change } from '../../protocol/changes.ts';
import type { EntityTypeInfo } from '../../protocol/engine.ts';
import type { Merged } from './merge-fields.ts';

export async function resolveWith(data: LocalData, change: Change, merged: Merged): Promise<Change> {
  const info = await infoOf(data, change);
  const removed = info !== undefined && canLoseFields(info) ? merged.removed.filter((field) => field !== info.key) : [];
  return data.sync.resolve(change.id, { data: merged.data, removed });
}

/** A table's column is always there, whatever it holds. */
export function canLoseFields({ kind }: EntityTypeInfo): boolean {
  return kind === 'document';
}

export async function infoOf(data: LocalData, { entityType }: Change): Promise<EntityTypeInfo | undefined> {
  return (await data.listEntityTypes()).find((info) => info.entityType === entityType);
}
