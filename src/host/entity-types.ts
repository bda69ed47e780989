// Finds registered entity types by name. Reads only.
import type { LocalData } from '../engine/local-data.ts';
import type { EntityTypeInfo } from '../protocol/engine.ts';

/** Undefined where no name is given or no such type is registered. */
export async function typeNamed(data: LocalData, entityType: string | undefined): Promise<EntityTypeInfo | undefined> {
  if (entityType === undefined) return undefined;
  return (await data.listEntityTypes()).find((info) => info.entityType === entityType);
}
