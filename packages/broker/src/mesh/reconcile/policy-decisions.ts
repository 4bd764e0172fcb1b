/** Access file decisions for the audit log, including those made before its listener was registered. */
import type { ErrorCode } from '@meshpass/identity';
import type { DiskFile } from './access-file.ts';

export interface PolicyDecision {
  readonly outcome: 'allowed' | 'refused';
  readonly code?: ErrorCode;
  /** Explanation for readers. For a refused file, each problem is on a line with its place. */
  readonly reason: string;
  /** File name. */
  readonly file: string;
  /** Text of a file from disk that came into force; see former-access.ts. */
  readonly disk?: DiskFile | undefined;
}

export interface PolicyDecisions {
  record(decision: PolicyDecision): void;
  /** Registers the only listener, the audit log. It also receives earlier decisions. */
  readonly listen: (listener: (decision: PolicyDecision) => void) => void;
}

/** Limits memory if the file keeps changing while the broker starts. */
const MAX_WAITING = 100;

/** Creates the record of decisions. */
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
