/**
 * Hands decisions on. What strangers cause is metered: a port scan must not fill the audit log, nor push out of the queue
 * what live sessions do. Nothing is lost silently: what was held back is summed up by code.
 */
import type { EdgeDecision } from '@meshpass/identity';

export interface Reporter {
  /** @param known whether a live session stands behind the decision */
  report(decision: EdgeDecision, known: boolean): void;
  /** Gives the budget anew once a second has passed, and reports what was held back. */
  sweep(now: number): void;
}

export function createReporter(
  report: (decision: EdgeDecision) => void,
  perSecond: number,
  newId: () => string,
  clock: () => number,
): Reporter {
  let second = clock();
  let left = perSecond;
  const held = new Map<string, number>();
  return {
    report(decision, known) {
      if (known) return report(decision);
      sweep(clock());
      if (left-- > 0) return report(decision);
      const code = decision.code ?? 'internal';
      held.set(code, (held.get(code) ?? 0) + 1);
    },
    sweep,
  };

  function sweep(now: number): void {
    if (now - second < 1000) return;
    second = now;
    left = perSecond;
    for (const [code, count] of held) {
      const reason = `${count} more refusals of clients without a session, not reported one by one`;
      report({ id: newId(), at: now, outcome: 'refused', code, reason, source: 'many' });
    }
    held.clear();
  }
}
