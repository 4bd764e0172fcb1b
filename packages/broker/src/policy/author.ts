/**
 * Who may plan and apply access files: jobs of one repository of GitHub Actions, by their OIDC token. Any job of it may plan; one
 * workflow on one ref applies, and only in jobs that run what is on it. The token is for this audience alone: what a job proves itself with to
 * open a session applies nothing.
 */
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { attestOidc, type OidcOptions } from '../attest/oidc/oidc.ts';

/** Its ref is a full one, or a commit. */
const WORKFLOW = /^[^/@\s]+\/[^/@\s]+\/\.github\/workflows\/[^/@\s]+\.ya?ml@(?:refs\/\S+|[0-9a-f]{40})$/;

export const PolicyAuthors = z.strictObject({
  /** Exactly as in its tokens. */
  issuer: z.url({ protocol: /^https$/ }).default('https://token.actions.githubusercontent.com'),
  audience: z.string().min(1).default('meshpass-policy'),
  /** GitHub's id of the repository, which stays when it is renamed. */
  repositoryId: z.number().int().positive(),
  /** GitHub's id of its owner: a repository that is transferred keeps its own id. Absent: whoever owns it. */
  ownerId: z.number().int().positive().optional(),
  /** The ref that applies. */
  ref: z.string().startsWith('refs/').default('refs/heads/main'),
  /**
   * The workflow whose jobs apply, exactly as `job_workflow_ref` says it: `OWNER/REPOSITORY/.github/workflows/FILE@REF`. Of a
   * reusable workflow it is that one, not its caller: it holds the steps that run.
   */
  workflow: z.string().max(500).regex(WORKFLOW, 'must be OWNER/REPOSITORY/.github/workflows/FILE.yml@REF'),
  /** Deployment environment in which the job must run. */
  environment: z.string().min(1).max(255).optional(),
});
export type PolicyAuthors = z.infer<typeof PolicyAuthors>;

export interface Author {
  /** For the audit log: `acme/platform run 42 of push on refs/heads/main`. */
  readonly by: string;
  /** Of the token, so that none applies twice. */
  readonly replay?: { readonly key: string; readonly expiresAt: string } | undefined;
}

export type AuthorOf = (token: string, wants: 'plan' | 'apply') => Promise<Author>;

/**
 * Events whose jobs run the workflow and the files of the ref that they name. `pull_request_target` and `issue_comment` name the
 * ref as well, and may run what a stranger wrote.
 */
const EVENTS = ['push', 'workflow_dispatch', 'schedule'];

/** @throws (the function) MeshpassError `plan_unauthorized`, `proof_*`, `issuer_unavailable` */
export function policyAuthors(authors: PolicyAuthors, options: Pick<OidcOptions, 'keys' | 'clock'>): AuthorOf {
  const issuer = {
    ...{ name: 'policy', issuer: authors.issuer, audience: authors.audience, kind: 'actions' as const },
    algorithms: ['RS256', 'ES256'],
  };
  return async (token, wants) => {
    const nothing = { teams: [], roles: [] };
    const { attestation, replay } = await attestOidc({ type: 'oidc', token }, [issuer], nothing, options);
    const { workspace, claims } = attestation;
    const event = String(claims.event_name);
    const by = `${workspace.name} of ${event} on ${workspace.ref ?? 'no ref'} by ${attestation.login}`;
    const { job_workflow_ref: workflow, environment } = claims;
    const refuse = (why: string): never => {
      throw new MeshpassError('plan_unauthorized', why, { detail: { by, workflow, environment } });
    };
    if (workspace.repository?.id !== authors.repositoryId)
      refuse('The repository of this job is not the one that plans and applies access files.');
    if (authors.ownerId !== undefined && workspace.repository?.ownerId !== authors.ownerId)
      refuse('The repository of this job does not belong to the owner that plans and applies access files.');
    if (wants === 'plan') return { by, replay };
    if (workspace.ref !== authors.ref) refuse(`Only jobs on ${authors.ref} may apply; this one may plan.`);
    if (!EVENTS.includes(event))
      refuse(`A job of the event ${event} may run code of others: only ${EVENTS.join(', ')} may apply.`);
    // Other workflows on this ref may check out, or be told, what a stranger wrote.
    if (workflow !== authors.workflow) refuse('Only jobs of the configured workflow may apply.');
    if (authors.environment !== undefined && environment !== authors.environment)
      refuse(`Only jobs in the environment ${authors.environment} may apply.`);
    return { by, replay };
  };
}
