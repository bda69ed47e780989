// The table and the rows that the benchmark works on, the same for the engine and for what it is compared with.
import type { ChangeInput, JsonObject } from '../../src/protocol/changes.ts';

export const TASKS_SQL = `CREATE TABLE tasks (
  id TEXT PRIMARY KEY, title TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'todo', priority INTEGER NOT NULL DEFAULT 3,
  done BOOLEAN NOT NULL DEFAULT false)`;

/** The changes table as the founding document gives it, with its three indexes and nothing else. */
export const BARE_CHANGES_SQL = `CREATE TABLE bare_changes (
  id TEXT PRIMARY KEY, entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, operation TEXT NOT NULL, data JSONB,
  timestamp BIGINT NOT NULL, processed_local BOOLEAN DEFAULT FALSE, processed_sync BOOLEAN DEFAULT FALSE,
  error TEXT, attempts INTEGER DEFAULT 0);
CREATE INDEX bare_processed_local ON bare_changes(processed_local);
CREATE INDEX bare_processed_sync ON bare_changes(processed_sync);
CREATE INDEX bare_entity ON bare_changes(entity_type, entity_id)`;

export function task(id: string): JsonObject {
  return { id, title: `Task ${id} with a title of usual length`, status: 'doing', priority: 2, done: false };
}

/** Of ten changes five are inserts, four updates of entities that are there, one a delete of another that is there. */
export function mixedChanges(count: number): ChangeInput[] {
  return Array.from({ length: count }, (_, index): ChangeInput => {
    const kind = index % 10;
    if (kind < 5)
      return { entityType: 'Task', entityId: `new-${index}`, operation: 'insert', data: task(`new-${index}`) };
    if (kind < 9) {
      return {
        entityType: 'Task',
        entityId: `old-${index}`,
        operation: 'update',
        data: { status: 'review', priority: index % 5 },
      };
    }
    return { entityType: 'Task', entityId: `old-${index}`, operation: 'delete', data: null };
  });
}

/** SQL that makes the entities which {@link mixedChanges} updates and deletes. */
export function existingTasksSql(count: number): string {
  return `INSERT INTO tasks (id, title) SELECT 'old-' || i, 'Task ' || i FROM generate_series(0, ${count - 1}) i WHERE i % 10 >= 5`;
}
