/**
 * Defines the messages between the broker and the process that parses and proves access files. Messages in both
 * directions consist of plain data.
 */
import type { Access } from '@meshpass/access';
import type { Plan, PlanInput } from '@meshpass/analysis/plan';
import type { ErrorCode } from '@meshpass/identity';
import type { AccessTexts, ListedObject } from '../../mesh/index.ts';

export interface ProveRequest {
  /** The access file to prove: either the texts that a caller sent, or the parsed file that is in force. */
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

/** If this is the first command-line argument, the single executable runs as the proving process. */
export const PROVE_COMMAND = '__prove';

/** Node.js options that limit the heap size. The process needs about 80 MB in addition to the heap. */
export const PROVE_NODE_OPTIONS = ['--max-old-space-size=144', '--max-semi-space-size=8'] as const;
