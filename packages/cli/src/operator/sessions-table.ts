/** Live sessions as a table. */

export interface SessionRow {
  readonly id: string;
  readonly subject: string;
  readonly login: string;
  readonly workspace: string;
  readonly grants: readonly string[];
  /** Unix seconds, like the next two. */
  readonly opened_at: number;
  readonly expires_at: number;
  readonly lease_expires_at: number;
}

const HEAD = ['ID', 'USER', 'SUBJECT', 'WORKSPACE', 'GRANTS', 'OPEN FOR', 'ENDS IN', 'LEASE'];

/**
 * Formats sessions as a table, sorted by login.
 * @param now Unix milliseconds
 */
export function sessionsTable(sessions: readonly SessionRow[], now: number): readonly string[] {
  const rows = [...sessions]
    .sort((a, b) => a.login.localeCompare(b.login) || a.opened_at - b.opened_at)
    .map((one) => [
      one.id,
      one.login,
      one.subject,
      one.workspace,
      one.grants.join(','),
      span(now / 1000 - one.opened_at),
      span(one.expires_at - now / 1000),
      span(one.lease_expires_at - now / 1000),
    ]);
  const table = [HEAD, ...rows];
  const widths = HEAD.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  return table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}

function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Formats a number of sessions. */
export function countedSessions(count: number): string {
  return count === 1 ? '1 session' : `${count} sessions`;
}
