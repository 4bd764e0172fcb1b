/** Messages between the broker and the process that reads and proves access files. Plain data in both directions. */
import type { Access } from '@meshpass/access';
import type { Plan, PlanInput } from '@meshpass/analysis/plan';
import type { ErrorCode } from '@meshpass/identity';
import type { AccessTexts, ListedObject } from '../../mesh/index.ts';

export interface ProveRequest {
  /** File texts from a caller, or the parsed file in force. */
  readonly candidate: { readonly files: AccessTexts } | { readonly access: Access };
  /** State to plan against. */
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

/** First argument that makes a single executable run as the proving process. */
export const PROVE_COMMAND = '__prove';

/** Heap limits. The process needs about 80 MB in addition to its heap. */
export const PROVE_NODE_OPTIONS = ['--max-old-space-size=144', '--max-semi-space-size=8'] as const;
