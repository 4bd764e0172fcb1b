/**
 * Revokes principals whose access has ended, but whose SVID may still be valid. Each change is applied to the mesh
 * immediately and retried until it succeeds. `Revoker.apply` receives the complete list and converges from any state.
 */

import { type Clock, toUnixSeconds } from '../../base/index.ts';
import type { RevokedPrincipal, Revoker } from '../../mesh/index.ts';

/** Revoked principals that are applied to the mesh. */
export type Revocations = ReturnType<typeof createRevocations>;

export interface RevocationOptions {
  readonly revoker: Revoker;
  readonly clock: Clock;
  /** Principals revoked before this process started. */
  readonly initial: readonly RevokedPrincipal[];
  readonly onFailure: (cause: unknown) => void;
}

/** Clock skew to allow for, seconds. Because of it, an Envoy may accept an SVID shortly after its expiry. */
const SKEW_SECONDS = 60;
const RETRY_MS = [200, 500, 1_000, 2_000, 5_000];
/** Interval at which the list is written again, ms. This drops expired principals and reverts external changes. */
const REPEAT_MS = 60_000;

/** Starts to apply revocations to the mesh, including the initial ones. */
export function createRevocations(options: RevocationOptions) {
  const { revoker, clock, onFailure } = options;
  const revoked = new Map<string, RevokedPrincipal>();
  const unconfirmed = new Set<string>();
  let working: Promise<void> | undefined;
  let dirty = false;
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
  const work = async () => {
    for (let failures = 0; dirty && !stopped; ) {
      dirty = false;
      const now = toUnixSeconds(clock);
      for (const [id, principal] of revoked) if (principal.until < now) revoked.delete(id);
      const told = [...revoked.values()];
      try {
        await revoker.apply(told);
        for (const principal of told) unconfirmed.delete(principal.spiffeId);
        failures = 0;
      } catch (thrown) {
        onFailure(thrown);
        dirty = true;
        await new Promise((resolve) =>
          setTimeout(resolve, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]).unref(),
        );
      }
    }
    working = undefined;
  };
  const kick = () => {
    dirty = true;
    working ??= work();
  };
  put(options.initial);
  kick();
  const repeat = setInterval(kick, REPEAT_MS);
  repeat.unref();
  return {
    add: (principals: readonly RevokedPrincipal[]) => {
      if (principals.length === 0) return;
      put(principals);
      kick();
    },
    /** Resolves when the mesh has applied all revocations added so far. Failures are retried, so it never rejects. */
    settled: async () => {
      while (working) await working;
    },
    /** Returns the number of principals whose revocation is not confirmed yet. */
    pending: () => unconfirmed.size,
    stop: () => {
      stopped = true;
      clearInterval(repeat);
    },
  };
}
