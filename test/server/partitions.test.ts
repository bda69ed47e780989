// The tables distribute by space as they are: laid out in partitions by its hash, the server works on them, and each of its
// statements touches the one partition of its space.
import assert from 'node:assert/strict';
import pg from 'pg';
import { INDEXES, SCHEMA, SCHEMA_VERSION, TABLES } from '../../src/server/schema.ts';
import { STATEMENTS } from '../../src/server/statements.ts';
import { ProtocolClient, sharedPostgres, startForTest } from '../support/server.ts';

const PARTS = 8;
const SPACE = 'space-3';
const entity = [['Task'], ['new'], [99], [1], ['c'], [false], ['{}'], ['[[99, "c", 1], {}]'], ['h'], [1], [2]];
const remembered = [['x'], [99], ['h']];
const change = [[99], ['x'], ['Task'], ['new'], ['insert'], ['{}'], ['{}'], [1], [null], [2]];

/** What each statement is asked with: one that is added without is an error of types. */
const VALUES: Readonly<Record<keyof typeof STATEMENTS, readonly unknown[]>> = {
  readSpace: [SPACE],
  createSpace: ['space-new', 'epoch', 1],
  lockSpace: [SPACE],
  readChangeAt: [SPACE, 1],
  readAppliedAt: [SPACE, 'a'],
  readPresent: [SPACE, ['a', 'b'], ['Task', 'Task'], ['t1', 't2']],
  writePush: [SPACE, 1, 'c', 99, 'x', ...entity, ...change, ...remembered],
  readPage: [SPACE, 0, 10, 1_000_000],
  countEntities: [SPACE],
  readSnapshot: [SPACE, '', '', 10, 1_000_000],
  readBucket: [SPACE, '', '', 10, 1_000_000, 3],
  readDigest: [SPACE],
  takeRetentionTurn: [SPACE, 2e12, 2e12],
  findFeedCut: [SPACE, 2e12, 10, 100],
  deleteFeed: [SPACE, 1],
  moveFeedStart: [SPACE, 1, 'x'],
  forgetIds: [SPACE, 2e12, 10],
  forgetTombstones: [SPACE, 2e12, 10],
};

interface Plan {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Loops': number;
  readonly Operation?: string;
  readonly Plans?: readonly Plan[];
}

describe('tables in partitions by space', () => {
  let client: pg.Client;

  before(async () => {
    const databaseUrl = await (await sharedPostgres()).createDatabase();
    client = new pg.Client(databaseUrl);
    await client.connect();
    await layOut(client);
    const server = await startForTest({ databaseUrl });
    try {
      for (let index = 0; index < 20; index++) await fill(server.url, `space-${index}`);
    } finally {
      await server.close();
    }
    await client.query('ANALYZE');
  });
  after(() => client.end());

  it('hold the rows of one space of all tables in partitions of one number', async () => {
    for (const { name } of TABLES) {
      const { rows } = await client.query<{ part: string }>(
        `SELECT DISTINCT tableoid::regclass::text AS part FROM ${SCHEMA}.${name} WHERE space = $1`,
        [SPACE],
      );
      assert.deepEqual(
        rows.map(({ part }) => part),
        [`${SCHEMA}.${name}_${await partOf(SPACE)}`],
      );
    }
  });

  for (const [name, { text }] of Object.entries(STATEMENTS)) {
    for (const mode of ['force_custom_plan', 'force_generic_plan']) {
      it(`${name} touches one partition (${mode})`, async () => {
        const values = VALUES[name as keyof typeof STATEMENTS];
        const expected = await partOf(String(values[0]));
        await client.query('BEGIN');
        try {
          await client.query(`SET LOCAL plan_cache_mode = ${mode}`);
          const { rows } = await client.query<{ 'QUERY PLAN': readonly [{ readonly Plan: Plan }] }>(
            `EXPLAIN (ANALYZE, FORMAT JSON) ${text}`,
            [...values],
          );
          const touched = [...readBy(rows[0]?.['QUERY PLAN'][0].Plan), ...(await writtenNow())];
          assert.ok(touched.length > 0, 'it touches nothing');
          for (const relation of touched) assert.match(relation, new RegExp(`_${expected}$`));
        } finally {
          await client.query('ROLLBACK');
        }
      });
    }
  }

  /** Where the rows are that this transaction has written. */
  async function writtenNow(): Promise<string[]> {
    const found: string[] = [];
    for (const { name } of TABLES) {
      const { rows } = await client.query<{ part: string }>(
        `SELECT DISTINCT tableoid::regclass::text AS part FROM ${SCHEMA}.${name} WHERE xmin = pg_current_xact_id()::xid`,
      );
      found.push(...rows.map(({ part }) => part));
    }
    return found;
  }

  async function partOf(space: string): Promise<number> {
    for (let part = 0; part < PARTS; part++) {
      const { rows } = await client.query<{ fits: boolean }>(
        `SELECT satisfies_hash_partition('${SCHEMA}.spaces'::regclass, ${PARTS}, ${part}, $1::text) AS fits`,
        [space],
      );
      if (rows[0]?.fits === true) return part;
    }
    throw new Error(`No partition takes ${space}.`);
  }
});

/** Tables that the executed parts of a plan read or change; the parent of a ModifyTable only names what it is about. */
function* readBy(plan: Plan | undefined): Generator<string> {
  if (plan === undefined || plan['Actual Loops'] === 0) return;
  const relation = plan['Relation Name'];
  const isNameOnly = plan['Node Type'] === 'ModifyTable' && TABLES.some(({ name }) => name === relation);
  if (relation !== undefined && !isNameOnly) yield relation;
  for (const child of plan.Plans ?? []) yield* readBy(child);
}

/** The tables with a hash of their space behind them, and no other change. */
async function layOut(client: pg.Client): Promise<void> {
  await client.query(`CREATE SCHEMA ${SCHEMA}`);
  for (const { name, sql } of TABLES) {
    await client.query(`${sql} PARTITION BY HASH (space)`);
    for (let part = 0; part < PARTS; part++) {
      await client.query(
        `CREATE TABLE ${SCHEMA}.${name}_${part} PARTITION OF ${SCHEMA}.${name} FOR VALUES WITH (MODULUS ${PARTS}, REMAINDER ${part})`,
      );
    }
  }
  for (const sql of INDEXES) await client.query(sql);
  await client.query(`CREATE TABLE ${SCHEMA}.schema_version (version integer PRIMARY KEY)`);
  await client.query(`INSERT INTO ${SCHEMA}.schema_version VALUES (${SCHEMA_VERSION})`);
}

async function fill(url: string, space: string): Promise<void> {
  const writer = await ProtocolClient.enter(url, space);
  await writer.push(
    { id: 'a', entityId: 't1' },
    { id: 'b', entityId: 't2', transactionId: 'x' },
    { id: 'c', entityId: 't3', transactionId: 'x' },
    { id: 'd', entityId: 't2', operation: 'delete' },
  );
  assert.equal((await writer.pullAll(1)).changes.length, 4);
  assert.equal((await writer.snapshot(1)).entities.length, 2);
}
