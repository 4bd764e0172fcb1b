/**
 * Records decisions about access files for the audit log, including decisions that were made before the audit log
 * started to listen.
 */
import type { ErrorCode } from '@meshpass/identity';
import type { DiskFile } from './access-file.ts';

export interface PolicyDecision {
  readonly outcome: 'allowed' | 'refused';
  readonly code?: ErrorCode;
  /** A human-readable explanation. For a rejected file, each line describes one problem and its location. */
  readonly reason: string;
  /** The name of the access file. */
  readonly file: string;
  /** The file from disk that came into force, if it came from there (see mesh-state.ts). */
  readonly disk?: DiskFile | undefined;
}

export type PolicyDecisions = ReturnType<typeof createPolicyDecisions>;

/**
 * The maximum number of decisions that are kept for a later listener. This limits memory usage if the file keeps
 * changing during startup.
 */
const MAX_WAITING = 100;

/** Creates a record that keeps decisions until the audit log listens. */
export function createPolicyDecisions() {
  const waiting: PolicyDecision[] = [];
  let listening: ((decision: PolicyDecision) => void) | undefined;
  return {
    record: (decision: PolicyDecision) => {
      if (listening) listening(decision);
      else if (waiting.length < MAX_WAITING) waiting.push(decision);
    },
    /** Registers the audit log as the only listener. It also receives the decisions that were made earlier. */
    listen: (listener: (decision: PolicyDecision) => void) => {
      listening = listener;
      for (const decision of waiting.splice(0)) listener(decision);
    },
  };
}
