/** Records access file decisions for the audit log, including those made before the audit log starts to listen. */
import type { ErrorCode } from '@meshpass/identity';
import type { DiskFile } from './access-file.ts';

export interface PolicyDecision {
  readonly outcome: 'allowed' | 'refused';
  readonly code?: ErrorCode;
  /** Explanation for people. For a refused file, each line contains one problem and its place. */
  readonly reason: string;
  /** Name of the access file. */
  readonly file: string;
  /** File from disk that came into force, see mesh-state.ts. */
  readonly disk?: DiskFile | undefined;
}

export type PolicyDecisions = ReturnType<typeof createPolicyDecisions>;

/** Maximum number of decisions kept for a later listener. Limits memory if the file keeps changing during startup. */
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
    /** Registers the only listener, which is the audit log. It also receives earlier decisions. */
    listen: (listener: (decision: PolicyDecision) => void) => {
      listening = listener;
      for (const decision of waiting.splice(0)) listener(decision);
    },
  };
}
