/**
 * Rows that do not fail a drill because the broker denies only revoked sessions in the mesh (`--deny-ended revoked`).
 * The session's record shows whether the broker denied its principals. If not, the operator accepted what an SVID can
 * still do inside the cluster until it expires.
 */
import type { DrillLayer, DrillRow, RecordedSession } from '@meshpass/identity/drill-report';

/** Layers at which only the root DENY stops an unexpired SVID. */
const BY_DENY: ReadonlySet<DrillLayer> = new Set(['mesh gateway', 'sidecar', 'root DENY']);

/**
 * Turns `stale` rows of these layers into `noted` if the broker denied none of the principals.
 * @param recorded the broker's record of the closed session; undefined without an operator token
 */
export function noteUndenied(rows: readonly DrillRow[], recorded: RecordedSession | undefined): DrillRow[] {
  const { principals = [], closed_at: closedAt = null } = recorded ?? {};
  const none = principals.length > 0 && principals.every(({ denied }) => denied === false);
  if (closedAt === null || !none) return [...rows];
  const until = principals
    .flatMap(({ last_not_after: end }) => end ?? [])
    .sort()
    .at(-1);
  const why = `SVID is valid until ${until}: this broker denies only revoked sessions`;
  return rows.map((row) =>
    row.outcome === 'stale' && BY_DENY.has(row.layer)
      ? { ...row, outcome: 'noted', how: `${why} (${row.how})`.slice(0, 300) }
      : row,
  );
}
