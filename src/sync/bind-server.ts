// Whom a database belongs to: one space of one server, and one history of it. Another is refused, with the choice that a
// person has; a new history is taken over only when asked to, after a backup, and deletes nothing.
import { LocalDataError } from '../protocol/errors.ts';
import type { SpaceInfo } from '../protocol/sync.ts';
import type { ConnectOptions } from '../protocol/sync-state.ts';
import type { Session } from '../db/database.ts';
import type { EntityType } from '../db/entity-types.ts';
import { listCandidates } from './missing-entities.ts';
import { supersedeType } from './present-state.ts';
import { type Binding, bind, readBinding, setBinding } from './sync-binding.ts';
import type { SyncLedger } from './sync-ledger.ts';
import { type SyncTransport, TransportError } from './transport.ts';
import { enter } from './type-standing.ts';

/** Milliseconds. */
const PULL_TIMEOUT = 30_000;

/** Who has answered, and how to ask on. */
export interface Answering {
  readonly info: SpaceInfo;
  readonly transport: SyncTransport;
  readonly signal: AbortSignal;
}

export async function bindToServer(ledger: SyncLedger, server: Answering, options: ConnectOptions): Promise<void> {
  const { epoch, space } = server.info;
  const { url } = options;
  const present = await ledger.parts.read(readBinding);
  if (present === undefined) await bindAnew(ledger, { url, space, epoch });
  else {
    if (present.space !== space) throw otherServer(present, url, space);
    const isAnother = present.epoch !== epoch || ledger.unseen.isOfAnother(server.info.version);
    if (isAnother || (await wasPutBack(ledger, present, server))) {
      if (options.onServerChanged !== 'start-anew') throw serverChanged(present);
      await startAnew(ledger, epoch);
    }
    const rules = JSON.stringify(ledger.rules);
    await ledger.parts.write((session) => setBinding(session, { url, connected: true, paused: false, rules }));
  }
  await ledger.reread();
}

/** The history has the same name, and yet is not the one that the cursor stands in. Only the server can tell for sure. */
async function wasPutBack(ledger: SyncLedger, { cursor }: Binding, { transport, signal }: Answering): Promise<boolean> {
  if (cursor === null) return false;
  try {
    await ledger.ask(PULL_TIMEOUT, signal, (call) => transport.pull({ after: cursor, limit: 1, wait: 0 }, call));
    return false;
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    if (error.kind === 'history-changed' || error.kind === 'epoch-changed') return true;
    // It is contact's business to go on from there.
    if (error.kind === 'cursor-expired' || error.kind === 'too-large') return false;
    throw error;
  }
}

export async function requireSameHistory(ledger: SyncLedger, server: Answering): Promise<void> {
  const { info } = server;
  const binding = ledger.requireBinding();
  if (info.space !== binding.space) throw otherServer(binding, binding.url, info.space);
  if (info.epoch !== binding.epoch || ledger.unseen.isOfAnother(info.version)) throw serverChanged(binding);
  // A pull and a page of a snapshot are verified by the server; only what begins anew is not.
  const beginsAnew = binding.phase === 'snapshot' && binding.snapshot_page === null;
  if (beginsAnew && (await wasPutBack(ledger, binding, server))) throw serverChanged(binding);
}

/** The next contact receives everything the server has. The cursor stays: by it another history is told. */
export async function beginSnapshot(session: Session): Promise<void> {
  await session.run(
    `UPDATE local_data.sync_binding SET phase = 'snapshot', snapshot = snapshot + 1, snapshot_page = NULL,
       snapshot_cursor = NULL`,
  );
}

async function bindAnew(
  ledger: SyncLedger,
  to: { readonly url: string; readonly space: string; readonly epoch: string },
): Promise<void> {
  const clientId = ledger.parts.newId();
  const { rules } = ledger;
  await ledger.write(async (context) => {
    await bind(context.session, { ...to, clientId, rules });
    for (const type of takingPart(ledger)) {
      await supersedeType(context, type, { entities: 'all', occasion: 'the first connect' });
      await enter(context.session, type.entityType);
    }
  }, clientId);
}

function takingPart(ledger: SyncLedger): EntityType[] {
  return ledger.parts.entityTypes.parentsFirst().filter(({ entityType }) => !ledger.isLocalOnly(entityType));
}

/**
 * A new history: nothing here is deleted. What the earlier one never had, and what was changed here since, is sent; what it
 * had and the new one lacks is asked about once the snapshot is here.
 */
async function startAnew(ledger: SyncLedger, epoch: string): Promise<void> {
  await ledger.parts.backUp();
  await ledger.write(async (context) => {
    const { session } = context;
    await listCandidates(context, takingPart(ledger));
    await session.run(`DELETE FROM local_data.entity_bases`);
    await session.run(`DELETE FROM local_data.feed_pages`);
    await session.run(
      `UPDATE local_changes c SET base_version = 0, base_timestamp = 0 WHERE NOT c.processed_sync AND c.origin <> 'remote'`,
    );
    await session.run(`UPDATE local_changes c SET accepted_version = NULL WHERE c.accepted_version IS NOT NULL`);
    await session.run(`UPDATE local_data.sync_binding SET in_doubt = '{}'`);
    await session.run(`UPDATE local_data.synced_types SET left_version = 0, shape = NULL`);
    await setBinding(session, { epoch, version: 0, cursor: null });
    await beginSnapshot(session);
    for (const type of takingPart(ledger)) {
      await supersedeType(context, type, { entities: 'all', keepsDeletes: true, occasion: 'the new history' });
    }
  });
  ledger.unseen.clear();
  ledger.noteMissing();
}

function otherServer(binding: Binding, url: string, space: string): LocalDataError {
  return new LocalDataError(
    'SYNC_OTHER_SERVER',
    `This database belongs to space "${binding.space}" of ${binding.url}, and the token is for space "${space}" of ${url}. Use a token for "${binding.space}", or export and start anew with an empty database.`,
    { url: binding.url, space: binding.space, epoch: binding.epoch, otherUrl: url, otherSpace: space },
  );
}

function serverChanged(binding: Binding): LocalDataError {
  return new LocalDataError(
    'SYNC_SERVER_CHANGED',
    `The server at ${binding.url} has another history than this database knows: it was reset or put back to an earlier state, or it is another server. Start anew with it (a backup is written first, nothing here is deleted), or connect to the server this database belongs to.`,
    { url: binding.url, space: binding.space, epoch: binding.epoch },
  );
}

/** The space a token names; nothing is proven by it, the server decides. */
export function spaceOfToken(token: string): string {
  try {
    const [, payload = ''] = token.split('.');
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    const space: unknown = typeof claims === 'object' && claims !== null ? Reflect.get(claims, 'space') : undefined;
    if (typeof space === 'string' && space !== '') return space;
  } catch {
    // Not a JSON Web Token: the same answer as for one without a space.
  }
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    'The token names no space. Paste the whole token as the server gave it, or name the space.',
    { field: 'token' },
  );
}
