/**
 * What a session did beyond its share of the queue, summed up by outcome and code, and what it reached by grant and target, too: nothing
 * is held back silently, and no session hides where it was by doing much.
 */
import type { EdgeDecision } from '@meshpass/identity';

export interface SummedDecisions {
  add(session: string, decision: EdgeDecision): void;
  /** Sums of the sessions that `has` names, which are forgotten here. */
  take(has: (session: string) => boolean): readonly EdgeDecision[];
}

/** Sums of one session that name a target; a session is granted few, and what goes beyond is summed up without one. */
const MAX_NAMED = 200;

interface Sum {
  /** Absent: of any. */
  readonly target: string | undefined;
  /** The newest: whose, from where, and when. */
  last: EdgeDecision;
  count: number;
  bytesIn: number;
  bytesOut: number;
}

/** Sums are few: there are a few outcomes and codes, whatever a client sends. Of what is refused it chooses the target. */
export function sumDecisions(newId: () => string): SummedDecisions {
  const held = new Map<string, Map<string, Sum>>();
  return {
    add(session, decision) {
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
    take(has) {
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
      ...{ id: newId(), at, outcome, source, session_id: session },
      reason: `${count} more decisions of this session, not reported one by one: it had too many waiting`,
      ...(code !== undefined && { code }),
      ...(spiffe_id !== undefined && { spiffe_id }),
      ...(target !== undefined && { target }),
      ...(outcome === 'ended' && { bytes_in: bytesIn, bytes_out: bytesOut }),
    };
  }
}
