/**
 * Forwards decisions to the audit log, and rate-limits the ones that do not belong to a session. A port scan can
 * therefore neither fill the audit log nor crowd out the decisions of live sessions. Suppressed decisions are summed
 * and reported by code.
 */
import { randomUUID } from 'node:crypto';
import type { EdgeDecision } from '@meshpass/identity/channel';

/**
 * Creates a reporter that rate-limits the decisions that do not belong to a live session.
 * @param perSecond the maximum number of decisions per second that are reported individually although they do not
 *   belong to a live session
 * @param clock returns the current time in Unix milliseconds
 */
export function createDecisionReporter(
  report: (decision: EdgeDecision) => void,
  perSecond: number,
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
    /** Resets the budget once a second has passed, and reports the number of suppressed decisions. */
    sweep,
  };

  function sweep(now: number): void {
    if (now - second < 1000) return;
    second = now;
    left = perSecond;
    for (const [code, count] of held) {
      const reason = `${count} more refusals of clients without a session, not reported individually`;
      report({ id: randomUUID(), at: now, outcome: 'refused', code, reason, source: 'many' });
    }
    held.clear();
  }
}
