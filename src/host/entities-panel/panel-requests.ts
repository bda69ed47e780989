// What the Entities panel may ask: the schemas of its messages, and the answers from the engine. Loaded with the panel.
import * as z from 'zod';
import type { LocalData } from '../../engine/local-data.ts';
import { type FromPanel, PANEL_COMMANDS, type PanelCall } from '../../protocol/panel.ts';
import { keptViewSchema } from './kept-view.ts';

const LARGEST_PAGE = 1_000;
const CHANGES_SHOWN = 100;
/** One more than the panel shows, so that it knows of more. */
const NOT_INSERTED_SHOWN = 21;
const FAILED_BY_TYPE = `SELECT entity_type, count(*)::integer AS failed FROM public.local_changes
  WHERE status = 'failed' GROUP BY entity_type`;

const text = z.string().max(10_000);
const target = z.strictObject({ entityType: text.optional(), entityId: text.optional() });
const message = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('ready') }),
  z.strictObject({ kind: z.literal('keep'), place: text, kept: keptViewSchema }),
  z.strictObject({ kind: z.literal('crashed'), message: text }),
  z.strictObject({
    kind: z.literal('call'),
    id: z.number().int(),
    call: z.enum(['page', 'entity', 'save', 'waiting']),
    query: z.unknown(),
  }),
  z.strictObject({ kind: z.literal('cancel'), id: z.number().int() }),
  z.strictObject({
    kind: z.literal('command'),
    command: z.enum(PANEL_COMMANDS),
    target: target.optional(),
    changeId: text.optional(),
  }),
]);
const pageQuery = z.strictObject({
  entityType: text,
  search: text.optional(),
  orderBy: text.optional(),
  offset: z.number().int().min(0),
  limit: z.number().int().min(1).max(LARGEST_PAGE),
});
const entityQuery = z.strictObject({ entityType: text, entityId: text });
const saveQuery = z.strictObject({ entityType: text, entityId: text, data: z.record(z.string(), z.json()) });
const waitingQuery = z.strictObject({ entityType: text, entityIds: z.array(text).max(LARGEST_PAGE) });

export function checkMessage(received: unknown): FromPanel {
  return message.parse(received);
}

export async function answerCall(
  data: LocalData,
  call: PanelCall,
  query: unknown,
  signal: AbortSignal,
): Promise<object> {
  switch (call) {
    case 'page':
      return readPage(data, pageQuery.parse(query), signal);
    case 'entity': {
      const { entityType, entityId } = entityQuery.parse(query);
      const [entity, { changes }] = await Promise.all([
        data.getEntity(entityType, entityId),
        data.listChanges({ entityType, entityId, order: 'desc', limit: CHANGES_SHOWN }),
      ]);
      return { entity: entity ?? null, changes };
    }
    case 'save': {
      const { entityType, entityId, data: fields } = saveQuery.parse(query);
      return { entity: await data.upsertEntity(entityType, entityId, fields) };
    }
    case 'waiting': {
      const { entityType, entityIds } = waitingQuery.parse(query);
      const [marks, notInserted, failed] = await Promise.all([
        data.listMarks(entityType, entityIds),
        data.listNotInserted(entityType, NOT_INSERTED_SHOWN),
        data.query(FAILED_BY_TYPE),
      ]);
      const failedOf = failed.rows.map((row) => [String(row['entity_type']), Number(row['failed'])] as const);
      return { marks, notInserted, failed: Object.fromEntries(failedOf) };
    }
  }
}

async function readPage(
  data: LocalData,
  { entityType, search, orderBy, offset, limit }: z.infer<typeof pageQuery>,
  signal: AbortSignal,
): Promise<object> {
  const matching = search === undefined || search === '' ? {} : { search };
  const order = orderBy === undefined ? {} : { orderBy };
  const [page, total] = await Promise.all([
    data.queryEntities(entityType, { ...matching, ...order, offset, limit }, { signal }),
    data.countEntities(entityType, matching, { signal }),
  ]);
  return { rows: page.rows, total };
}
