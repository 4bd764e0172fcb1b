/** What became of each access file: told to whoever audits, also what was decided before anybody listened. */
import type { ErrorCode } from '@meshpass/identity';

export interface PolicyDecision {
  readonly outcome: 'allowed' | 'refused';
  readonly code?: ErrorCode;
  /** For people; of a refused file every problem with its place, a line each. */
  readonly reason: string;
  /** Name of the file. */
  readonly file: string;
  /** Of a file on disk that came into force; see former-access.ts. */
  readonly digest?: string | undefined;
}

export interface PolicyDecisions {
  record(decision: PolicyDecision): void;
  /** One listener, that of the audit log; it gets what was told before it came. */
  readonly listen: (listener: (decision: PolicyDecision) => void) => void;
}

/** A file that flaps while the broker starts must not fill the memory. */
const MAX_WAITING = 100;

export function policyDecisions(): PolicyDecisions {
  const waiting: PolicyDecision[] = [];
  let listening: ((decision: PolicyDecision) => void) | undefined;
  return {
    record: (decision) => {
      if (listening) listening(decision);
      else if (waiting.length < MAX_WAITING) waiting.push(decision);
    },
    listen: (listener) => {
      listening = listener;
      for (const decision of waiting.splice(0)) listener(decision);
    },
  };
}
