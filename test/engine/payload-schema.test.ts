// The JSON Schema of a payload says what the table says: types, what must be there, what may be chosen from.
import assert from 'node:assert/strict';
import { payloadSchema } from '../../src/db/payload-schema.ts';
import type { EntityTypeInfo } from '../../src/protocol/engine.ts';

describe('payload schema', () => {
  const column = { notNull: false, hasDefault: false, generated: false };
  const info: EntityTypeInfo = {
    entityType: 'Task',
    table: 'tasks',
    key: 'id',
    kind: 'table',
    count: 0,
    columns: [
      { ...column, name: 'id', type: 'text', notNull: true },
      { ...column, name: 'title', type: 'character varying(80)', notNull: true },
      {
        ...column,
        name: 'status',
        type: 'text',
        notNull: true,
        hasDefault: true,
        checks: [`CHECK ((status = ANY (ARRAY['todo'::text, 'it''s done'::text])))`],
      },
      {
        ...column,
        name: 'priority',
        type: 'integer',
        checks: ['CHECK (((priority >= 1) AND (priority <= 5)))'],
      },
      { ...column, name: 'hours', type: 'numeric(6,2)', checks: ['CHECK ((hours >= (0)::numeric))'] },
      {
        ...column,
        name: 'odd',
        type: 'integer',
        checks: ['CHECK (((odd > 5) OR (title IS NULL)))', 'CHECK ((abs(odd) < 9))'],
      },
      { ...column, name: 'mood', type: 'mood', enumValues: ['good', 'bad'] },
      {
        ...column,
        name: 'project_id',
        type: 'text',
        references: { table: 'public.projects', column: 'id', entityType: 'Project' },
      },
      { ...column, name: 'details', type: 'jsonb' },
      { ...column, name: 'total', type: 'integer', generated: true },
    ],
  };

  it('names types, limits and choices of the columns, and leaves out generated ones', () => {
    const { properties, additionalProperties, required } = payloadSchema(info, 'insert');
    assert.ok(typeof properties === 'object' && properties !== null && !Array.isArray(properties));
    const bare = Object.fromEntries(
      Object.entries(properties).map(([name, property]) => {
        assert.ok(typeof property === 'object' && property !== null && !Array.isArray(property));
        const rest = Object.entries(property).filter(([key]) => key !== 'description' && key !== 'pattern');
        return [name, Object.fromEntries(rest)];
      }),
    );
    assert.deepEqual(bare, {
      id: { type: 'string' },
      title: { type: 'string', maxLength: 80 },
      status: { type: 'string', enum: ['todo', "it's done"] },
      priority: { type: ['integer', 'null'], minimum: 1, maximum: 5 },
      hours: { type: ['string', 'number', 'null'], minimum: 0 },
      odd: { type: ['integer', 'null'], minimum: -2147483648, maximum: 2147483647 },
      mood: { type: ['string', 'null'], enum: ['good', 'bad', null] },
      project_id: { type: ['string', 'null'] },
      details: {},
    });
    assert.equal(additionalProperties, false);
    assert.deepEqual(required, ['title']);
  });

  it('requires nothing of a patch', () => {
    assert.equal(payloadSchema(info, 'update')['required'], undefined);
  });

  it('tells people the type, the parent and the check', () => {
    const text = JSON.stringify(payloadSchema(info, 'insert'));
    assert.match(text, /refers to Project, public.projects \(id\)/);
    assert.match(text, /priority <= 5/);
  });

  it('lets a document hold anything', () => {
    const schema = payloadSchema({ ...info, kind: 'document', columns: [] }, 'insert');
    assert.equal(schema['additionalProperties'], true);
  });
});
