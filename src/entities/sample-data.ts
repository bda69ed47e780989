// A small, believable team to try everything on: statements and changes as plain data. Three of the changes cannot be
// applied as they stand, each for another reason, so that finding out why and repairing it can be tried too.
import type { ChangeInput, Entity, JsonObject } from '../protocol/changes.ts';
import type { EntityTypeInfo, QueryResult, RegisterEntityType } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';

/** What creating the sample data needs of the engine. */
export interface SampleDataDeps {
  exec(sql: string): Promise<unknown>;
  query(sql: string): Promise<QueryResult>;
  registerEntityType(registration: RegisterEntityType): Promise<EntityTypeInfo>;
  getEntity(entityType: string, entityId: string): Promise<Entity | undefined>;
  /** True when a change of this entity is recorded and not done. */
  hasWaitingChange(entityType: string, entityId: string): Promise<boolean>;
  recordChanges(changes: readonly ChangeInput[]): Promise<unknown>;
}

/**
 * Makes the tables and records the changes. Run again it brings back what was deleted since and leaves all else alone;
 * the troubles come with the first run only.
 */
export async function createSampleData(deps: SampleDataDeps): Promise<void> {
  await refuseOtherTables(deps);
  await deps.exec(SAMPLE_TABLES_SQL);
  for (const registration of SAMPLE_ENTITY_TYPES) await deps.registerEntityType(registration);
  const wanted = sampleChanges();
  const missing: ChangeInput[] = [];
  for (const change of wanted) {
    const there = await deps.getEntity(change.entityType, change.entityId);
    if (there === undefined && !(await deps.hasWaitingChange(change.entityType, change.entityId))) missing.push(change);
  }
  const isFirst = missing.length === wanted.length;
  if (missing.length > 0) await deps.recordChanges(isFirst ? [...wanted, ...sampleTroubles()] : missing);
}

/** Somebody's own tables of these names are not for us to fill. */
async function refuseOtherTables(deps: SampleDataDeps): Promise<void> {
  const { rows } = await deps.query(
    `SELECT table_name::text AS "table", jsonb_agg(column_name::text) AS columns FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name IN ('users', 'projects', 'tasks') GROUP BY table_name`,
  );
  for (const { table, columns } of rows) {
    const needed = Object.keys(sampleChanges().find((change) => tableOf(change) === table)?.data ?? {});
    const there: readonly unknown[] = Array.isArray(columns) ? columns : [];
    const missing = needed.find((column) => !there.includes(column));
    if (missing === undefined) continue;
    throw new LocalDataError(
      'INVALID_ARGUMENT',
      `There is a table "${String(table)}" already, and it is not the sample's: it has no column "${missing}". Rename it, or create the sample data in another workspace.`,
      { table, column: missing },
    );
  }
}

function tableOf(change: ChangeInput): string | undefined {
  return SAMPLE_ENTITY_TYPES.find((type) => type.entityType === change.entityType)?.table;
}

/** Safe to run again: what is there stays. */
const SAMPLE_TABLES_SQL = `
CREATE TABLE IF NOT EXISTS users (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL CHECK (name <> ''),
  email TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'member', 'guest')),
  active BOOLEAN NOT NULL DEFAULT true,
  preferences JSONB NOT NULL DEFAULT '{}',
  joined_at TIMESTAMPTZ
);
CREATE TABLE IF NOT EXISTS projects (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL CHECK (name <> ''),
  status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('planned', 'active', 'paused', 'done')),
  owner_id TEXT REFERENCES users (id),
  budget NUMERIC(10, 2) CHECK (budget >= 0),
  starts_on DATE,
  tags JSONB NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS tasks (
  id TEXT PRIMARY KEY,
  title TEXT NOT NULL CHECK (title <> ''),
  project_id TEXT NOT NULL REFERENCES projects (id),
  assignee_id TEXT REFERENCES users (id),
  status TEXT NOT NULL DEFAULT 'todo' CHECK (status IN ('todo', 'doing', 'review', 'done')),
  priority INTEGER NOT NULL DEFAULT 3 CHECK (priority BETWEEN 1 AND 5),
  estimate_hours NUMERIC(6, 2) CHECK (estimate_hours >= 0),
  spent_hours NUMERIC(6, 2) NOT NULL DEFAULT 0 CHECK (spent_hours >= 0),
  remaining_hours NUMERIC(6, 2) GENERATED ALWAYS AS (GREATEST(estimate_hours - spent_hours, 0)) STORED,
  due_at TIMESTAMPTZ,
  details JSONB NOT NULL DEFAULT '{}'
);
`;

const SAMPLE_ENTITY_TYPES: readonly RegisterEntityType[] = [
  { entityType: 'User', table: 'users', key: 'id' },
  { entityType: 'Project', table: 'projects', key: 'id' },
  { entityType: 'Task', table: 'tasks', key: 'id' },
];

/** What exists once it has been applied, parents first. */
function sampleChanges(): ChangeInput[] {
  return [...insertsOf('User', USERS), ...insertsOf('Project', PROJECTS), ...insertsOf('Task', tasks())];
}

/** Recorded after {@link sampleChanges}; each is repaired by Edit & Retry with one corrected value. */
function sampleTroubles(): ChangeInput[] {
  return [FOREIGN_KEY_TROUBLE, CHECK_TROUBLE, BLOCKED_CHANGE];
}

/** Its project does not exist: a foreign-key failure. Set `project_id` to "website". */
const FOREIGN_KEY_TROUBLE: ChangeInput = {
  entityType: 'Task',
  entityId: 'task-041',
  operation: 'insert',
  data: {
    id: 'task-041',
    title: 'Write release notes',
    project_id: 'web-site',
    assignee_id: 'writer',
    priority: 2,
    estimate_hours: '3.00',
  },
};

/** Its priority is out of range: a CHECK failure. Set `priority` to a number from 1 to 5. */
const CHECK_TROUBLE: ChangeInput = {
  entityType: 'Task',
  entityId: 'task-007',
  operation: 'update',
  data: { priority: 9, status: 'doing' },
};

/** Later in the lane of the CHECK failure: waits for it, and is applied when it is. */
const BLOCKED_CHANGE: ChangeInput = {
  entityType: 'Task',
  entityId: 'task-007',
  operation: 'update',
  data: { status: 'review', spent_hours: '4.50' },
};

const USERS: readonly JsonObject[] = [
  user('designer', 'Design Lead', 'owner', '2025-02-03T08:30:00.000000Z', { theme: 'light', digest: 'daily' }),
  user('developer', 'Lead Developer', 'owner', '2025-02-03T08:30:00.000000Z', { theme: 'dark', digest: 'weekly' }),
  user('tester', 'Test Engineer', 'member', '2025-03-17T09:00:00.000000Z', { theme: 'dark' }),
  user('writer', 'Technical Writer', 'member', '2025-04-01T09:00:00.000000Z', { digest: 'daily' }),
  user('operator', 'Operations', 'member', '2025-05-12T07:45:00.000000Z', { theme: 'high-contrast' }),
  { ...user('guest', 'Visiting Reviewer', 'guest', '2025-09-08T10:00:00.000000Z', {}), active: false },
];

const PROJECTS: readonly JsonObject[] = [
  project('website', 'Website relaunch', 'active', 'designer', '24000.00', '2026-01-12', ['design', 'public']),
  project('mobile', 'Offline mobile app', 'active', 'developer', '58500.00', '2026-02-02', ['offline', 'app']),
  project('handbook', 'Team handbook', 'paused', 'writer', '3200.00', '2025-11-03', ['docs']),
  project('billing', 'Billing migration', 'planned', 'developer', '31000.00', '2026-05-04', ['backend', 'finance']),
  project('backups', 'Backup drill', 'done', 'operator', '1500.00', '2025-10-06', ['operations']),
];

type Status = 'todo' | 'doing' | 'review' | 'done';
type TaskLine = readonly [
  title: string,
  assignee: string | null,
  status: Status,
  priority: number,
  hours: number,
  spent: number,
];

const TASK_LINES: Readonly<Record<string, readonly TaskLine[]>> = {
  website: [
    ['Draw the new navigation', 'designer', 'done', 2, 8, 9.5],
    ['Choose typefaces and colours', 'designer', 'done', 3, 6, 5],
    ['Collect the pages to keep', 'writer', 'done', 2, 10, 12],
    ['Build the page templates', 'developer', 'doing', 1, 24, 11],
    ['Rewrite the landing page', 'writer', 'review', 1, 8, 7.5],
    ['Redirect old addresses', 'operator', 'todo', 2, 5, 0],
    ['Check contrast in all themes', 'tester', 'todo', 2, 4, 1],
    ['Compress images', 'developer', 'todo', 4, 3, 0],
    ['Measure loading time on slow lines', 'tester', 'todo', 3, 4, 0],
    ['Plan the launch day', null, 'todo', 3, 2, 0],
  ],
  mobile: [
    ['Sketch the offline states', 'designer', 'done', 1, 12, 10],
    ['Store entries on the device', 'developer', 'done', 1, 30, 34],
    ['Show what still waits to be sent', 'developer', 'doing', 1, 16, 6],
    ['Explain a failed change in one sentence', 'writer', 'doing', 2, 4, 1.5],
    ['Try a week without network', 'tester', 'todo', 1, 20, 0],
    ['Recover after the battery dies', 'developer', 'todo', 1, 12, 0],
    ['Icons for every status', 'designer', 'review', 3, 6, 6],
    ['Reduce the download size', 'developer', 'todo', 4, 10, 0],
    ['Prepare the store pages', 'writer', 'todo', 4, 6, 0],
    ['Ask ten people to try it', null, 'todo', 2, 15, 0],
  ],
  handbook: [
    ['Describe the first week', 'writer', 'done', 2, 6, 6],
    ['How we review', 'developer', 'review', 3, 4, 3],
    ['How we answer questions', 'operator', 'todo', 3, 3, 0],
    ['A page of words we use', 'writer', 'doing', 2, 5, 2],
    ['Collect the checklists', 'tester', 'todo', 4, 4, 0],
    ['Where things are kept', 'operator', 'done', 3, 2, 2],
    ['Remove what is out of date', null, 'todo', 5, 6, 0],
  ],
  billing: [
    ['List every invoice format', 'developer', 'todo', 2, 8, 0],
    ['Agree on rounding', 'developer', 'todo', 1, 3, 0],
    ['Import last year as a trial', 'operator', 'todo', 2, 12, 0],
    ['Compare totals before and after', 'tester', 'todo', 1, 10, 0],
    ['Write to customers', 'writer', 'todo', 3, 4, 0],
    ['Choose the day to switch', null, 'todo', 2, 1, 0],
  ],
  backups: [
    ['Restore last night on a spare machine', 'operator', 'done', 1, 6, 5],
    ['Time the restore', 'operator', 'done', 2, 2, 2],
    ['Compare row counts', 'tester', 'done', 1, 3, 4],
    ['Write down every step', 'writer', 'done', 2, 4, 3.5],
    ['Restore without the person who knows', 'guest', 'done', 1, 6, 8],
    ['Keep one copy elsewhere', 'operator', 'done', 1, 3, 3],
    ['Repeat it every quarter', 'operator', 'todo', 3, 1, 0],
  ],
};

function user(id: string, name: string, role: string, joinedAt: string, preferences: JsonObject): JsonObject {
  return { id, name, email: `${id}@team.example`, role, active: true, preferences, joined_at: joinedAt };
}

function project(
  id: string,
  name: string,
  status: string,
  ownerId: string,
  budget: string,
  startsOn: string,
  tags: string[],
): JsonObject {
  return { id, name, status, owner_id: ownerId, budget, starts_on: startsOn, tags };
}

/** Numbered through all projects, so that ids are short and sort as they were planned. */
function tasks(): JsonObject[] {
  let number = 0;
  return Object.entries(TASK_LINES).flatMap(([projectId, lines]) =>
    lines.map((line) => task(++number, projectId, line)),
  );
}

function task(number: number, projectId: string, line: TaskLine): JsonObject {
  const [title, assignee, status, priority, hours, spent] = line;
  const dueDay = new Date(Date.UTC(2026, 1, 2 + number * 3, 16));
  return {
    id: `task-${String(number).padStart(3, '0')}`,
    title,
    project_id: projectId,
    assignee_id: assignee,
    status,
    priority,
    estimate_hours: hours.toFixed(2),
    spent_hours: spent.toFixed(2),
    due_at: dueDay.toISOString().replace('Z', '000Z'),
    details: { area: projectId, reviewed: status === 'done', links: [] },
  };
}

function insertsOf(entityType: string, rows: readonly JsonObject[]): ChangeInput[] {
  return rows.map((data) => ({ entityType, entityId: String(data['id']), operation: 'insert', data }));
}
