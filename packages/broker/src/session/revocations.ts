/**
 * Principals whose access is over while an SVID of theirs may still be valid. The mesh is told at once, and again until it
 * has heard: Revoker.apply takes the whole list and converges from any state.
 */

import { type Clock, seconds } from '../clock/clock.ts';
import type { RevokedPrincipal, Revoker } from '../reconcile/contract.ts';

export interface Revocations {
  readonly add: (principals: readonly RevokedPrincipal[]) => void;
  /** Resolves when the mesh has heard of everything added so far; rejects never, retries instead. */
  readonly settled: () => Promise<void>;
  /** Principals that the mesh has not confirmed yet. */
  readonly pending: () => number;
  readonly stop: () => void;
}

export interface RevocationOptions {
  readonly revoker: Revoker;
  readonly clock: Clock;
  /** Revoked before this process started. */
  readonly initial: readonly RevokedPrincipal[];
  readonly onFailure: (cause: unknown) => void;
}

/** An Envoy whose clock is slow honours an SVID a little longer. */
const SKEW_SECONDS = 60;
const RETRY_MS = [200, 500, 1_000, 2_000, 5_000];
/** The list is sent again so often, whether or not it changed: it drops what has expired and mends what was undone. */
const REPEAT_MS = 60_000;

export function createRevocations(options: RevocationOptions): Revocations {
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
      // Once its session is over, that is so for good.
      const sessionId = principal.sessionId ?? before?.sessionId;
      // What was denied once stays so; who does not say (issue.ts, of what it signed too late) leaves it as it was.
      const undenied = before ? before.undenied && principal.undenied !== false : principal.undenied;
      revoked.set(principal.spiffeId, { ...principal, sessionId, until, undenied });
      unconfirmed.add(principal.spiffeId);
    }
  };
  const work = async () => {
    for (let failures = 0; dirty && !stopped; ) {
      dirty = false;
      const now = seconds(clock);
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
    add: (principals) => {
      if (principals.length === 0) return;
      put(principals);
      kick();
    },
    settled: async () => {
      while (working) await working;
    },
    pending: () => unconfirmed.size,
    stop: () => {
      stopped = true;
      clearInterval(repeat);
    },
  };
}
