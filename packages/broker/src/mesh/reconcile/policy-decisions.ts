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
  /** Text of a file from disk that came into force; see mesh-state.ts. */
  readonly disk?: DiskFile | undefined;
}

export type PolicyDecisions = ReturnType<typeof createPolicyDecisions>;

/** Limits memory if the file keeps changing while the broker starts. */
const MAX_WAITING = 100;

/** Creates the record of decisions. */
export function createPolicyDecisions() {
  const waiting: PolicyDecision[] = [];
  let listening: ((decision: PolicyDecision) => void) | undefined;
  return {
    record: (decision: PolicyDecision) => {
      if (listening) listening(decision);
      else if (waiting.length < MAX_WAITING) waiting.push(decision);
    },
    /** Registers the only listener, the audit log. It also receives earlier decisions. */
    listen: (listener: (decision: PolicyDecision) => void) => {
      listening = listener;
      for (const decision of waiting.splice(0)) listener(decision);
    },
  };
}
