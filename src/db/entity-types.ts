// Which tables are entity types, and what of their shape decides how changes to them may be applied. Read from the
// catalog at registration and again after every schema change; never guessed from payloads.
import type { ColumnInfo, EntityTypeInfo, RegisterEntityType } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import { installCapture } from './capture.ts';
import type { Session } from './database.ts';
import { columnAsJson, quoteIdentifier } from './sql-values.ts';

export interface ForeignKey {
  readonly constraint: string;
  readonly columns: readonly string[];
  /** Schema-qualified, quoted. */
  readonly referencedTable: string;
  readonly referencedColumns: readonly string[];
}

/** A CHECK constraint as the catalog writes it. */
export interface Check {
  readonly constraint: string;
  readonly columns: readonly string[];
  readonly sql: string;
}

export interface EntityType {
  readonly entityType: string;
  /** As given or made, for people. */
  readonly table: string;
  /** Schema-qualified and quoted, for SQL. */
  readonly sqlTable: string;
  readonly relationId: number;
  readonly key: string;
  readonly keyType: string;
  readonly kind: 'table' | 'document';
  readonly columns: readonly ColumnInfo[];
  readonly foreignKeys: readonly ForeignKey[];
  readonly checks: readonly Check[];
  /** Columns of unique, exclusion and foreign-key constraints besides the key: updates to them do not commute. */
  readonly sensitiveColumns: ReadonlySet<string>;
  /** A unique or exclusion constraint besides the key: inserts and deletes do not commute. */
  readonly hasSecondaryUnique: boolean;
  /** `cascades` when deleting here changes rows elsewhere, `restricts` when it may be refused, `none` otherwise. */
  readonly referencedBy: 'none' | 'restricts' | 'cascades';
  readonly referencesItself: boolean;
  /** Someone's own triggers: nothing may be reordered around them. */
  readonly hasUserTriggers: boolean;
}

export class EntityTypes {
  #types = new Map<string, EntityType>();
  #counts = new Map<string, number>();

  get(entityType: string): EntityType | undefined {
    return this.#types.get(entityType);
  }

  require(entityType: string): EntityType {
    const type = this.#types.get(entityType);
    if (type !== undefined) return type;
    const known = [...this.#types.keys()].join(', ') || 'none yet';
    throw new LocalDataError(
      'UNKNOWN_ENTITY_TYPE',
      `Entity type "${entityType}" is not registered (registered: ${known}). Register it with registerEntityType, or correct the name.`,
      { entityType },
    );
  }

  all(): EntityType[] {
    return [...this.#types.values()];
  }

  /** Referenced types before those that refer to them; a circle stands in the order of names. */
  parentsFirst(): EntityType[] {
    const ordered: EntityType[] = [];
    const visited = new Set<EntityType>();
    const visit = (type: EntityType): void => {
      if (visited.has(type)) return;
      visited.add(type);
      for (const { referencedTable } of type.foreignKeys) {
        const parent = this.byTable(referencedTable);
        if (parent !== undefined) visit(parent);
      }
      ordered.push(type);
    };
    for (const type of this.all()) visit(type);
    return ordered;
  }

  byTable(sqlTable: string): EntityType | undefined {
    return this.all().find((type) => type.sqlTable === sqlTable);
  }

  count(entityType: string): number {
    return this.#counts.get(entityType) ?? 0;
  }

  addToCount(entityType: string, difference: number): number {
    const count = this.count(entityType) + difference;
    this.#counts.set(entityType, count);
    return count;
  }

  info(type: EntityType): EntityTypeInfo {
    const columns = type.columns.map((column) => this.#withReferencedType(column));
    const { entityType, table, key, kind } = type;
    return { entityType, table, key, kind, columns, count: this.count(entityType) };
  }

  infos(): EntityTypeInfo[] {
    return this.all().map((type) => this.info(type));
  }

  /** Reads the registered types and their tables' shape; drops those whose table is gone. */
  async load(session: Session): Promise<void> {
    const registered = await session.run<RegisteredRow>(
      `SELECT entity_type, table_name, key, kind FROM local_data.entity_types ORDER BY entity_type`,
    );
    const types = new Map<string, EntityType>();
    for (const row of registered) {
      const type = await readEntityType(session, row);
      if (type !== undefined) types.set(type.entityType, type);
    }
    this.#types = types;
    for (const type of types.values()) await this.recount(session, type);
  }

  async recount(session: Session, type: EntityType): Promise<void> {
    const [row] = await session.run<{ count: number }>(`SELECT count(*) AS count FROM ${type.sqlTable}`);
    this.#counts.set(type.entityType, row?.count ?? 0);
  }

  /** Makes a table (or a new document table) an entity type and captures plain SQL writes on it from now on. */
  async register(session: Session, registration: RegisterEntityType): Promise<EntityType> {
    const { entityType } = registration;
    requireName(entityType);
    return session.transaction(async () => {
      const row =
        registration.table === undefined ? await createDocumentTable(session, registration) : asTable(registration);
      const type = await readEntityType(session, row);
      if (type === undefined) throw unknownTable(entityType, row.table_name);
      const taken = this.byTable(type.sqlTable);
      if (taken !== undefined && taken.entityType !== entityType) throw tableTaken(type, taken);
      await session.run(
        `INSERT INTO local_data.entity_types (entity_type, table_name, key, kind) VALUES ($1, $2, $3, $4)
         ON CONFLICT (entity_type) DO UPDATE SET table_name = excluded.table_name, key = excluded.key, kind = excluded.kind`,
        [entityType, type.sqlTable, type.key, type.kind],
      );
      await installCapture(session, type);
      this.#types.set(entityType, type);
      await this.recount(session, type);
      return type;
    });
  }

  /** After a schema change the triggers must read the columns that are there now. */
  async reinstallCapture(session: Session): Promise<void> {
    for (const type of this.#types.values()) await installCapture(session, type);
  }

  #withReferencedType(column: ColumnInfo): ColumnInfo {
    if (column.references === undefined) return column;
    const { table } = column.references;
    const referenced = this.byTable(table);
    if (referenced === undefined) return column;
    return { ...column, references: { ...column.references, entityType: referenced.entityType } };
  }
}

interface RegisteredRow {
  readonly [column: string]: unknown;
  readonly entity_type: string;
  readonly table_name: string;
  readonly key: string;
  readonly kind: 'table' | 'document';
}

/** Columns a payload may write; the key is written too, from the entity id. */
export function writableColumns(type: EntityType): string[] {
  if (type.kind === 'document') return ['data'];
  return type.columns.filter((column) => !column.generated && column.name !== type.key).map((column) => column.name);
}

/** SQL for an entity's canonical JSON, of a row named `alias`. */
export function entityAsJson(type: EntityType, alias: string): string {
  if (type.kind === 'document') {
    return `(${alias}."data" || jsonb_build_object('${type.key.replaceAll("'", "''")}', ${alias}."id"))`;
  }
  const pairs = type.columns.map(
    ({ name, type: columnType }) =>
      `'${name.replaceAll("'", "''")}', ${columnAsJson(`${alias}.${quoteIdentifier(name)}`, columnType)}`,
  );
  // A function takes at most 100 arguments: 50 pairs.
  const objects = [];
  for (let start = 0; start < pairs.length; start += 50) {
    objects.push(`jsonb_build_object(${pairs.slice(start, start + 50).join(', ')})`);
  }
  return objects.length === 1 ? String(objects[0]) : `(${objects.join(' || ')})`;
}

/** The column that holds the key. */
export function keyColumn(type: EntityType): string {
  return type.kind === 'document' ? '"id"' : quoteIdentifier(type.key);
}

/** Of a foreign key's columns the one that holds the parent's key; none where it refers to another table or by another column. */
export function columnOfKey(foreignKey: ForeignKey, parent: EntityType): string | undefined {
  if (foreignKey.referencedTable !== parent.sqlTable) return undefined;
  const key = parent.kind === 'document' ? 'id' : parent.key;
  return foreignKey.columns[foreignKey.referencedColumns.indexOf(key)];
}

function asTable(registration: RegisterEntityType): RegisteredRow {
  return {
    entity_type: registration.entityType,
    table_name: registration.table ?? '',
    key: registration.key ?? '',
    kind: 'table',
  };
}

async function createDocumentTable(session: Session, registration: RegisterEntityType): Promise<RegisteredRow> {
  const base = registration.entityType
    .toLowerCase()
    .replace(/[^a-z0-9_]+/g, '_')
    .slice(0, 50);
  const name = quoteIdentifier(`${base}_documents`);
  await session.script(`CREATE TABLE IF NOT EXISTS ${name} (id TEXT PRIMARY KEY, data JSONB NOT NULL)`);
  return { entity_type: registration.entityType, table_name: name, key: registration.key ?? 'id', kind: 'document' };
}

async function readEntityType(session: Session, row: RegisteredRow): Promise<EntityType | undefined> {
  const [relation] = await session.run<{ oid: number; sql_table: string; relkind: string }>(
    `SELECT c.oid::int8 AS oid, format('%I.%I', n.nspname, c.relname) AS sql_table, c.relkind::text AS relkind
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ${await resolveTable(session, row.table_name)}`,
  );
  if (relation === undefined) return undefined;
  if (!['r', 'p'].includes(relation.relkind)) throw unknownTable(row.entity_type, row.table_name);
  const columns = await readColumns(session, relation.oid);
  const key = row.kind === 'document' ? row.key : await resolveKey(session, relation.oid, row, columns);
  const keyName = row.kind === 'document' ? 'id' : key;
  const constraints = await readConstraints(session, relation.oid, keyName);
  return {
    entityType: row.entity_type,
    table: relation.sql_table.replace(/^public\./, '').replaceAll('"', ''),
    sqlTable: relation.sql_table,
    relationId: relation.oid,
    key,
    keyType: columns.find((column) => column.name === keyName)?.type ?? 'text',
    kind: row.kind,
    columns: columns.map((column) => describeColumn(column, constraints)),
    ...constraints,
  };
}

async function resolveTable(session: Session, table: string): Promise<number> {
  const quoted = /^[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)?$/.test(table) || table.includes('"');
  const name = quoted ? table : quoteIdentifier(table);
  const [row] = await session.run<{ oid: number | null }>(`SELECT to_regclass($1)::oid::int8 AS oid`, [name]);
  return row?.oid ?? 0;
}

interface CatalogColumn {
  readonly [column: string]: unknown;
  readonly name: string;
  readonly type: string;
  readonly not_null: boolean;
  readonly has_default: boolean;
  readonly generated: boolean;
  readonly enum_values: string[] | null;
}

async function readColumns(session: Session, relationId: number): Promise<CatalogColumn[]> {
  return session.run<CatalogColumn>(
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
       (a.atthasdef OR a.attidentity <> '') AS has_default, (a.attgenerated <> '' OR a.attidentity = 'a') AS generated,
       (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = a.atttypid) AS enum_values
     FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [relationId],
  );
}

async function resolveKey(
  session: Session,
  relationId: number,
  row: RegisteredRow,
  columns: readonly CatalogColumn[],
): Promise<string> {
  const unique = await session.run<{ name: string; is_primary: boolean }>(
    `SELECT a.attname AS name, i.indisprimary AS is_primary FROM pg_index i
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid = $1 AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL AND i.indexprs IS NULL
     ORDER BY i.indisprimary DESC`,
    [relationId],
  );
  const key = row.key === '' ? unique.find((index) => index.is_primary)?.name : row.key;
  const names = columns.map((column) => column.name).join(', ');
  if (key === undefined || !columns.some((column) => column.name === key)) {
    const asked = key === undefined ? 'a one-column primary key' : `column "${key}"`;
    throw new LocalDataError(
      'UNKNOWN_COLUMN',
      `Table "${row.table_name}" has no ${asked} to be the key of ${row.entity_type} (columns: ${names}). Name a column that is unique and not null.`,
      { entityType: row.entity_type, table: row.table_name, column: key ?? null },
    );
  }
  const column = columns.find((candidate) => candidate.name === key);
  if (!unique.some((index) => index.name === key) || column?.not_null !== true) {
    throw new LocalDataError(
      'INVALID_ARGUMENT',
      `Column "${key}" of table "${row.table_name}" cannot be the key of ${row.entity_type}: it must be unique and not null. Make it the primary key, or name another column.`,
      { entityType: row.entity_type, table: row.table_name, column: key },
    );
  }
  return key;
}

interface Constraints {
  readonly foreignKeys: readonly ForeignKey[];
  readonly checks: readonly Check[];
  readonly sensitiveColumns: ReadonlySet<string>;
  readonly hasSecondaryUnique: boolean;
  readonly referencedBy: EntityType['referencedBy'];
  readonly referencesItself: boolean;
  readonly hasUserTriggers: boolean;
}

async function readConstraints(session: Session, relationId: number, key: string): Promise<Constraints> {
  const names = (attnums: string, relation: string): string =>
    `(SELECT coalesce(jsonb_agg(a.attname ORDER BY o.n), '[]') FROM unnest(${attnums}) WITH ORDINALITY o(num, n)
      JOIN pg_attribute a ON a.attrelid = ${relation} AND a.attnum = o.num)`;
  const own = await session.run<{
    name: string;
    type: string;
    columns: string[];
    referenced_table: string | null;
    referenced_columns: string[];
    sql: string;
    itself: boolean;
  }>(
    `SELECT c.conname AS name, c.contype::text AS type, ${names('c.conkey', 'c.conrelid')} AS columns,
       (SELECT format('%I.%I', n.nspname, r.relname) FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
         WHERE r.oid = c.confrelid) AS referenced_table,
       ${names('c.confkey', 'c.confrelid')} AS referenced_columns, pg_get_constraintdef(c.oid) AS sql,
       c.confrelid = c.conrelid AS itself
     FROM pg_constraint c WHERE c.conrelid = $1 ORDER BY c.conname`,
    [relationId],
  );
  const unique = await session.run<{ columns: string[]; plain: boolean }>(
    `SELECT ${names('i.indkey::int2[]', 'i.indrelid')} AS columns, i.indexprs IS NULL AND i.indpred IS NULL AS plain
     FROM pg_index i WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)`,
    [relationId],
  );
  const secondary = unique.filter((index) => !(index.plain && index.columns.length === 1 && index.columns[0] === key));
  const [references] = await session.run<{ cascades: boolean | null; restricts: boolean | null; triggers: boolean }>(
    `SELECT bool_or(confdeltype NOT IN ('a', 'r')) AS cascades, bool_or(confdeltype IN ('a', 'r')) AS restricts,
       EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgname NOT LIKE 'local\\_data\\_%')
         OR EXISTS (SELECT 1 FROM pg_rewrite w WHERE w.ev_class = $1) AS triggers
     FROM pg_constraint WHERE confrelid = $1 AND contype = 'f'`,
    [relationId],
  );
  const foreignKeys = own
    .filter((constraint) => constraint.type === 'f')
    .map((constraint) => ({
      constraint: constraint.name,
      columns: constraint.columns,
      referencedTable: constraint.referenced_table ?? '',
      referencedColumns: constraint.referenced_columns,
    }));
  const expressionIndex = secondary.some((index) => !index.plain);
  const sensitive = [...secondary.flatMap((index) => index.columns), ...foreignKeys.flatMap((fk) => fk.columns)];
  return {
    foreignKeys,
    checks: own
      .filter(({ type }) => type === 'c')
      .map(({ name, columns, sql }) => ({ constraint: name, columns, sql })),
    sensitiveColumns: new Set(expressionIndex ? [...sensitive, '*'] : sensitive),
    hasSecondaryUnique: secondary.length > 0,
    referencedBy: references?.cascades ? 'cascades' : references?.restricts ? 'restricts' : 'none',
    referencesItself: own.some((constraint) => constraint.type === 'f' && constraint.itself),
    hasUserTriggers: references?.triggers ?? false,
  };
}

function describeColumn(column: CatalogColumn, constraints: Constraints): ColumnInfo {
  const foreignKey = constraints.foreignKeys.find((fk) => fk.columns.length === 1 && fk.columns[0] === column.name);
  const checks = constraints.checks.filter((check) => check.columns.includes(column.name)).map((check) => check.sql);
  return {
    name: column.name,
    type: column.type,
    notNull: column.not_null,
    hasDefault: column.has_default,
    generated: column.generated,
    ...(column.enum_values === null ? {} : { enumValues: column.enum_values }),
    ...(foreignKey === undefined
      ? {}
      : { references: { table: foreignKey.referencedTable, column: foreignKey.referencedColumns[0] ?? '' } }),
    ...(checks.length === 0 ? {} : { checks }),
  };
}

function requireName(entityType: string): void {
  if (/^[A-Za-z][\w .-]{0,62}$/.test(entityType)) return;
  throw new LocalDataError(
    'INVALID_ARGUMENT',
    `"${entityType}" cannot be an entity type's name: start with a letter, then letters, digits, space, "_", "-" or ".", at most 63 in all.`,
    { field: 'entityType', value: entityType },
  );
}

function unknownTable(entityType: string, table: string): LocalDataError {
  return new LocalDataError(
    'UNKNOWN_TABLE',
    `There is no table "${table}" for entity type ${entityType}. Create it first, correct the name, or leave the table out for a document type.`,
    { entityType, table },
  );
}

function tableTaken(type: EntityType, taken: EntityType): LocalDataError {
  return new LocalDataError(
    'INVALID_ARGUMENT',
    `Table "${type.table}" is already entity type ${taken.entityType}; one table is one entity type. Use ${taken.entityType}, or another table.`,
    { entityType: type.entityType, table: type.table },
  );
}
