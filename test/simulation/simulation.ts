// One simulated history: clients with the real engine, the real server, chance from a seed, and at the end what must hold.
// Everything that happens is written down, so that a failure can be told.
import assert from 'node:assert/strict';
import { PGlite } from '@electric-sql/pglite';
import type { JsonObject, Change } from '../../src/protocol/changes.ts';
import { canonicalJson } from '../../src/protocol/canonical-json.ts';
import { CONFLICT_POLICIES, type SyncRules } from '../../src/protocol/sync-state.ts';
import { snapshotEntitySchema, snapshotResponseSchema } from '../../src/protocol/sync.ts';
import type { Store } from '../../src/server/store.ts';
import { type LocalDataEngine, openLocalData } from '../support/engine.ts';
import { SECRET, createServerApp, openServerStore, signToken } from '../support/server.ts';
import { CrashingPglite } from './crashing-pglite.ts';
import { Network, goodLink } from './network.ts';
import { Chance, Machine, World } from './virtual-world.ts';

export interface SimulationOptions {
  readonly seed: number;
  readonly clients: number;
  readonly steps: number;
  /** Steps that are left out, when the shortest history is looked for. */
  readonly without?: ReadonlySet<number>;
}

export interface History {
  readonly lines: readonly string[];
  /** The steps that were done, by number. */
  readonly steps: readonly number[];
  readonly failure: Error | null;
  /** Of everything that was said and done: the same for the same options. */
  readonly changes: number;
  readonly setAside: number;
}

const TYPES = ['Project', 'Task', 'Note'] as const;
const IDS = 4;
const SCHEMA = `
  CREATE TABLE projects (id text PRIMARY KEY, name text, priority integer);
  CREATE TABLE tasks (id text PRIMARY KEY, name text, priority integer, project_id text REFERENCES projects (id));`;
const RESET = `
  DROP SCHEMA IF EXISTS local_data CASCADE;
  DROP SCHEMA public CASCADE;
  CREATE SCHEMA public;
  DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'local_data_reader') THEN
      DROP OWNED BY local_data_reader;
      DROP ROLE local_data_reader;
    END IF;
  END $$;`;
const MINUTE = 60_000;

interface Client {
  readonly name: string;
  readonly host: string;
  readonly inner: PGlite;
  readonly clientRules: SyncRules;
  machine: Machine;
  database: CrashingPglite;
  data: LocalDataEngine;
  /** Ids of its own changes that an engine has said it committed. */
  readonly acknowledged: Set<string>;
  /** Lanes in which a person repaired something: plain SQL does not wait for what failed, and may have gone before it. */
  readonly repaired: Set<string>;
}

/** Starting a PGlite costs a second: they are used for one history after the other. */
export class Laboratory implements AsyncDisposable {
  readonly store: Store;
  readonly #spare: PGlite[] = [];
  histories = 0;

  static async open(): Promise<Laboratory> {
    return new Laboratory(await openServerStore({ memory: true }));
  }

  private constructor(store: Store) {
    this.store = store;
  }

  async takePglite(): Promise<PGlite> {
    const spare = this.#spare.pop();
    if (spare === undefined) return PGlite.create({ dataDir: 'memory://' });
    await spare.exec(RESET);
    await spare.exec('DISCARD ALL');
    return spare;
  }

  giveBack(pglite: PGlite): void {
    this.#spare.push(pglite);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pglite of this.#spare) await pglite.close();
    await this.store.close();
  }
}

export async function simulate(laboratory: Laboratory, options: SimulationOptions): Promise<History> {
  const simulation = new Simulation(laboratory, options);
  const globalFetch = globalThis.fetch;
  globalThis.fetch = simulation.fetch;
  const stopCounting = simulation.countCryptography();
  try {
    return await simulation.run();
  } finally {
    stopCounting();
    globalThis.fetch = globalFetch;
  }
}

class Simulation {
  readonly #options: SimulationOptions;
  readonly #laboratory: Laboratory;
  readonly #world = new World();
  readonly #chance: Chance;
  readonly #network: Network;
  #serverMachine = new Machine();
  readonly #space: string;
  readonly #clients: Client[] = [];
  readonly #lines: string[] = [];
  readonly #steps: number[] = [];
  readonly #trouble: unknown[] = [];
  #token = '';
  #app: ReturnType<typeof createServerApp> | undefined;
  #ids = 0;
  #setAside = 0;
  #changes = 0;

  constructor(laboratory: Laboratory, options: SimulationOptions) {
    this.#laboratory = laboratory;
    this.#options = options;
    this.#chance = new Chance(options.seed);
    this.#network = new Network(this.#world, new Chance(options.seed ^ 0x5eed));
    laboratory.histories += 1;
    this.#space = `history-${laboratory.histories}`;
  }

  get fetch(): typeof globalThis.fetch {
    return this.#network.fetch;
  }

  /** Tokens are checked by threads, which come back when they like: a history must not depend on it. */
  countCryptography(): () => void {
    const { subtle } = globalThis.crypto;
    const names = ['verify', 'sign', 'importKey'] as const;
    for (const name of names) {
      const original: unknown = Reflect.get(subtle, name);
      if (typeof original !== 'function') continue;
      const counted = (...args: unknown[]): Promise<unknown> =>
        this.#world.counted(async () => Reflect.apply(original, subtle, args));
      Object.defineProperty(subtle, name, { value: counted, configurable: true });
    }
    return () => {
      for (const name of names) Reflect.deleteProperty(subtle, name);
    };
  }

  async run(): Promise<History> {
    let failure: Error | null = null;
    try {
      await this.#begin();
      for (let step = 0; step < this.#options.steps; step++) await this.#step(step);
      await this.#quieten();
      await this.#check();
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
    }
    await this.#end();
    return {
      lines: this.#lines,
      steps: this.#steps,
      failure,
      changes: this.#changes,
      setAside: this.#setAside,
    };
  }

  async #begin(): Promise<void> {
    const rules: Record<string, { conflicts: (typeof CONFLICT_POLICIES)[number] }> = {};
    for (const type of TYPES) rules[type] = { conflicts: this.#chance.pick(CONFLICT_POLICIES) };
    this.#say(`policies ${JSON.stringify(rules)}`);
    this.#token = await signToken({ space: this.#space, secret: SECRET, now: this.#world.now, expiresIn: '3650d' });
    this.#startServer();
    for (let index = 0; index < this.#options.clients; index++) {
      const name = `client ${index + 1}`;
      const inner = await this.#laboratory.takePglite();
      const host = `c${index + 1}.simulated`;
      this.#network.links.set(host, goodLink());
      const machine = new Machine();
      const acknowledged = new Set<string>();
      const { data, database } = await this.#open(inner, machine, index, acknowledged);
      await data.exec(SCHEMA);
      await data.registerEntityType({ entityType: 'Project', table: 'projects' });
      await data.registerEntityType({ entityType: 'Task', table: 'tasks' });
      await data.registerEntityType({ entityType: 'Note' });
      const client = {
        name,
        host,
        inner,
        clientRules: rules,
        machine,
        database,
        data,
        acknowledged,
        repaired: new Set<string>(),
      };
      this.#clients.push(client);
      this.#connect(client);
      await this.#world.advance(2_000);
    }
  }

  async #open(inner: PGlite, machine: Machine, salt: number, acknowledged: Set<string>) {
    const database = new CrashingPglite(inner, this.#world);
    const chance = new Chance((this.#options.seed * 31 + salt) ^ (this.#ids += 1));
    const data = await openLocalData({
      memory: true,
      pglite: database.pglite,
      clock: this.#world.clockOf(machine),
      random: chance.next,
      onBackgroundError: (error) => {
        if (!database.isGone) this.#trouble.push(error);
      },
    });
    data.onCommit(({ changes }) => {
      for (const { id, origin } of changes) if (origin !== 'remote' && !database.isGone) acknowledged.add(id);
    });
    return { data, database };
  }

  #startServer(): void {
    const app = createServerApp({
      store: this.#laboratory.store,
      clock: this.#world.clockOf(this.#serverMachine),
      newId: () => `id-${this.#laboratory.histories}-${(this.#ids += 1)}`,
      secret: SECRET,
      limits: { requestsPerSecond: 100_000, requestsAtOnce: 100_000 },
    });
    this.#app = app;
    this.#network.serve = async (request) => {
      const response = await app.fetch(request);
      // It was killed meanwhile: what it did stays done, and nobody hears of it.
      if (this.#app !== app) throw new TypeError('fetch failed', { cause: new Error('The server is gone.') });
      return response;
    };
  }

  async #restartServer(isKilled: boolean): Promise<void> {
    const before = this.#app;
    this.#app = undefined;
    if (isKilled) {
      this.#serverMachine.isGone = true;
      this.#serverMachine = new Machine();
    } else await before?.close();
    this.#startServer();
  }

  #connect(client: Client): void {
    const { data, database } = client;
    const connect = async (): Promise<void> => {
      await data.sync.setRules(client.clientRules);
      await data.sync.connect({ url: `http://${client.host}`, token: this.#token, space: this.#space });
    };
    connect().catch((error: unknown) => {
      if (!database.isGone) this.#say(`${client.name}: connect: ${messageOf(error)}`);
    });
  }

  // --- What happens

  async #step(step: number): Promise<void> {
    const chance = new Chance(this.#options.seed * 1_000_003 + step);
    const pause = chance.happens(0.2) ? 0 : chance.below(3_000);
    if (this.#options.without?.has(step) === true) return;
    this.#steps.push(step);
    const client = chance.pick(this.#clients);
    const share = chance.next();
    if (share < 0.7) this.#operate(client, chance, step);
    else await this.#disturb(client, chance, step);
    await this.#world.settle();
    await this.#reviveCrashed();
    await this.#world.advance(pause);
    await this.#reviveCrashed();
    if (chance.happens(0.3)) await this.#signInAgain();
  }

  #operate(client: Client, chance: Chance, step: number): void {
    const { data, database } = client;
    const type = chance.pick(TYPES);
    const id = `${type.toLowerCase()}-${chance.below(IDS)}`;
    const patch = patchOf(type, chance, step);
    const say = (what: string) => this.#say(`${step} ${client.name}: ${what}`);
    const kind = chance.below(100);
    const run = async (): Promise<void> => {
      if (kind < 30) {
        say(`upsert ${id} ${JSON.stringify(patch)}`);
        await data.upsertEntity(type, id, patch);
      } else if (kind < 50) {
        const operation = chance.pick(['insert', 'update', 'delete'] as const);
        say(`record ${operation} ${id} ${JSON.stringify(patch)}`);
        await data.recordChange(type, id, operation, operation === 'delete' ? null : patch);
      } else if (kind < 60) {
        say(`delete ${id}`);
        await data.deleteEntity(type, id);
      } else if (kind < 70) {
        const other = `note-${chance.below(IDS)}`;
        const written = patchOf('Note', chance, step);
        say(`transaction of ${id} and ${other}`);
        await data.transaction((tx) => {
          tx.upsertEntity(type, id, patch);
          tx.upsertEntity('Note', other, written);
        });
      } else if (kind < 78) {
        const priority = chance.below(10);
        say(`SQL update of projects to ${priority}`);
        await data.exec(`UPDATE projects SET priority = ${priority} WHERE id = 'project-${chance.below(IDS)}'`);
      } else {
        await this.#repair(client, chance, say);
      }
    };
    run().catch((error: unknown) => {
      if (!database.isGone) say(`refused: ${messageOf(error)}`);
    });
  }

  async #repair({ data, repaired, acknowledged }: Client, chance: Chance, say: (what: string) => void): Promise<void> {
    const { changes } = await data.listChanges({ status: ['failed', 'conflicted'], limit: 50 });
    if (changes.length === 0) return;
    const change = chance.pick(changes);
    repaired.add(`${change.entityType}/${change.entityId}`);
    if (change.status === 'conflicted') {
      const keep = chance.pick(['mine', 'theirs'] as const);
      say(`resolve ${nameOf(change)}: ${keep}`);
      await data.sync.resolve(change.id, { keep });
    } else if (change.origin !== 'remote' && change.operation !== 'delete' && chance.happens(0.3)) {
      say(`edit ${nameOf(change)}`);
      // It may go on under another id, which its commit tells.
      acknowledged.delete(change.id);
      await data.editChange(change.id, { ...change.data, name: 'edited' });
    } else if (chance.happens(0.5)) {
      say(`retry ${nameOf(change)}`);
      await data.retryChange(change.id);
    } else if (change.origin !== 'remote') {
      say(`discard ${nameOf(change)}`);
      await data.discardChange(change.id, { withDependents: true });
    }
  }

  async #disturb(client: Client, chance: Chance, step: number): Promise<void> {
    const link = this.#network.links.get(client.host) ?? goodLink();
    const say = (what: string) => this.#say(`${step} ${client.name}: ${what}`);
    switch (chance.below(14)) {
      case 0:
        link.isCutOut = !link.isCutOut;
        return say(`${link.isCutOut ? 'cut' : 'mended'} on the way out`);
      case 1:
        link.isCutIn = !link.isCutIn;
        return say(`${link.isCutIn ? 'cut' : 'mended'} on the way back`);
      case 2:
        link.lostRequests = chance.pick([0, 0.2, 0.5]);
        return say(`loses ${link.lostRequests} of requests`);
      case 3:
        link.lostAnswers = chance.pick([0, 0.2, 0.5]);
        return say(`loses ${link.lostAnswers} of answers`);
      case 4:
        link.doubled = chance.pick([0, 0.3]);
        return say(`doubles ${link.doubled} of requests`);
      case 5:
        link.latencyMs = chance.pick([5, 50, 2_000]);
        return say(`has a latency of ${link.latencyMs} ms`);
      case 6:
        link.isExpired = !link.isExpired;
        return say(link.isExpired ? 'is signed out' : 'may sign in');
      case 7:
        client.machine.offset += chance.pick([-3_600_000, -5_000, 5_000, 3_600_000]);
        return say(`clock is ${client.machine.offset} ms ahead`);
      case 8:
        client.machine.asleepUntil = this.#world.now + chance.pick([5_000, MINUTE]);
        return say('sleeps');
      case 9:
        link.busy = chance.pick([0, 0.3, 0.9]);
        return say(`gets a busy server for ${link.busy} of requests`);
      case 10:
        return this.#leaveOrReturn(client, say);
      case 11:
      case 12: {
        const statements = chance.below(60);
        client.database.crashAfter(statements);
        return say(`is killed ${statements} statements later`);
      }
      default:
        this.#say(`${step} the server is ${step % 2 === 0 ? 'killed and started' : 'restarted'}`);
        await this.#restartServer(step % 2 === 0);
    }
  }

  /** A person works offline, or no longer does. */
  #leaveOrReturn({ data, database }: Client, say: (what: string) => void): void {
    const isAway = data.stores.sync.getState().status === 'paused';
    say(isAway ? 'goes online' : 'works offline');
    const { sync } = data;
    (isAway ? sync.goOnline() : sync.goOffline()).catch((error: unknown) => {
      if (!database.isGone) say(`refused: ${messageOf(error)}`);
    });
  }

  async #reviveCrashed(): Promise<void> {
    for (const [index, client] of this.#clients.entries()) {
      if (!client.database.isGone) continue;
      client.machine.isGone = true;
      await client.database.crash();
      const machine = new Machine();
      machine.offset = client.machine.offset;
      client.machine = machine;
      await this.#checkCursor(client);
      const { data, database } = await this.#open(client.inner, machine, index, client.acknowledged);
      client.data = data;
      client.database = database;
      this.#say(`${client.name} is started again`);
      this.#connect(client);
      await this.#world.settle();
    }
  }

  async #signInAgain(): Promise<void> {
    for (const client of this.#clients) {
      const { status } = client.data.stores.sync.getState();
      const isExpired = this.#network.links.get(client.host)?.isExpired === true;
      if (status === 'not-configured' || (status === 'sign-in-needed' && !isExpired)) this.#connect(client);
    }
    await this.#world.settle();
  }

  // --- Quiet, and what must hold then

  async #quieten(): Promise<void> {
    this.#say('quiet');
    for (const client of this.#clients) {
      client.machine.asleepUntil = 0;
      client.database.crashAfter(Number.POSITIVE_INFINITY);
      this.#network.links.set(client.host, goodLink());
    }
    await this.#reviveCrashed();
    for (const client of this.#clients) {
      if (client.data.stores.sync.getState().status === 'paused') this.#connect(client);
    }
    for (let round = 0; round < 40; round++) {
      await this.#signInAgain();
      await this.#world.advance(round < 5 ? MINUTE : 5 * MINUTE);
      await this.#resolveAll();
      if (round >= 3 && (await this.#isQuiet())) return;
    }
    const states = this.#clients.map(({ name, data }) => `${name}: ${JSON.stringify(data.stores.sync.getState())}`);
    throw new Error(`It does not come to rest:\n${states.join('\n')}`);
  }

  async #resolveAll(): Promise<void> {
    for (const { data, name } of this.#clients) {
      for (const change of await data.sync.conflicts()) {
        const keep = this.#chance.pick(['mine', 'theirs'] as const);
        this.#say(`${name}: resolve ${nameOf(change)}: ${keep}`);
        await data.sync.resolve(change.id, { keep });
      }
    }
    await this.#world.settle();
  }

  async #isQuiet(): Promise<boolean> {
    for (const { data } of this.#clients) {
      const { status, waiting, conflicts } = data.stores.sync.getState();
      if (status !== 'synced' || waiting > 0 || conflicts > 0) return false;
      const { changes } = await data.listChanges({ status: ['pending', 'retrying'], limit: 1 });
      if (changes.length > 0) return false;
    }
    const versions = new Set(this.#clients.map(({ data }) => data.stores.sync.getState().version));
    return versions.size === 1 && versions.has(await this.#serverVersion());
  }

  async #check(): Promise<void> {
    const feed = await this.#feed();
    assert.equal(new Set(feed.map(({ id }) => id)).size, feed.length, 'a change is in the feed more than once');
    this.#changes = feed.length;
    const there = await this.#serverEntities();
    for (const client of this.#clients) {
      const changes = await allChanges(client.data);
      this.#checkQueue(client, changes, new Set(feed.map(({ id }) => id)));
      checkLanes(client, changes, feed);
      await this.#checkCursor(client);
      await this.#checkEntities(client, changes, there);
    }
    if (this.#trouble.length > 0) throw new Error(`Something failed in the background: ${messageOf(this.#trouble[0])}`);
  }

  /** Nothing acknowledged is gone; what is synced took effect or says why not, and what waits says for what. */
  #checkQueue({ name, acknowledged }: Client, changes: readonly Change[], inFeed: ReadonlySet<string>): void {
    const known = new Map(changes.map((change) => [change.id, change]));
    for (const id of acknowledged) assert.ok(known.has(id), `${name}: an acknowledged change is gone: ${id}`);
    for (const change of changes) {
      if (change.origin === 'remote') continue;
      const what = `${name}: ${nameOf(change)} (${change.seq}, ${change.status})`;
      switch (change.status) {
        case 'synced': {
          const isExplained = change.note !== null || (change.conflict?.resolution ?? null) !== null;
          const isNothing = change.operation === 'delete' && change.acceptedVersion !== null;
          assert.ok(inFeed.has(change.id) || isExplained || isNothing, `${what} is nowhere: ${JSON.stringify(change)}`);
          break;
        }
        case 'discarded':
          break;
        case 'failed':
        case 'blocked':
          assert.ok((change.error ?? change.reason ?? '') !== '', `${what} does not say why it waits`);
          break;
        case 'applied':
          assert.ok((change.reason ?? change.awaiting ?? null) !== null, `${what} waits and does not say for what`);
          break;
        case 'pending':
        case 'retrying':
        case 'conflicted':
          assert.fail(`${what} is left over`);
      }
    }
  }

  /** Of every entity that the feed speaks of up to the cursor, the base is at least as new, and what the server had then. */
  async #checkCursor({ name, inner }: Client): Promise<void> {
    const { rows } = await inner.query<{ version: number | string; phase: string }>(
      `SELECT version, phase FROM local_data.sync_binding`,
    );
    const [binding] = rows;
    if (binding === undefined || binding.phase !== 'linked') return;
    const bases = await inner.query<{ lane: string; version: number | string; data: JsonObject | null }>(
      `SELECT entity_type || '/' || entity_id AS lane, version, data FROM local_data.entity_bases`,
    );
    const at = new Map(bases.rows.map(({ lane, version }) => [lane, Number(version)]));
    const data = new Map(bases.rows.map((row) => [row.lane, row.data]));
    for (const row of await this.#feed()) {
      if (row.version > Number(binding.version)) break;
      const lane = `${row.entity_type}/${row.entity_id}`;
      const base = at.get(lane);
      if (base === row.version) {
        const there: JsonObject | null = row.entity === null ? null : JSON.parse(row.entity);
        const isSame = canonicalJson(data.get(lane) ?? null) === canonicalJson(there);
        assert.ok(isSame, `${name}: the base of ${lane} at ${base} is not what the server had: ${row.entity}`);
      }
      const isThere = (base ?? -1) >= row.version;
      assert.ok(
        isThere,
        `${name}: the cursor is at ${binding.version}, and the base of ${lane} at ${base ?? 'none'}, before ${row.version}`,
      );
    }
  }

  async #checkEntities({ name, data }: Client, changes: readonly Change[], there: ReadonlyMap<string, string>) {
    const unsettled = new Set(
      changes
        .filter(
          ({ status, processedSync }) =>
            status === 'failed' || status === 'blocked' || (status === 'applied' && !processedSync),
        )
        .map(({ entityType, entityId }) => `${entityType}/${entityId}`),
    );
    this.#setAside += changes.filter(({ origin, status }) => origin === 'remote' && status === 'failed').length;
    const here = new Map<string, string>();
    for (const type of TYPES) {
      const { rows } = await data.queryEntities(type, { limit: 1_000 });
      for (const row of rows) here.set(`${type}/${String(row['id'])}`, comparable(row));
    }
    for (const lane of new Set([...there.keys(), ...here.keys()])) {
      if (unsettled.has(lane)) continue;
      const message = `${name} has another ${lane} than the server; its changes:\n${told(changes, lane)}`;
      assert.equal(here.get(lane), there.get(lane), message);
    }
  }

  async #end(): Promise<void> {
    await this.#app?.close();
    for (const client of this.#clients) {
      client.machine.isGone = true;
      if (!client.database.isGone) client.database.crashAfter(0);
      await client.database.crash();
      this.#laboratory.giveBack(client.inner);
    }
  }

  // --- The server's side

  async #feed() {
    const text = `SELECT version, id, client_id, entity_type, entity_id, operation, entity FROM local_data_sync.feed WHERE space = $1 ORDER BY version`;
    return this.#laboratory.store.run<{
      version: number;
      id: string;
      client_id: string;
      entity_type: string;
      entity_id: string;
      operation: string;
      entity: string | null;
    }>({ name: '', text }, [this.#space]);
  }

  async #serverVersion(): Promise<number> {
    const text = `SELECT version FROM local_data_sync.spaces WHERE space = $1`;
    const [row] = await this.#laboratory.store.run<{ version: number }>({ name: '', text }, [this.#space]);
    return row?.version ?? 0;
  }

  async #serverEntities(): Promise<ReadonlyMap<string, string>> {
    const headers = { authorization: `Bearer ${this.#token}` };
    const request = new Request(`http://server/v1/spaces/${this.#space}/snapshot?limit=1000`, { headers });
    const response = await this.#app?.fetch(request);
    const { entities, next } = snapshotResponseSchema.parse(await response?.json());
    assert.equal(next, null);
    const parsed = entities.map((entity) => snapshotEntitySchema.parse(entity));
    return new Map(parsed.map(({ entityType, entityId, entity }) => [`${entityType}/${entityId}`, comparable(entity)]));
  }

  #say(line: string): void {
    this.#lines.push(`${((this.#world.now - Date.UTC(2026, 0, 1)) / 1_000).toFixed(3)} ${line}`);
  }
}

function checkLanes(
  { name, repaired }: Client,
  changes: readonly Change[],
  feed: readonly { readonly id: string; readonly version: number }[],
): void {
  const seqs = new Map(changes.map((change) => [change.id, change]));
  const last = new Map<string, number>();
  for (const { id } of feed) {
    const change = seqs.get(id);
    if (change === undefined || change.origin === 'remote') continue;
    const lane = `${change.entityType}/${change.entityId}`;
    if (repaired.has(lane)) continue;
    const before = last.get(lane) ?? 0;
    assert.ok(
      change.seq > before,
      `${name}: ${lane} was sent out of order: ${before} before ${change.seq}:\n${told(changes, lane)}`,
    );
    last.set(lane, change.seq);
  }
}

function told(changes: readonly Change[], lane: string): string {
  const own = changes.filter(({ entityType, entityId }) => `${entityType}/${entityId}` === lane);
  return own.map((change) => JSON.stringify(change)).join('\n');
}

async function allChanges(data: LocalDataEngine): Promise<Change[]> {
  const changes: Change[] = [];
  for (let after: number | undefined; ;) {
    const page = await data.listChanges({ limit: 1_000, ...(after === undefined ? {} : { after }) });
    changes.push(...page.changes);
    if (page.next === null) return changes;
    after = page.next;
  }
}

function patchOf(type: (typeof TYPES)[number], chance: Chance, step: number): JsonObject {
  const patch: JsonObject = {};
  if (chance.happens(0.6)) patch['name'] = `written in step ${step}`;
  if (chance.happens(0.5)) patch['priority'] = chance.happens(0.2) ? null : chance.below(10);
  if (type === 'Task' && chance.happens(0.4)) patch['project_id'] = `project-${chance.below(IDS)}`;
  if (type === 'Note' && chance.happens(0.4)) patch['tags'] = { [chance.pick(['a', 'b', 'c'])]: chance.below(5) };
  return patch;
}

/** Null and absent are the same to a table's column. */
function comparable(entity: JsonObject): string {
  return canonicalJson(Object.fromEntries(Object.entries(entity).filter(([, value]) => value !== null)));
}

function nameOf({ operation, entityType, entityId }: Change): string {
  return `${operation} of ${entityType}/${entityId}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
