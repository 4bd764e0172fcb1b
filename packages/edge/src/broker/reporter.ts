/**
 * Forwards decisions and rate-limits those without a session. A port scan can then neither fill the audit log nor crowd
 * out the decisions of live sessions. Suppressed decisions are reported as sums by code.
 */
import type { EdgeDecision } from '@meshpass/identity';

/**
 * Creates a reporter.
 * @param perSecond maximum number of decisions per second that are reported individually although they do not belong to
 *   a live session
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
    /** Resets the budget once a second has passed, and reports the sums of suppressed decisions. */
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
