// The one row that says which server and space this database belongs to and how far it has come. Written in the same
// transaction as the data it speaks of, so that the cursor is never ahead.
import type { SyncRules } from '../protocol/sync-state.ts';
import type { Session } from '../db/database.ts';

/** `snapshot` receives bases, `applying` puts them in place, `linked` follows the feed. */
export type Phase = 'snapshot' | 'applying' | 'linked';

export interface Binding {
  readonly [column: string]: unknown;
  readonly url: string;
  readonly space: string;
  readonly epoch: string;
  readonly client_id: string;
  readonly phase: Phase;
  /** False after a disconnect. */
  readonly connected: boolean;
  readonly paused: boolean;
  readonly cursor: string | null;
  readonly version: number;
  /** Counts snapshots; bases carry the number of the last that had them. */
  readonly snapshot: number;
  readonly snapshot_page: string | null;
  readonly snapshot_cursor: string | null;
  readonly snapshot_version: number | null;
  readonly snapshot_total: number | null;
  readonly last_push_at: number | null;
  readonly last_pull_at: number | null;
  /** Null where nobody has said yet how entity types take part. */
  readonly rules: SyncRules | null;
}

const COLUMNS = `url, space, epoch, client_id, phase, connected, paused, cursor, version, snapshot, snapshot_page,
  snapshot_cursor, snapshot_version, snapshot_total, last_push_at, last_pull_at, rules`;

export async function readBinding(session: Session): Promise<Binding | undefined> {
  const [row] = await session.run<Binding>(`SELECT ${COLUMNS} FROM local_data.sync_binding`);
  return row;
}

export async function bind(
  session: Session,
  to: {
    readonly url: string;
    readonly space: string;
    readonly epoch: string;
    readonly clientId: string;
    readonly rules: SyncRules;
  },
): Promise<void> {
  await session.run(
    `INSERT INTO local_data.sync_binding (url, space, epoch, client_id, phase, snapshot, rules)
     VALUES ($1, $2, $3, $4, 'snapshot', 1, $5)`,
    [to.url, to.space, to.epoch, to.clientId, JSON.stringify(to.rules)],
  );
}

export async function setBinding(
  session: Session,
  values: Partial<Record<keyof Binding & string, string | number | boolean | null>>,
): Promise<void> {
  const columns = Object.keys(values);
  const list = columns.map((column, index) => `${column} = $${index + 1}`).join(', ');
  await session.run(
    `UPDATE local_data.sync_binding SET ${list}`,
    columns.map((column) => values[column] ?? null),
  );
}
