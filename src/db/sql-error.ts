// Errors of Postgres with what is needed to act on them: the SQLSTATE and what it concerns. The class of the driver is
// lost across threads and bundles, its fields are not.

export class SqlError extends Error {
  readonly sqlState: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  readonly constraint: string | undefined;
  readonly table: string | undefined;
  readonly column: string | undefined;
  readonly position: number | undefined;

  constructor(message: string, fields: SqlErrorFields, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SqlError';
    this.sqlState = fields.code;
    this.detail = fields.detail;
    this.hint = fields.hint;
    this.constraint = fields.constraint;
    this.table = fields.table;
    this.column = fields.column;
    this.position = fields.position === undefined ? undefined : Number(fields.position);
  }
}

interface SqlErrorFields {
  readonly code: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly constraint?: string;
  readonly table?: string;
  readonly column?: string;
  readonly position?: string;
}

export function toSqlError(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return error;
  if (!/^[0-9A-Z]{5}$/.test(error.code)) return error;
  const read = (name: string): string | undefined => {
    const value: unknown = Reflect.get(error, name);
    return typeof value === 'string' ? value : undefined;
  };
  const fields = {
    code: error.code,
    detail: read('detail'),
    hint: read('hint'),
    constraint: read('constraint'),
    table: read('table'),
    column: read('column'),
    position: read('position'),
  };
  return new SqlError(
    error.message,
    Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as unknown as SqlErrorFields,
    { cause: error },
  );
}

/** SQLSTATE classes in which trying again may help: resources, concurrency, operator intervention, the system itself. */
const TRANSIENT_CLASSES = new Set(['08', '40', '53', '55', '57', '58', 'XX']);

export function isTransient(sqlState: string): boolean {
  return TRANSIENT_CLASSES.has(sqlState.slice(0, 2));
}

/** The connection, the machine's resources, whoever stops a statement, and the system beneath. */
const NOT_OF_THE_DATA = new Set(['08', '53', '57', '58']);

/**
 * Whether what was to be written is at fault, or what stands in its way here. It is told by what it is not: an index has
 * limits of its own, and someone's trigger may raise any code.
 */
export function isRefusal(error: unknown): error is SqlError {
  return error instanceof SqlError && !NOT_OF_THE_DATA.has(error.sqlState.slice(0, 2));
}
