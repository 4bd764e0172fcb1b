/**
 * A broker may deny only revoked sessions in the mesh (`--deny-ended revoked`). Its record says whether it denied this one. If not,
 * what an SVID can still do from inside the cluster is the operator's choice: it is noted, and does not fail the drill.
 */
import type { DrillLayer, DrillRow, RecordedSession } from '@meshpass/identity/drill-report';

/** Layers where only the root DENY stops an SVID that has not expired. */
const BY_DENY: ReadonlySet<DrillLayer> = new Set(['mesh gateway', 'sidecar', 'root DENY']);

/**
 * @param recorded the broker's record of the session after its end; undefined without an operator token
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
