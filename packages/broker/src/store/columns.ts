/**
 * Defines each table once, as a map of its columns. The `create table` statement and the row type for Kysely are both
 * derived from this map.
 */
import type { ColumnType, Generated } from 'kysely';

/** The SQL type and constraints of each column in a table. */
type Columns = Readonly<Record<string, string>>;

/** The row type of a table. A column may be null unless its definition contains `not null` or `primary key`. */
export type Row<Table extends Columns> = { -readonly [Name in keyof Table]: Column<Table[Name]> };

type Column<Sql extends string> = Sql extends `${string} default ${string}`
  ? Generated<Value<Sql>>
  : Sql extends `${string} not null${string}` | `${string} primary key${string}`
    ? Value<Sql>
    : Value<Sql> extends Time
      ? ColumnType<Date | null, Date | string | null, Date | string | null>
      : Value<Sql> | null;

type Value<Sql extends string> = Sql extends `timestamptz${string}`
  ? Time
  : Sql extends `integer${string}`
    ? number
    : Sql extends `boolean${string}`
      ? boolean
      : string;

/** Both engines return timestamps as `Date` and `bigint` values as strings. */
type Time = ColumnType<Date, Date | string, Date | string>;

/** Returns a `create table` statement for each table, without any indexes. */
export function createTableStatements(tables: Readonly<Record<string, Columns>>): string[] {
  return Object.entries(tables).map(([name, columns]) => {
    const defined = Object.entries(columns).map(([column, sql]) => `${column} ${sql}`);
    return `create table ${name} (${defined.join(', ')})`;
  });
}
