/** An entity's name as the path of a document has it: a slash in it must not make a folder. */
export function nameInPath(entityType: string, entityId: string): string {
  return `${entityType} ${entityId}`.replaceAll('/', '∕');
}
