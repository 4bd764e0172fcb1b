/**
 * Revokes principals whose access has ended but whose SVID may still be valid. Each change is applied to the mesh
 * immediately and retried until it succeeds. All revocations are applied again whenever the mesh changes, and once a
 * minute to revert external changes. `Revoker.apply` receives the complete list and converges from any state.
 */

import { type Clock, toUnixSeconds } from '../../base/index.ts';
import { type MeshState, type RevokedPrincipal, type Revoker, startReconciler } from '../../mesh/index.ts';

/** The revocations that are applied to the mesh. */
export type Revocations = ReturnType<typeof createRevocations>;

export interface RevocationOptions {
  readonly revoker: Revoker;
  readonly mesh: Pick<MeshState, 'onChange'>;
  readonly clock: Clock;
  /** The principals that were revoked before this process started. */
  readonly initial: readonly RevokedPrincipal[];
  readonly onFailure: (cause: unknown) => void;
}

/** The clock skew to allow for, in seconds. If clocks differ, Envoy may accept an SVID shortly after it has expired. */
const SKEW_SECONDS = 60;
/** How often the list is written again, in milliseconds. This drops expired principals and reverts external changes. */
const REPEAT_MS = 60_000;

/** Starts applying revocations to the mesh, including the initial ones. */
export function createRevocations(options: RevocationOptions) {
  const { revoker, mesh, clock, onFailure } = options;
  const revoked = new Map<string, RevokedPrincipal>();
  const unconfirmed = new Set<string>();

  const put = (principals: readonly RevokedPrincipal[]) => {
    for (const principal of principals) {
      const before = revoked.get(principal.spiffeId);
      const until = Math.max(principal.until + SKEW_SECONDS, before?.until ?? 0);
      // A session that has ended never becomes live again.
      const sessionId = principal.sessionId ?? before?.sessionId;
      // Once a principal has been denied, it stays denied. Callers that do not decide about denials, such as issue.ts
      // for late certificates, leave its state unchanged.
      const undenied = before ? before.undenied && principal.undenied !== false : principal.undenied;
      revoked.set(principal.spiffeId, { ...principal, sessionId, until, undenied });
      unconfirmed.add(principal.spiffeId);
    }
  };
  const reconciler = startReconciler<typeof revoked>({
    apply: async () => {
      const now = toUnixSeconds(clock);
      for (const [id, { until }] of revoked)
        if (until < now) {
          revoked.delete(id);
          unconfirmed.delete(id);
        }
      const told = [...revoked.values()];
      await revoker.apply(told);
      // Principals that were added again in the meantime are not confirmed yet.
      for (const one of told) if (revoked.get(one.spiffeId) === one) unconfirmed.delete(one.spiffeId);
      return undefined;
    },
    onFailed: onFailure,
    resync: REPEAT_MS,
  });
  const apply = () => reconciler.want(revoked);
  put(options.initial);
  apply();
  const unwatch = mesh.onChange(apply);
  return {
    add: (principals: readonly RevokedPrincipal[]) => {
      if (principals.length === 0) return;
      put(principals);
      apply();
    },
    /** Returns the number of principals whose revocation has not been confirmed yet. */
    pending: () => unconfirmed.size,
    stop: () => {
      unwatch();
      reconciler.close();
    },
  };
}
