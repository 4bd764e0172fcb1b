/** Formats JSON rows as text tables. */

/**
 * Formats rows as a table. List items are joined with commas. Numeric properties whose names end in `_at` are treated
 * as Unix seconds and formatted as dates.
 * @param columns the properties to show, in this order
 */
export function formatTable(rows: readonly object[], columns: readonly string[]): readonly string[] {
  const head = columns.map((column) => column.replaceAll('_', ' ').toUpperCase());
  const body = rows.map((row) => columns.map((column) => cell(column, (row as Record<string, unknown>)[column])));
  const widths = head.map((title, index) => Math.max(title.length, ...body.map((row) => row[index]!.length)));
  return [head, ...body].map((row) => {
    const padded = row.map((text, index) => text.padEnd(widths[index]!));
    return padded.join('  ').trimEnd();
  });
}

function cell(column: string, value: unknown): string {
  if (Array.isArray(value)) return value.join(',') || '-';
  const isTime = typeof value === 'number' && column.endsWith('_at');
  return isTime ? new Date(value * 1000).toISOString() : String(value ?? '-');
}
