// The protocol as an OpenAPI document, made from its schemas: what is written there is what both sides check.
import { z } from 'zod';
import {
  PROTOCOL_HEADER,
  SYNC_ERROR_STATUS,
  SYNC_PROTOCOL_VERSION,
  type SyncErrorCode,
  bucketResponseSchema,
  digestResponseSchema,
  feedChangeSchema,
  healthSchema,
  pullQuerySchema,
  pullResponseSchema,
  pushRequestSchema,
  pushResponseSchema,
  pushedChangeSchema,
  snapshotEntitySchema,
  snapshotQuerySchema,
  snapshotResponseSchema,
  spaceInfoSchema,
  spaceNameSchema,
  syncErrorSchema,
} from '../protocol/sync.ts';

type Json = Readonly<Record<string, unknown>>;

const SCHEMAS = {
  SpaceInfo: spaceInfoSchema,
  PushedChange: pushedChangeSchema,
  PushRequest: pushRequestSchema,
  PushResponse: pushResponseSchema,
  FeedChange: feedChangeSchema,
  PullResponse: pullResponseSchema,
  SnapshotEntity: snapshotEntitySchema,
  SnapshotResponse: snapshotResponseSchema,
  DigestResponse: digestResponseSchema,
  BucketResponse: bucketResponseSchema,
  Health: healthSchema,
  Error: syncErrorSchema,
} as const;

type SchemaName = keyof typeof SCHEMAS;

/** Lists whose elements are checked one by one, so that their schemas say only "anything". */
const ELEMENTS: Readonly<Partial<Record<SchemaName, readonly [string, SchemaName]>>> = {
  PushRequest: ['changes', 'PushedChange'],
  PullResponse: ['changes', 'FeedChange'],
  SnapshotResponse: ['entities', 'SnapshotEntity'],
};

export function openApiDocument(): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Local Data sync protocol',
      version: `${SYNC_PROTOCOL_VERSION}.0.0`,
      description:
        'Push changes, pull the feed of all changes, start from a snapshot, compare by digests. Errors are told apart by status and code.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }],
    paths: paths(),
    components: {
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'Claims: `space`, `rights` (read, write), `exp`; `sub` names who it is for.',
        },
      },
      schemas: Object.fromEntries(Object.keys(SCHEMAS).map((name) => [name, schemaOf(name as SchemaName)])),
    },
  };
}

function schemaOf(name: SchemaName): Json {
  const schema = jsonSchema(SCHEMAS[name]);
  const elements = ELEMENTS[name];
  if (elements === undefined) return schema;
  const [property, element] = elements;
  const properties = z.record(z.string(), z.record(z.string(), z.unknown())).parse(schema['properties']);
  return { ...schema, properties: { ...properties, [property]: { ...properties[property], items: ref(element) } } };
}

function jsonSchema(schema: z.ZodType): Json {
  const made = z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
    // The protocol's one custom schema is that of a JSON object.
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema instanceof z.ZodCustom) jsonSchema.type = 'object';
    },
  });
  return Object.fromEntries(Object.entries(made).filter(([name]) => name !== '$schema'));
}

function paths(): Json {
  return {
    '/v1/spaces/{space}': {
      parameters: commonParameters(),
      get: operation('spaceInfo', 'What a client asks before anything else', 'SpaceInfo', []),
    },
    '/v1/spaces/{space}/changes': {
      parameters: commonParameters(),
      post: {
        ...operation('push', 'Push changes; a result for each', 'PushResponse', [
          'EPOCH_CHANGED',
          'CURSOR_EXPIRED',
          'PAYLOAD_TOO_LARGE',
          'UNSUPPORTED_MEDIA_TYPE',
          'REQUEST_TIMEOUT',
        ]),
        requestBody: { required: true, content: { 'application/json': { schema: ref('PushRequest') } } },
      },
      get: {
        ...operation('pull', 'The changes after a cursor; waits for them when asked to', 'PullResponse', [
          'EPOCH_CHANGED',
          'CURSOR_EXPIRED',
        ]),
        parameters: queryParameters(pullQuerySchema),
      },
    },
    '/v1/spaces/{space}/snapshot': {
      parameters: commonParameters(),
      get: {
        ...operation('snapshot', 'All entities, in pages', 'SnapshotResponse', ['EPOCH_CHANGED', 'CURSOR_EXPIRED']),
        parameters: queryParameters(snapshotQuerySchema),
      },
    },
    '/v1/spaces/{space}/digest': {
      parameters: commonParameters(),
      get: operation('digest', 'Hashes of all entities, in buckets', 'DigestResponse', []),
    },
    '/v1/spaces/{space}/digest/{bucket}': {
      parameters: [
        ...commonParameters(),
        { name: 'bucket', in: 'path', required: true, schema: { type: 'integer', minimum: 0, maximum: 255 } },
      ],
      get: {
        ...operation('bucket', 'The entities of one bucket, in pages', 'BucketResponse', [
          'EPOCH_CHANGED',
          'CURSOR_EXPIRED',
        ]),
        parameters: queryParameters(snapshotQuerySchema),
      },
    },
    '/metrics': {
      get: {
        operationId: 'metrics',
        summary: 'Counters and gauges, as Prometheus reads them',
        security: [],
        responses: { 200: { description: 'OK', content: { 'text/plain': { schema: { type: 'string' } } } } },
      },
    },
    '/openapi.json': {
      get: {
        operationId: 'openApi',
        summary: 'This document',
        security: [],
        responses: { 200: { description: 'OK', content: { 'application/json': { schema: { type: 'object' } } } } },
      },
    },
    '/healthz': {
      get: {
        operationId: 'health',
        summary: 'Whether the server can serve',
        security: [],
        responses: { 200: answer('It can.', 'Health'), 503: answer('It cannot, or is about to end.', 'Health') },
      },
    },
  };
}

const ANY_REQUEST: readonly SyncErrorCode[] = [
  'INVALID_REQUEST',
  'UNAUTHENTICATED',
  'TOKEN_EXPIRED',
  'FORBIDDEN',
  'UNSUPPORTED_PROTOCOL',
  'TOO_MANY_REQUESTS',
  'INTERNAL',
  'UNAVAILABLE',
];

function operation(operationId: string, summary: string, success: SchemaName, codes: readonly SyncErrorCode[]): Json {
  const byStatus = new Map<number, SyncErrorCode[]>();
  const all: SyncErrorCode[] = [...ANY_REQUEST, ...codes];
  if (codes.includes('EPOCH_CHANGED')) all.push('HISTORY_CHANGED');
  for (const code of all) {
    const status = SYNC_ERROR_STATUS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const failures = [...byStatus]
    .sort(([a], [b]) => a - b)
    .map(([status, codes]) => [status, answer(codes.join(' or '), 'Error')]);
  return { operationId, summary, responses: { 200: answer('OK', success), ...Object.fromEntries(failures) } };
}

function answer(description: string, schema: SchemaName): Json {
  return { description, content: { 'application/json': { schema: ref(schema) } } };
}

function ref(name: SchemaName): Json {
  return { $ref: `#/components/schemas/${name}` };
}

function commonParameters(): Json[] {
  return [
    { name: 'space', in: 'path', required: true, schema: jsonSchema(spaceNameSchema) },
    {
      name: PROTOCOL_HEADER,
      in: 'header',
      description: 'Versions of the protocol that the client speaks; 426 where the server speaks none of them.',
      schema: { type: 'string', examples: [String(SYNC_PROTOCOL_VERSION)] },
    },
  ];
}

function queryParameters(query: z.ZodObject): Json[] {
  return Object.entries(query.shape).map(([name, schema]) => ({
    name,
    in: 'query',
    required: false,
    schema: jsonSchema(schema as z.ZodType),
  }));
}
