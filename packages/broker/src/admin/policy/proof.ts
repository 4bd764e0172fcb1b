/**
 * Defines the messages between the broker and the process that parses and proves access files. Messages in both
 * directions consist of plain data.
 */
import type { Access } from '@meshpass/access';
import type { Plan, PlanInput } from '@meshpass/analysis/plan';
import type { ErrorCode } from '@meshpass/identity';
import type { AccessTexts, ListedObject } from '../../mesh/index.ts';

export interface ProveRequest {
  /** File texts from a caller, or the parsed file in force. */
  readonly candidate: { readonly files: AccessTexts } | { readonly access: Access };
  /** The current state that the plan is computed against. */
  readonly state: Omit<PlanInput, 'access' | 'cluster'> & { readonly cluster: readonly ListedObject[] };
}

export interface ProvenFile {
  readonly access: Access;
  readonly plan: Plan;
}

export type ProveReply =
  | ProvenFile
  | {
      readonly refused: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly detail: Readonly<Record<string, unknown>>;
      };
    };

/** The first argument with this value makes the single executable run as the proving process. */
export const PROVE_COMMAND = '__prove';

/** Limits the heap size. The process needs about 80 MB on top of that. */
export const PROVE_NODE_OPTIONS = ['--max-old-space-size=144', '--max-semi-space-size=8'] as const;
