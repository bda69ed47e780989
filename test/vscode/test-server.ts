// The server that the suite's runner has started, and what another client does there.
import assert from 'node:assert/strict';
import type { JsonObject, Operation } from '../../src/protocol/changes.ts';
import {
  pushResponseSchema,
  snapshotEntitySchema,
  snapshotResponseSchema,
  spaceInfoSchema,
} from '../../src/protocol/sync.ts';

export const url = process.env['LOCAL_DATA_TEST_SERVER'] ?? '';
/** Another server, which takes the same tokens. */
export const otherUrl = process.env['LOCAL_DATA_TEST_OTHER_SERVER'] ?? '';
/** For the space `team`. */
export const token = process.env['LOCAL_DATA_TEST_TOKEN'] ?? '';
/** For the space `elsewhere` of the same server. */
export const otherToken = process.env['LOCAL_DATA_TEST_OTHER_TOKEN'] ?? '';
/** Signed with another secret. */
export const forged = process.env['LOCAL_DATA_TEST_FORGED_TOKEN'] ?? '';

/** The server is closed, loses all that it had, and is started again at its address: another history. */
export async function resetServer(): Promise<void> {
  const answer = await fetch(process.env['LOCAL_DATA_TEST_RESET'] ?? '', { method: 'POST' });
  assert.equal(answer.status, 200);
}

const spaceOf = (server: string) => `${server}/v1/spaces/team`;
const space = spaceOf(url);
const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };

export async function info() {
  return spaceInfoSchema.parse(await (await fetch(space, { headers })).json());
}

export interface Write {
  readonly entityType?: string;
  readonly entityId: string;
  readonly operation?: Operation;
  readonly data?: JsonObject | null;
  /** Default: what the server has now. */
  readonly baseVersion?: number;
}

/** As another client does, which knows all that the server has. */
export async function writeThere(write: Write): Promise<void> {
  const { epoch, version } = await info();
  const { entityType = 'Task', entityId, operation = 'update', data = null, baseVersion = version } = write;
  const made = { id: crypto.randomUUID(), transactionId: null, timestamp: Date.now() };
  const changes = [{ ...made, entityType, entityId, operation, data, baseVersion }];
  const body = JSON.stringify({ clientId: 'another client', epoch, cursor: null, changes });
  const answer = await fetch(`${space}/changes`, { method: 'POST', headers, body });
  assert.equal(answer.status, 200);
  const { results } = pushResponseSchema.parse(await answer.json());
  assert.deepEqual(
    results.map(({ outcome }) => outcome),
    ['applied'],
  );
}

/** In the space `team`. */
export async function entityThere(entityType: string, entityId: string, server = url): Promise<JsonObject | undefined> {
  for (let page = ''; ;) {
    const answer = await fetch(`${spaceOf(server)}/snapshot${page === '' ? '' : `?page=${page}`}`, { headers });
    const { entities, next } = snapshotResponseSchema.parse(await answer.json());
    const found = entities
      .map((entity) => snapshotEntitySchema.parse(entity))
      .find((entity) => entity.entityType === entityType && entity.entityId === entityId);
    if (found !== undefined || next === null) return found?.entity;
    page = encodeURIComponent(next);
  }
}
