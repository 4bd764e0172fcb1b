/**
 * Defines statements for repositories. Each one receives its rows as a single JSON array, so that it only runs once for
 * a batch of requests.
 */

/** A statement that writes a batch of rows. */
export interface Statement<Row> {
  /** The name of the prepared statement on a PostgreSQL connection. */
  readonly name: string;
  /** The SQL text. Its only parameter is a JSON array of rows. */
  readonly sql: string;
  /**
   * Determines the execution order within a transaction. Statements in the same file run in the order they are defined.
   */
  readonly place: number;
  readonly parameter: (rows: readonly Row[]) => string;
}

/** A statement for rows of any type. */
export type AnyStatement = Statement<never>;

export interface StatementOptions<Row> {
  /**
   * The column to deduplicate rows by. If more than one row in a batch has the same value, only the last one is
   * written.
   */
  readonly lastOf?: keyof Row;
}

let defined = 0;

/** Defines a statement. This must be called once per statement, while its module is loading. */
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

/** A statement together with the rows that it writes. */
export interface Step {
  readonly name: string;
  readonly sql: string;
  readonly parameter: string;
  /** How many rows the statement must change or return. Undefined if any number is acceptable. */
  readonly expected: number | undefined;
}

/** Combines a statement with the rows that it writes. */
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
  /** The rows that the step returned. */
  readonly rows: readonly unknown[];
  constructor(step: Step, rows: readonly unknown[]) {
    super(`a store statement did not change or return the expected number of rows (${step.expected})`);
    this.step = step;
    this.rows = rows;
  }
}

/**
 * Checks that a step changed or returned the expected number of rows.
 * @param count the number of rows changed or returned
 * @throws UnexpectedRows
 */
export function assertRowCount(step: Step, count: number, rows: readonly unknown[]): void {
  if (step.expected !== undefined && count !== step.expected) throw new UnexpectedRows(step, rows);
}

/** Sanitizes untrusted text for storage: replaces the characters that PostgreSQL's `text` type cannot store. */
export function toStorableText(value: string): string {
  return value.isWellFormed() && !value.includes('\0') ? value : value.toWellFormed().replaceAll('\0', '\ufffd');
}
