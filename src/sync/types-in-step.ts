// Keeps entity types in step with the server as they come, change and go: a type that was registered, or that the rules let
// take part, joins, and what the server has of it appears with the local changes on top; one whose table has more columns
// gets what the bases have for them; one that is to stay on this machine is left as it is. Looks at what is known in memory,
// so that it costs nothing while nothing is new.
import { isDeepStrictEqual } from 'node:util';
import type { SyncRules } from '../protocol/sync-state.ts';
import { pinTypeMadeOn } from '../db/entity-bases.ts';
import type { EntityType } from '../db/entity-types.ts';
import { supersedeType } from './present-state.ts';
import type { SettleContext } from './settle-push.ts';
import { putBasesOf } from './snapshot.ts';
import { setBinding } from './sync-binding.ts';
import type { SyncLedger } from './sync-ledger.ts';
import {
  type TypeShape,
  type TypeStanding,
  enter,
  hasMore,
  leave,
  releaseFrom,
  setShape,
  shapeOf,
} from './type-standing.ts';

type Step =
  | { readonly kind: 'leave'; readonly names: readonly string[] }
  | { readonly kind: 'join'; readonly type: EntityType }
  | { readonly kind: 'put'; readonly type: EntityType }
  /** The table has less than it had. */
  | { readonly kind: 'note'; readonly type: EntityType };

export class TypesInStep {
  readonly #ledger: SyncLedger;
  readonly #onMoreToSend: () => Promise<void>;
  #tail: Promise<void> = Promise.resolve();

  /** `onMoreToSend`: changes that did not count so far wait to be sent now. */
  constructor(ledger: SyncLedger, onMoreToSend: () => Promise<void>) {
    this.#ledger = ledger;
    this.#onMoreToSend = onMoreToSend;
  }

  /** Whether nothing is left to do. */
  get isSettled(): boolean {
    return this.#next() === undefined;
  }

  /** Does what is to be done by now; rejects where it could not be done. */
  settle(): Promise<void> {
    return this.#inTurn(() => this.#run());
  }

  /** Takes over rules. From then on nothing of a type that is to stay here is sent or put in place. */
  setRules(rules: SyncRules): Promise<void> {
    return this.#inTurn(() => this.#takeRules(rules));
  }

  /** One after another: what is compared with what is there must not be about to become another. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#tail.then(work);
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  async #takeRules(rules: SyncRules): Promise<void> {
    const ledger = this.#ledger;
    const { binding } = ledger;
    if (binding === undefined || isDeepStrictEqual(binding.rules, rules)) {
      ledger.rules = rules;
      return;
    }
    const before = ledger.rules;
    try {
      await ledger.parts.write(async (session, draft) => {
        await setBinding(session, { rules: JSON.stringify(rules) });
        // In the same turn: the feed goes no further in what is to stay here than is written down.
        ledger.rules = rules;
        await leave(session, this.#thatStay());
        await releaseFrom(session, ledger.localOnlyTypes(), draft, ledger.parts.clock.now());
      });
    } catch (error) {
      ledger.rules = before;
      throw error;
    }
    await ledger.reread();
  }

  async #run(): Promise<void> {
    for (let step = this.#next(); step !== undefined; step = this.#next()) {
      switch (step.kind) {
        case 'leave':
          await this.#leave(step.names);
          break;
        case 'join':
          await this.#join(step.type);
          break;
        case 'put':
          await this.#put(step.type);
          break;
        case 'note':
          await this.#note(step.type.entityType, shapeOf(step.type));
          break;
      }
    }
  }

  async #leave(names: readonly string[]): Promise<void> {
    const { parts } = this.#ledger;
    await parts.write(async (session, draft) => {
      await leave(session, names);
      await releaseFrom(session, names, draft, parts.clock.now());
    });
    await this.#ledger.reread();
    await this.#onMoreToSend();
  }

  /**
   * What the server does not know is sent as it is. A type that was in step before keeps its waiting changes, made on what
   * it had seen then; of one that was not, nobody can tell what they were made on, and its entities meet those of the
   * server as at the first connect.
   */
  async #join({ entityType }: EntityType): Promise<void> {
    await this.#write(async (context) => {
      const type = context.entityTypes.get(entityType);
      if (type === undefined || this.#ledger.staysHere(entityType)) return;
      const seen = this.#ledger.standings.get(entityType)?.leftVersion ?? 0;
      await pinTypeMadeOn(context.session, entityType, seen);
      const entities = seen === 0 ? 'all' : 'without-base';
      await supersedeType(context, type, { entities, occasion: 'the first sync' });
      this.#stand(entityType, await enter(context.session, entityType));
    });
    await this.#onMoreToSend();
  }

  async #put(type: EntityType): Promise<void> {
    const { entityType } = type;
    const shape = shapeOf(type);
    for (let after: string | undefined = ''; after !== undefined;) {
      const from: string = after;
      after = await this.#ledger.write(async (context) => {
        const present = context.entityTypes.get(entityType);
        return present === undefined ? undefined : putBasesOf(context, present, from);
      });
    }
    await this.#note(entityType, shape);
  }

  async #note(entityType: string, shape: TypeShape): Promise<void> {
    await this.#write(async ({ session }) => {
      await setShape(session, entityType, shape);
      const standing = this.#ledger.standings.get(entityType);
      if (standing?.isInStep === true) this.#stand(entityType, { ...standing, shape });
    });
  }

  /** Within the turn that writes it, because whoever comes next goes by it. */
  #stand(entityType: string, standing: TypeStanding): void {
    this.#ledger.stand(new Map(this.#ledger.standings).set(entityType, standing));
  }

  async #write(work: (context: SettleContext) => Promise<void>): Promise<void> {
    const before = this.#ledger.standings;
    try {
      await this.#ledger.write(work);
    } catch (error) {
      this.#ledger.stand(before);
      throw error;
    }
  }

  /** What is to be done next, of what stands here against what is registered and what the rules say. */
  #next(): Step | undefined {
    const { binding, hasRules, isClosed, standings, parts } = this.#ledger;
    if (isClosed || !hasRules || binding?.connected !== true || binding.phase !== 'linked') return undefined;
    const names = this.#thatStay();
    if (names.length > 0) return { kind: 'leave', names };
    const types = parts.entityTypes.parentsFirst().filter(({ entityType }) => !this.#ledger.staysHere(entityType));
    const joining = types.find(({ entityType }) => standings.get(entityType)?.isInStep !== true);
    if (joining !== undefined) return { kind: 'join', type: joining };
    const other = types.find((type) => !isDeepStrictEqual(standings.get(type.entityType)?.shape, shapeOf(type)));
    if (other === undefined) return undefined;
    const shape = standings.get(other.entityType)?.shape ?? null;
    return { kind: shape === null || hasMore(shapeOf(other), shape) ? 'put' : 'note', type: other };
  }

  /** Types in step that are to stay here from now on, or whose table is gone or another. */
  #thatStay(): string[] {
    const { entityTypes } = this.#ledger.parts;
    const isGone = (name: string, { shape }: TypeStanding): boolean => {
      const type = entityTypes.get(name);
      return type === undefined || (shape !== null && shape.relation !== type.relationId);
    };
    const inStep = [...this.#ledger.standings].filter(([, { isInStep }]) => isInStep);
    return inStep.flatMap(([name, standing]) => (this.#ledger.staysHere(name) || isGone(name, standing) ? [name] : []));
  }
}
