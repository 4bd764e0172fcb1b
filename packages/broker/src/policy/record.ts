/** What becomes of access files, and what others' policies do to them, in the audit log. */
import type { Finding } from '@meshpass/analysis/plan';
import type { Logger } from 'pino';
import { auditRow, newEvent } from '../audit/log/event.ts';
import type { PolicyDecisions } from '../reconcile/policy-decisions.ts';
import { type LifecycleContext, untilStored } from '../session/lifecycle.ts';

type Decision = Parameters<Parameters<PolicyDecisions['listen']>[0]>[0];

/**
 * A store that comes back has the rows; a broker that stops without one has them in its log.
 * @param keep is given the digest of each file on disk that came into force
 */
export function recordPolicy(closing: LifecycleContext, log: Logger, keep: (digest: string) => void) {
  const { clock, random } = closing;
  return {
    decision: ({ outcome, code, reason, file, digest }: Decision): void => {
      if (digest !== undefined) keep(digest);
      const event = { ...newEvent('policy.apply', {}, clock, random), target: file };
      void untilStored(closing, { audit: [auditRow(event, outcome, reason, code, clock())] });
    },
    finding: ({ kind, grant, message, because }: Finding, state: 'found' | 'gone'): void => {
      const reason = state === 'found' ? `${message}: ${because}` : `No longer: ${message}`;
      log.warn({ kind, grant, because, state }, state === 'found' ? message : `no longer: ${message}`);
      const event = { ...newEvent('policy.watch', {}, clock, random), grant, detail: { kind, because } };
      const code = state === 'found' ? 'plan_refused' : undefined;
      const row = auditRow(event, state === 'found' ? 'refused' : 'allowed', reason, code, clock());
      void untilStored(closing, { audit: [row] });
    },
  };
}
