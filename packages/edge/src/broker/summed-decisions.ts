/**
 * Sums up the decisions of a session that exceed its share of the queue, by outcome and code. Decisions that reached a
 * target are also grouped by grant and target, so that a busy session cannot hide which targets it has reached.
 */
import type { EdgeDecision } from '@meshpass/identity';

/**
 * The maximum number of sums with a target, per session. Sessions have few granted targets. Any decisions beyond this
 * limit are summed up without a target.
 */
const MAX_NAMED = 200;

interface Sum {
  /** The target that all decisions in this sum have in common. Undefined if the sum covers all targets. */
  readonly target: string | undefined;
  /** The newest decision. Its principal, source and time are reported along with the sum. */
  last: EdgeDecision;
  count: number;
  bytesIn: number;
  bytesOut: number;
}

/**
 * Creates the collection of sums. There are only a few outcomes and codes, so a client cannot create many sums.
 * Refusals are summed up without a target, because the target is chosen by the client.
 */
export function createDecisionSums(newId: () => string) {
  const held = new Map<string, Map<string, Sum>>();
  return {
    add(session: string, decision: EdgeDecision) {
      const sums = held.get(session) ?? new Map<string, Sum>();
      held.set(session, sums);
      const { outcome, code = '', spiffe_id = '', target } = decision;
      const named = `${outcome} ${code} ${spiffe_id} ${target}`;
      const isNamed = outcome !== 'refused' && target !== undefined && (sums.has(named) || sums.size < MAX_NAMED);
      const kind = isNamed ? named : `${outcome} ${code}`;
      const before = sums.get(kind) ?? { count: 0, bytesIn: 0, bytesOut: 0 };
      sums.set(kind, {
        target: isNamed ? target : undefined,
        last: decision,
        count: before.count + 1,
        bytesIn: before.bytesIn + (decision.bytes_in ?? 0),
        bytesOut: before.bytesOut + (decision.bytes_out ?? 0),
      });
    },
    /** Removes and returns the sums of every session for which `has` returns true. */
    take(has: (session: string) => boolean) {
      const taken: EdgeDecision[] = [];
      for (const [session, sums] of held) {
        if (!has(session)) continue;
        held.delete(session);
        for (const sum of sums.values()) taken.push(decisionOf(sum, session));
      }
      return taken;
    },
  };

  function decisionOf({ target, last, count, bytesIn, bytesOut }: Sum, session: string): EdgeDecision {
    const { at, outcome, code, spiffe_id, source } = last;
    return {
      id: newId(),
      at,
      outcome,
      source,
      session_id: session,
      reason: `${count} more decisions of this session, not reported individually because too many were queued`,
      ...(code !== undefined && { code }),
      ...(spiffe_id !== undefined && { spiffe_id }),
      ...(target !== undefined && { target }),
      ...(outcome === 'ended' && { bytes_in: bytesIn, bytes_out: bytesOut }),
    };
  }
}
