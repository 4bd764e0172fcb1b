/**
 * Revokes principals whose access has ended, but whose SVID may still be valid. Each change is applied to the mesh
 * immediately and retried until it succeeds. It is applied again every minute, to revert external changes, and when the
 * mesh changes. `Revoker.apply` receives the complete list and converges from any state.
 */

import { type Clock, toUnixSeconds } from '../../base/index.ts';
import { type MeshState, type RevokedPrincipal, type Revoker, startReconciler } from '../../mesh/index.ts';

/** Revoked principals that are applied to the mesh. */
export type Revocations = ReturnType<typeof createRevocations>;

export interface RevocationOptions {
  readonly revoker: Revoker;
  readonly mesh: Pick<MeshState, 'onChange'>;
  readonly clock: Clock;
  /** Principals revoked before this process started. */
  readonly initial: readonly RevokedPrincipal[];
  readonly onFailure: (cause: unknown) => void;
}

/** Clock skew to allow for, seconds. Because of it, an Envoy may accept an SVID shortly after its expiry. */
const SKEW_SECONDS = 60;
/** Interval at which the list is written again, ms. This drops expired principals and reverts external changes. */
const REPEAT_MS = 60_000;

/** Starts to apply revocations to the mesh, including the initial ones. */
export function createRevocations(options: RevocationOptions) {
  const { revoker, mesh, clock, onFailure } = options;
  const revoked = new Map<string, RevokedPrincipal>();
  const unconfirmed = new Set<string>();
  /** Resolves when the mesh has applied a list, or when this stops. */
  let applied = Promise.withResolvers<void>();
  let stopped = false;

  const put = (principals: readonly RevokedPrincipal[]) => {
    for (const principal of principals) {
      const before = revoked.get(principal.spiffeId);
      const until = Math.max(principal.until + SKEW_SECONDS, before?.until ?? 0);
      // A session that has ended never becomes live again.
      const sessionId = principal.sessionId ?? before?.sessionId;
      // A denial is never lifted. Callers that do not decide about denials, such as issue.ts for late certificates,
      // leave it unchanged.
      const undenied = before ? before.undenied && principal.undenied !== false : principal.undenied;
      revoked.set(principal.spiffeId, { ...principal, sessionId, until, undenied });
      unconfirmed.add(principal.spiffeId);
    }
  };
  const progress = () => {
    applied.resolve();
    applied = Promise.withResolvers();
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
      // A principal that was added again in the meantime is not confirmed yet.
      for (const one of told) if (revoked.get(one.spiffeId) === one) unconfirmed.delete(one.spiffeId);
      return undefined;
    },
    onApplied: progress,
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
    /** Resolves when the mesh has applied all revocations added so far. Failures are retried, so it never rejects. */
    settled: async () => {
      while (unconfirmed.size > 0 && !stopped) await applied.promise;
    },
    /** Returns the number of principals whose revocation is not confirmed yet. */
    pending: () => unconfirmed.size,
    stop: () => {
      stopped = true;
      progress();
      unwatch();
      reconciler.close();
    },
  };
}
