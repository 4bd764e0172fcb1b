/**
 * A broker may deny in the mesh only where access was taken away (`--deny-ended revoked`). Its own record says whether it did so
 * here; what an SVID then still does from inside is what its operator chose, and is said, not failed.
 */
import type { DrillLayer, DrillRow, RecordedSession } from '@meshpass/identity/drill-report';

/** Where the root DENY is all that stands against an SVID that has not expired. */
const BY_DENY: ReadonlySet<DrillLayer> = new Set(['mesh gateway', 'sidecar', 'root DENY']);

/**
 * @param recorded what the broker has of the session after its end; undefined where it was not asked
 * @returns the rows, with `stale` ones of these layers as `noted` where the broker says that it denies none of the principals
 */
export function noteUndenied(rows: readonly DrillRow[], recorded: RecordedSession | undefined): DrillRow[] {
  const { principals = [], closed_at: closedAt = null } = recorded ?? {};
  const none = principals.length > 0 && principals.every(({ denied }) => denied === false);
  if (closedAt === null || !none) return [...rows];
  const until = principals
    .flatMap(({ last_not_after: end }) => end ?? [])
    .sort()
    .at(-1);
  const why = `SVID lives until ${until}: this broker denies revoked sessions only`;
  return rows.map((row) =>
    row.outcome === 'stale' && BY_DENY.has(row.layer)
      ? { ...row, outcome: 'noted', how: `${why} (${row.how})`.slice(0, 300) }
      : row,
  );
}
