// One simulated history: clients with the real engine, the real server, chance from a seed, and at the end what must hold.
// Everything that happens is written down, so that a failure can be told.
import type { PGlite } from '@electric-sql/pglite';
import type { Change, JsonObject } from '../../src/protocol/changes.ts';
import { CONFLICT_POLICIES, MISSING_DECISIONS, type SyncRules } from '../../src/protocol/sync-state.ts';
import { LocalDataError, type LocalDataEngine, openLocalData } from '../support/engine.ts';
import { SECRET, signToken } from '../support/server.ts';
import { CrashingPglite } from './crashing-pglite.ts';
import {
  type Loss,
  type Replica,
  checkCursor,
  checkEntities,
  checkFeeds,
  checkLanes,
  checkNothingLost,
  checkQueue,
  comparable,
  laneOf,
  nameOf,
} from './invariants.ts';
import type { Laboratory } from './laboratory.ts';
import { Network, goodLink } from './network.ts';
import { SimulatedServer } from './simulated-server.ts';
import { Chance, Machine, World } from './virtual-world.ts';

/**
 * Troubles that a history has or has not as a whole: the server is reset, and is another one then; it is put back to a backup;
 * its feed is so short that who was away must start from a snapshot; it refuses some changes; it takes and gives few at a time;
 * clients know some entity types only later.
 */
export const TROUBLES = ['reset', 'put-back', 'retention', 'refusals', 'small-pages', 'late-types'] as const;
export type Trouble = (typeof TROUBLES)[number];

export interface SimulationOptions {
  readonly seed: number;
  readonly clients: number;
  readonly steps: number;
  /** Steps that are left out, when the shortest history is looked for. */
  readonly without?: ReadonlySet<number>;
  /** Exactly these; by chance where they are not said. */
  readonly troubles?: ReadonlySet<Trouble>;
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
type EntityTypeName = (typeof TYPES)[number];
const IDS = 4;
const TABLES: Readonly<Record<EntityTypeName, { readonly sql: string; readonly table?: string }>> = {
  Project: {
    sql: 'CREATE TABLE IF NOT EXISTS projects (id text PRIMARY KEY, name text, priority integer)',
    table: 'projects',
  },
  Task: {
    sql: `CREATE TABLE IF NOT EXISTS tasks (id text PRIMARY KEY, name text, priority integer,
      project_id text REFERENCES projects (id))`,
    table: 'tasks',
  },
  Note: { sql: 'SELECT 1' },
};
const MINUTE = 60_000;

interface Client {
  readonly name: string;
  readonly host: string;
  readonly inner: PGlite;
  machine: Machine;
  database: CrashingPglite;
  data: LocalDataEngine;
  /** Ids of its own changes that an engine has said it committed. */
  readonly acknowledged: Set<string>;
  /** Lanes in which a person repaired something: plain SQL does not wait for what failed, and may have gone before it. */
  readonly repaired: Set<string>;
  /** It was told that the server has another history, and has still to say what to do. */
  isAsked: boolean;
}

export async function simulate(laboratory: Laboratory, options: SimulationOptions): Promise<History> {
  const simulation = new Simulation(laboratory, await laboratory.begin(), options);
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

type PlannedStep = (step: number) => Promise<void>;

class Simulation {
  readonly #options: SimulationOptions;
  readonly #laboratory: Laboratory;
  readonly #history: number;
  readonly #world = new World();
  readonly #chance: Chance;
  readonly #network: Network;
  readonly #space: string;
  readonly #clients: Client[] = [];
  readonly #lines: string[] = [];
  readonly #steps: number[] = [];
  readonly #trouble: unknown[] = [];
  /** What happens once in the history as a whole, by step. */
  readonly #plan = new Map<number, PlannedStep[]>();
  readonly #losses: Loss[] = [];
  #rules: SyncRules = {};
  #token = '';
  #server: SimulatedServer | undefined;
  #ids = 0;
  #setAside = 0;
  #changes = 0;

  constructor(laboratory: Laboratory, history: number, options: SimulationOptions) {
    this.#laboratory = laboratory;
    this.#history = history;
    this.#options = options;
    this.#chance = new Chance(options.seed);
    this.#network = new Network(this.#world, new Chance(options.seed ^ 0x5eed));
    this.#space = `history-${history}`;
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
    this.#rules = rules;
    this.#say(`policies ${JSON.stringify(rules)}`);
    this.#token = await signToken({ space: this.#space, secret: SECRET, now: this.#world.now, expiresIn: '3650d' });
    const troubles = this.#chooseTroubles();
    await this.#startServer(troubles);
    for (let index = 0; index < this.#options.clients; index++) await this.#addClient(index, troubles);
    if (troubles.has('reset')) this.#planLoss('reset', (server) => server.reset());
    if (troubles.has('put-back')) {
      this.#planAt(this.#chance.below(this.#options.steps / 2), async (step) => {
        this.#say(`${step} the server is backed up`);
        await this.#present().backUp();
      });
      this.#planLoss('put back to its backup', (server) => server.putBack());
    }
  }

  #chooseTroubles(): ReadonlySet<Trouble> {
    const shares: Readonly<Record<Trouble, number>> = {
      reset: 0.2,
      'put-back': 0.2,
      retention: 0.4,
      refusals: 0.4,
      'small-pages': 0.3,
      'late-types': 0.3,
    };
    const byChance = TROUBLES.filter((trouble) => this.#chance.happens(shares[trouble]));
    const chosen = this.#options.troubles ?? new Set(byChance);
    this.#say(`troubles ${[...chosen].join(', ')}`);
    return chosen;
  }

  async #startServer(troubles: ReadonlySet<Trouble>): Promise<void> {
    const feedRows = troubles.has('retention') ? this.#chance.pick([2, 6, 15]) : undefined;
    const changes = troubles.has('small-pages') ? this.#chance.pick([2, 3, 5]) : undefined;
    const refused = troubles.has('refusals') ? this.#chance.below(10) : undefined;
    if (feedRows !== undefined) this.#say(`a feed of ${feedRows} changes`);
    if (changes !== undefined) this.#say(`pages and pushes of ${changes} changes`);
    if (refused !== undefined) this.#say(`a priority of ${refused} is refused`);
    this.#server = await SimulatedServer.start({
      store: this.#laboratory.store,
      world: this.#world,
      space: this.#space,
      token: this.#token,
      newId: () => `id-${this.#history}-${(this.#ids += 1)}`,
      options: {
        ...(feedRows === undefined ? {} : { retention: { feedRows, everyMs: 10_000 } }),
        ...(changes === undefined ? {} : { limits: { changes } }),
        validate: ({ after }) =>
          refused !== undefined && after?.['priority'] === refused
            ? { reason: `The priority must not be ${refused}.`, field: 'priority' }
            : null,
      },
    });
    this.#network.serve = this.#server.serve;
  }

  async #addClient(index: number, troubles: ReadonlySet<Trouble>): Promise<void> {
    const name = `client ${index + 1}`;
    const host = `c${index + 1}.simulated`;
    const inner = await this.#laboratory.takePglite();
    this.#network.links.set(host, goodLink());
    const machine = new Machine();
    const acknowledged = new Set<string>();
    const { data, database } = await this.#open(inner, machine, index, acknowledged);
    const client: Client = {
      ...{ name, host, inner, machine, database, data, acknowledged },
      repaired: new Set<string>(),
      isAsked: false,
    };
    this.#clients.push(client);
    for (const type of TYPES) {
      const isLate = type !== 'Project' && troubles.has('late-types') && this.#chance.happens(0.4);
      if (!isLate) await registerType(data, type);
      else this.#planAt(this.#chance.below(this.#options.steps), (step) => this.#registerLate(client, type, step));
    }
    this.#connect(client);
    await this.#world.advance(2_000);
  }

  async #registerLate(client: Client, type: EntityTypeName, step: number): Promise<void> {
    const { data, database, name } = client;
    this.#say(`${step} ${name}: registers ${type}`);
    registerType(data, type).catch((error: unknown) => {
      if (!database.isGone) this.#trouble.push(error);
    });
  }

  #planAt(step: number, planned: PlannedStep): void {
    const at = Math.floor(step);
    this.#plan.set(at, [...(this.#plan.get(at) ?? []), planned]);
  }

  /** In the middle of the history: something was there before, and something comes after. */
  #planLoss(what: string, lose: (server: SimulatedServer) => Promise<void>): void {
    const { steps } = this.#options;
    this.#planAt(steps / 2 + this.#chance.below(steps / 3), async (step) => {
      this.#say(`${step} the server is ${what}`);
      const loss = await this.#noteLoss();
      await lose(this.#present());
      this.#losses.push(loss);
    });
  }

  async #noteLoss(): Promise<Loss> {
    const server = this.#present();
    const feed = (await server.histories()).at(-1)?.feed ?? [];
    const there = await this.#serverEntities();
    const spokenOf = feed.map((row) => laneOf({ entityType: row.entity_type, entityId: row.entity_id }));
    const deleted = new Set(spokenOf.filter((lane) => !there.has(lane)));
    const lanes = new Set<string>();
    for (const { data, database } of this.#clients) {
      // A client may be killed by being asked.
      const here = await Promise.race([entitiesOf(data), database.ended]);
      for (const lane of here?.keys() ?? []) if (!deleted.has(lane)) lanes.add(lane);
    }
    return { lanes, inFeed: new Set(feed.map(({ id }) => id)) };
  }

  #present(): SimulatedServer {
    if (this.#server === undefined) throw new Error('The server was not started.');
    return this.#server;
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

  #connect(client: Client): void {
    const { data, database } = client;
    const connect = async (): Promise<void> => {
      await data.sync.setRules(this.#rules);
      const onServerChanged = client.isAsked ? 'start-anew' : 'refuse';
      if (onServerChanged === 'start-anew') this.#say(`${client.name}: starts anew`);
      await data.sync.connect({
        url: `http://${client.host}`,
        token: this.#token,
        space: this.#space,
        onServerChanged,
      });
      client.isAsked = false;
    };
    connect().catch((error: unknown) => {
      if (database.isGone) return;
      if (LocalDataError.isCode(error, 'SYNC_SERVER_CHANGED')) client.isAsked = true;
      this.#say(`${client.name}: connect: ${messageOf(error)}`);
    });
  }

  // --- What happens

  async #step(step: number): Promise<void> {
    const chance = new Chance(this.#options.seed * 1_000_003 + step);
    const pause = chance.happens(0.2) ? 0 : chance.below(3_000);
    if (this.#options.without?.has(step) === true) return;
    this.#steps.push(step);
    for (const planned of this.#plan.get(step) ?? []) await planned(step);
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

  /** Of what the server's earlier history had and its new one lacks. */
  async #decideMissing({ data }: Client, chance: Chance, say: (what: string) => void): Promise<void> {
    const decision = chance.pick(MISSING_DECISIONS);
    const { decided, refused } = await data.sync.decideMissing(decision);
    say(`of what the new history lacks: ${decision} ${decided}, ${refused.length} refused`);
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
        await this.#present().restart(step % 2 === 0);
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
      await abandon(client);
      const machine = new Machine();
      machine.offset = client.machine.offset;
      client.machine = machine;
      await checkCursor(client.name, client.inner, await this.#present().histories());
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
      if (status === 'needs-decision') client.isAsked = true;
      const isWanted = client.isAsked || status === 'not-configured' || status === 'sign-in-needed';
      if (isWanted && !isExpired) this.#connect(client);
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
    for (const { data } of this.#clients) {
      const known = new Set((await data.listEntityTypes()).map(({ entityType }) => entityType));
      for (const type of TYPES) if (!known.has(type)) await registerType(data, type);
    }
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
    for (const client of this.#clients) {
      const { data, name } = client;
      const say = (what: string) => this.#say(`${name}: ${what}`);
      if (data.stores.sync.getState().missing > 0) await this.#decideMissing(client, this.#chance, say);
      for (const change of await data.sync.conflicts()) {
        const keep = this.#chance.pick(['mine', 'theirs'] as const);
        say(`resolve ${nameOf(change)}: ${keep}`);
        await data.sync.resolve(change.id, { keep });
      }
    }
    await this.#world.settle();
  }

  async #isQuiet(): Promise<boolean> {
    for (const { data } of this.#clients) {
      const { status, waiting, conflicts, missing } = data.stores.sync.getState();
      if (status !== 'synced' || waiting > 0 || conflicts > 0 || missing > 0) return false;
      const { changes } = await data.listChanges({ status: ['pending', 'retrying'], limit: 1 });
      if (changes.length > 0) return false;
    }
    const versions = new Set(this.#clients.map(({ data }) => data.stores.sync.getState().version));
    return versions.size === 1 && versions.has(await this.#present().version());
  }

  async #check(): Promise<void> {
    const histories = await this.#present().histories();
    checkFeeds(histories);
    this.#changes = histories.at(-1)?.feed.length ?? 0;
    const there = await this.#serverEntities();
    const replicas: Replica[] = [];
    for (const client of this.#clients) {
      const { name, data, inner, acknowledged, repaired } = client;
      const replica = { name, changes: await allChanges(data), entities: await entitiesOf(data) };
      replicas.push(replica);
      checkQueue(replica, acknowledged, histories);
      checkLanes(replica, repaired, histories);
      await checkCursor(name, inner, histories.slice(-1));
      checkEntities(replica, there);
      const aside = replica.changes.filter(({ origin, status }) => origin === 'remote' && status === 'failed');
      this.#setAside += aside.length;
    }
    checkNothingLost(this.#losses, replicas, there);
    if (this.#trouble.length > 0) throw new Error(`Something failed in the background: ${messageOf(this.#trouble[0])}`);
  }

  async #end(): Promise<void> {
    for (const client of this.#clients) {
      await abandon(client);
    }
    await this.#server?.end();
    for (const { inner } of this.#clients) await this.#laboratory.giveBack(inner);
  }

  async #serverEntities(): Promise<ReadonlyMap<string, string>> {
    const entities = await this.#present().entities();
    return new Map(entities.map((one) => [laneOf(one), comparable(one.entity)]));
  }

  #say(line: string): void {
    this.#lines.push(`${((this.#world.now - Date.UTC(2026, 0, 1)) / 1_000).toFixed(3)} ${line}`);
  }
}

/** As a kill leaves it. What nobody can hear any more is told to end, or this process would keep it for ever. */
async function abandon({ machine, database, data }: Client): Promise<void> {
  machine.isGone = true;
  await database.crash();
  void data.close();
}

async function registerType(data: LocalDataEngine, entityType: EntityTypeName): Promise<void> {
  const { sql, table } = TABLES[entityType];
  await data.exec(sql);
  await data.registerEntityType({ entityType, ...(table === undefined ? {} : { table }) });
}

async function entitiesOf(data: LocalDataEngine): Promise<Map<string, string>> {
  const entities = new Map<string, string>();
  for (const { entityType } of await data.listEntityTypes()) {
    const { rows } = await data.queryEntities(entityType, { limit: 1_000 });
    for (const row of rows) entities.set(laneOf({ entityType, entityId: String(row['id']) }), comparable(row));
  }
  return entities;
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
