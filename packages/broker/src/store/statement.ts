/**
 * Repository statements. Each receives its rows as one JSON array, so that it runs only once for a batch of requests.
 */

/** A statement that writes a batch of rows. */
export interface Statement<Row> {
  /** Name of the prepared statement on a PostgreSQL connection. */
  readonly name: string;
  /** SQL with one parameter: a JSON array of rows. */
  readonly sql: string;
  /** Execution order within a transaction. Statements from the same file run in the order in which they are defined. */
  readonly place: number;
  readonly parameter: (rows: readonly Row[]) => string;
}

/** Statement of any row type. */
export type AnyStatement = Statement<never>;

export interface StatementOptions<Row> {
  /** Column to deduplicate by. If rows in a batch have the same value, only the last one is written. */
  readonly lastOf?: keyof Row;
}

let defined = 0;

/** Defines a statement. Call it once per statement, while its module is loaded. */
export function statement<Row>(sql: string, { lastOf }: StatementOptions<Row> = {}): Statement<Row> {
  const last = (rows: readonly Row[]) =>
    lastOf === undefined ? rows : [...new Map(rows.map((row) => [row[lastOf], row])).values()];
  const place = defined++;
  return {
    name: `meshpass_${place}`,
    sql,
    place,
    parameter: (rows) => JSON.stringify(last(rows)),
  };
}

/** A statement together with its rows. */
export interface Step {
  readonly name: string;
  readonly sql: string;
  readonly parameter: string;
  /** Number of rows that the statement must change or return; undefined if any number is acceptable. */
  readonly expected: number | undefined;
}

/** Combines a statement with its rows. */
export function toStep<Row>(
  { name, sql, parameter }: Statement<Row>,
  rows: readonly Row[],
  expected: number | undefined = undefined,
): Step {
  return { name, sql, parameter: parameter(rows), expected };
}

/** Thrown if a step changed or returned an unexpected number of rows. Its transaction is rolled back. */
export class UnexpectedRows extends Error {
  readonly step: Step;
  /** Rows that the step returned. */
  readonly rows: readonly unknown[];
  constructor(step: Step, rows: readonly unknown[]) {
    super(`a store statement did not change or return the expected number of rows (${step.expected})`);
    this.step = step;
    this.rows = rows;
  }
}

/**
 * Checks the result of a step.
 * @param count number of changed or returned rows
 * @throws UnexpectedRows
 */
export function assertRowCount(step: Step, count: number, rows: readonly unknown[]): void {
  if (step.expected !== undefined && count !== step.expected) throw new UnexpectedRows(step, rows);
}
