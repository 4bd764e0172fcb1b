/**
 * Uses OIDC tokens to authorize GitHub Actions jobs to plan and apply access files. The jobs must belong to a single
 * repository, and any of its jobs may plan. Only a specific workflow on a specific ref may apply, in the first attempt
 * of each run, and only in jobs that run the ref's own code. These tokens have their own audience, so a token that was
 * requested to open a session cannot apply a file.
 */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { attestOidc, type OidcOptions } from '../../issuers/index.ts';

/** Matches a workflow at a full ref or a commit. */
const WORKFLOW = /^[^/@\s]+\/[^/@\s]+\/\.github\/workflows\/[^/@\s]+\.ya?ml@(?:refs\/\S+|[0-9a-f]{40})$/;

export const PolicyAuthors = z.strictObject({
  /** The issuer, exactly as it appears in tokens. */
  issuer: z.url({ protocol: /^https$/ }).default('https://token.actions.githubusercontent.com'),
  audience: z.string().min(1).default('meshpass-policy'),
  /** The repository's id on GitHub, which does not change when the repository is renamed. */
  repositoryId: z.number().int().positive(),
  /**
   * The id of the repository's owner on GitHub. It is needed because a transferred repository keeps its own id. If
   * absent, any owner is accepted.
   */
  ownerId: z.number().int().positive().optional(),
  /** The ref whose jobs may apply access files. */
  ref: z.string().startsWith('refs/').default('refs/heads/main'),
  /**
   * The workflow whose jobs may apply access files, exactly as in `job_workflow_ref`:
   * `OWNER/REPOSITORY/.github/workflows/FILE@REF`. For a reusable workflow, this is the workflow being called, because
   * it contains the steps that run.
   */
  workflow: z.string().max(500).regex(WORKFLOW, 'must be OWNER/REPOSITORY/.github/workflows/FILE.yml@REF'),
  /** The deployment environment that the job must run in. */
  environment: z.string().min(1).max(255).optional(),
});
export type PolicyAuthors = z.infer<typeof PolicyAuthors>;

export interface PolicyAuthor {
  /** A description of the author for the audit log, such as `acme/platform run 42 of push on refs/heads/main`. */
  readonly by: string;
  /** The GitHub Actions run. Absent for operators. */
  readonly run?: Run | undefined;
}

/**
 * A GitHub Actions run. It may replace files applied by the repository's earlier runs, but never a file applied by a
 * later run.
 */
export interface Run {
  /** The issuer and repository. Within each such pair, run ids only increase. */
  readonly of: string;
  /** The `run_id` claim, which is the same for every attempt. */
  readonly id: number;
  /** The `sha` claim, which is the commit that the job's files come from. */
  readonly commit: string;
}

export type PolicyAuthorResolver = (token: string, wants: 'plan' | 'apply') => Promise<PolicyAuthor>;

/**
 * The events whose jobs run the workflow and the files of their ref. Jobs for `pull_request_target` and `issue_comment`
 * have the same ref, but may run anyone's code.
 */
const EVENTS = ['push', 'workflow_dispatch', 'schedule'];

/**
 * Creates the function that authorizes the authors of access files.
 * @returns a function that throws MeshpassError `plan_unauthorized`, `proof_*`, `issuer_unavailable`
 */
export function createAuthorCheck(
  authors: PolicyAuthors,
  options: Pick<OidcOptions, 'keys' | 'clock'>,
): PolicyAuthorResolver {
  const issuer = {
    name: 'policy',
    issuer: authors.issuer,
    audience: authors.audience,
    kind: 'actions' as const,
    algorithms: ['RS256', 'ES256'],
  };
  return async (token, wants) => {
    const { attestation } = await attestOidc({ type: 'oidc', token }, [issuer], options);
    const { workspace, claims } = attestation;
    const event = String(claims.event_name);
    const by = `${workspace.name} of ${event} on ${workspace.ref ?? 'no ref'} by ${attestation.login}`;
    const { job_workflow_ref: workflow, environment } = claims;
    const refuse = (why: string): never => {
      throw new MeshpassError('plan_unauthorized', why, { detail: { by, workflow, environment } });
    };
    if (workspace.repository?.id !== authors.repositoryId)
      refuse("This job's repository is not the one configured to plan and apply access files.");
    if (authors.ownerId !== undefined && workspace.repository?.ownerId !== authors.ownerId)
      refuse("This job's repository does not belong to the owner configured to plan and apply access files.");
    if (wants === 'plan') return { by };
    // A rerun uses the commit and the workflow of the original run, which the repository may have replaced since.
    if (claims.run_attempt !== '1')
      refuse(
        'A rerun uses the files of its old commit. Run the workflow manually (workflow_dispatch), or push a commit.',
      );
    if (workspace.ref !== authors.ref) refuse(`Only jobs on ${authors.ref} may apply; this job may only plan.`);
    if (!EVENTS.includes(event))
      refuse(`A job triggered by ${event} may run untrusted code. Only ${EVENTS.join(', ')} may apply.`);
    // Other workflows on this ref may check out anyone's code, or receive it as input.
    if (workflow !== authors.workflow) refuse('Only jobs of the configured workflow may apply.');
    if (authors.environment !== undefined && environment !== authors.environment)
      refuse(`Only jobs in the environment ${authors.environment} may apply.`);
    const of = `${authors.issuer} ${authors.repositoryId}`;
    return { by, run: { of, id: Number(claims.run_id), commit: String(claims.sha) } };
  };
}
