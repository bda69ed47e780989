// What passes between the Entities panel and its host: requests with answers one way, news the other. Data only; the
// host checks every request by its schema, for a webview is outside.
import type { Change, Entity, EntityMark, JsonObject, JsonValue } from './changes.ts';
import type { CommitEvent, StoreSnapshot } from './engine.ts';

export interface PanelTarget {
  readonly entityType?: string | undefined;
  readonly entityId?: string | undefined;
}

export interface PageQuery {
  readonly entityType: string;
  readonly search?: string | undefined;
  readonly orderBy?: string | undefined;
  readonly offset: number;
  readonly limit: number;
}

/** Commands the panel may run, each with what it acts on; nothing else is run for it. */
export const PANEL_COMMANDS = [
  'localData.upsertEntity',
  'localData.deleteEntity',
  'localData.recordChange',
  'localData.import',
  'localData.createSampleData',
  'localData.registerEntityType',
  'localData.createDatabase',
  'localData.tryAgain',
  'localData.showLog',
  'localData.change.retry',
  'localData.change.edit',
  'localData.change.discard',
  'localData.change.restore',
  'localData.change.undo',
  'localData.change.show',
] as const;
export type PanelCommand = (typeof PANEL_COMMANDS)[number];

export interface PanelCalls {
  page: { readonly query: PageQuery; readonly answer: { readonly rows: Entity[]; readonly total: number } };
  entity: {
    readonly query: { readonly entityType: string; readonly entityId: string };
    readonly answer: { readonly entity: Entity | null; readonly changes: Change[] };
  };
  /** Inserts or updates the fields that differ; an error comes back as refused. */
  save: {
    readonly query: { readonly entityType: string; readonly entityId: string; readonly data: JsonObject };
    readonly answer: { readonly entity: Entity };
  };
  /** What is not done of what is shown. */
  waiting: {
    readonly query: { readonly entityType: string; readonly entityIds: readonly string[] };
    readonly answer: {
      readonly marks: EntityMark[];
      /** The first entities of the type that are not there because their insert did not succeed. */
      readonly notInserted: EntityMark[];
      /** Failed changes by entity type, of all types. */
      readonly failed: Readonly<Record<string, number>>;
    };
  };
}
export type PanelCall = keyof PanelCalls;

/** How one entity type is shown. */
export interface TypeView {
  readonly search: string;
  /** As `orderBy`: a leading `-` means descending; empty for the key. */
  readonly orderBy: string;
  readonly selectedId: string | null;
  readonly scrollTop: number;
  /** Of the columns that a person has given one, in pixels. */
  readonly widths: Readonly<Record<string, number>>;
}

/** What the panel shows and how. */
export interface PanelView {
  readonly entityType: string | null;
  readonly types: Readonly<Record<string, TypeView>>;
  /** Unsaved fields by entity, as typed. */
  readonly drafts: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** A view as it is kept. Of two copies the one with the higher revision is the later one. */
export interface KeptView {
  readonly revision: number;
  readonly view: PanelView;
}

/** A view that is larger as JSON is not kept by the host; the panel leaves out its largest drafts before. */
export const LARGEST_VIEW = 1024 * 1024;

export type FromPanel =
  | { readonly kind: 'ready' }
  /** Asks the host to keep the view beside the database that the panel was told of. */
  | { readonly kind: 'keep'; readonly place: string; readonly kept: KeptView }
  | { readonly kind: 'call'; readonly id: number; readonly call: PanelCall; readonly query: unknown }
  /** The answer to a call is not wanted any more. */
  | { readonly kind: 'cancel'; readonly id: number }
  | {
      readonly kind: 'command';
      readonly command: PanelCommand;
      readonly target?: PanelTarget | undefined;
      readonly changeId?: string | undefined;
    }
  | { readonly kind: 'crashed'; readonly message: string };

/**
 * `none`: there is no database any more, or none yet, and nothing that was kept of one counts; `unavailable`: there can be
 * none in this window as it is.
 */
export type ClosedCause = 'starting' | 'none' | 'unavailable' | 'trouble';

export type PanelState =
  | {
      readonly kind: 'open';
      readonly snapshot: StoreSnapshot;
      readonly pageSize: number;
      /** Which database this is: a view kept for another is not shown over it. */
      readonly place: string;
      readonly kept: KeptView | null;
    }
  | { readonly kind: 'closed'; readonly why: string; readonly cause: ClosedCause };

export type ToPanel =
  | { readonly kind: 'state'; readonly state: PanelState }
  | { readonly kind: 'commit'; readonly event: CommitEvent }
  | { readonly kind: 'show'; readonly target: PanelTarget }
  | { readonly kind: 'answer'; readonly id: number; readonly value: JsonValue | object }
  | { readonly kind: 'refused'; readonly id: number; readonly message: string };
