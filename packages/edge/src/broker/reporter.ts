/**
 * Forwards decisions and rate-limits those without a session, so that a port scan neither fills the audit log nor
 * crowds out live sessions' decisions from the queue. Suppressed decisions are reported as sums by code.
 */
import type { EdgeDecision } from '@meshpass/identity';

/**
 * Creates a reporter.
 * @param perSecond maximum decisions without a live session that are reported individually
 * @param clock Unix ms
 */
export function createDecisionReporter(
  report: (decision: EdgeDecision) => void,
  perSecond: number,
  newId: () => string,
  clock: () => number,
) {
  let second = clock();
  let left = perSecond;
  const held = new Map<string, number>();
  return {
    /** @param known whether the decision belongs to a live session */
    report(decision: EdgeDecision, known: boolean) {
      if (known) return report(decision);
      sweep(clock());
      if (left-- > 0) return report(decision);
      const code = decision.code ?? 'internal';
      held.set(code, (held.get(code) ?? 0) + 1);
    },
    /** Renews the budget once a second has passed, and reports suppressed decisions. */
    sweep,
  };

  function sweep(now: number): void {
    if (now - second < 1000) return;
    second = now;
    left = perSecond;
    for (const [code, count] of held) {
      const reason = `${count} more refusals of clients without a session, not reported individually`;
      report({ id: newId(), at: now, outcome: 'refused', code, reason, source: 'many' });
    }
    held.clear();
  }
}
