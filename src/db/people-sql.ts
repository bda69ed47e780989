// SQL that people and programs hand in: read-only queries that stay read-only whatever is tried, and statements that may
// write, whose writes on entity tables the capture triggers record.
import type { JsonObject } from '../protocol/changes.ts';
import type { QueryResult } from '../protocol/engine.ts';
import { LocalDataError } from '../protocol/errors.ts';
import type { Parameter, Session, StatementResult } from './database.ts';
import { SqlError } from './sql-error.ts';
import { readPublicValue } from './sql-values.ts';

const DEFAULT_ROWS = 10_000;

/** People's queries are planned as Postgres would by itself; what suits the engine's own statements may not suit them. */
const BEGIN_READING = `BEGIN READ ONLY; SET LOCAL ROLE local_data_reader; SET LOCAL enable_bitmapscan = on;
  SET LOCAL plan_cache_mode = auto`;

/**
 * One statement in a read-only transaction under a role without writing rights, server files or a way back. The
 * extended protocol takes one statement only, so none can end the transaction and go on.
 */
export async function readOnlyQuery(
  session: Session,
  sql: string,
  params: readonly Parameter[] = [],
  limit = DEFAULT_ROWS,
): Promise<QueryResult> {
  const keyword = /^(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/|\()*([a-z]+)/i.exec(sql)?.[1]?.toLowerCase() ?? '';
  if (!['select', 'with', 'values', 'table', 'explain', 'show'].includes(keyword)) {
    throw readOnly(
      `a query starts with SELECT, WITH, VALUES, TABLE, EXPLAIN or SHOW, not "${keyword || sql.slice(0, 20)}"`,
    );
  }
  await session.script(BEGIN_READING);
  try {
    return asQueryResult(await session.runWith(sql, params, readPublicValue), limit);
  } catch (error) {
    throw asQueryError(error);
  } finally {
    await session.run('ROLLBACK');
  }
}

export async function writeSql(
  session: Session,
  sql: string,
  params: readonly Parameter[] | undefined,
): Promise<QueryResult> {
  try {
    const result =
      params === undefined
        ? await session.script(sql, readPublicValue)
        : await session.runWith(sql, params, readPublicValue);
    if (session.isInTransaction()) {
      throw new LocalDataError(
        'SQL_ERROR',
        'The SQL left a transaction open; it was rolled back. End it with COMMIT in the same call, or use transaction().',
      );
    }
    return asQueryResult(result, Number.POSITIVE_INFINITY);
  } catch (error) {
    // A script that opened a transaction and failed within it leaves it open; nothing of it may linger.
    if (session.isInTransaction()) await session.script('ROLLBACK');
    throw asSqlFailure(error);
  }
}

function asQueryResult(result: StatementResult, limit: number): QueryResult {
  const rows = (result.rows.length > limit ? result.rows.slice(0, limit) : result.rows) as JsonObject[];
  const fields = result.fields.map(({ name, dataTypeID }) => ({ name, dataTypeId: dataTypeID }));
  return {
    rows,
    fields,
    affectedRows: result.affectedRows,
    ...(result.rows.length > limit ? { truncated: true } : {}),
  };
}

const READ_ONLY_TRANSACTION = '25006';
const INSUFFICIENT_PRIVILEGE = '42501';

function asQueryError(error: unknown): unknown {
  if (!(error instanceof SqlError)) return error;
  if (error.sqlState === READ_ONLY_TRANSACTION || error.sqlState === INSUFFICIENT_PRIVILEGE)
    return readOnly(error.message, error);
  return asSqlFailure(error);
}

function readOnly(why: string, cause?: unknown): LocalDataError {
  return new LocalDataError('READ_ONLY_QUERY', `query() only reads: ${why}. Use exec() to write.`, {}, { cause });
}

function asSqlFailure(error: unknown): unknown {
  if (!(error instanceof SqlError)) return error;
  const detail = error.detail === undefined ? '' : ` ${error.detail}`;
  const hint = error.hint === undefined ? '' : ` ${error.hint}`;
  const code =
    error.sqlState === '53100' ? 'DISK_FULL' : error.sqlState.startsWith('23') ? 'CONSTRAINT_VIOLATION' : 'SQL_ERROR';
  return new LocalDataError(
    code,
    `${error.message}.${detail}${hint}`,
    {
      sqlState: error.sqlState,
      ...(error.position === undefined ? {} : { position: error.position }),
      ...(error.constraint === undefined ? {} : { constraint: error.constraint }),
    },
    { cause: error },
  );
}
