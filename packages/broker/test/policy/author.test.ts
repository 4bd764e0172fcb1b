/** Jobs that plan and apply access files: by the claims of real tokens of the stand-in for GitHub Actions. */

import { type RunningActions, startActions } from '@meshpass/lab/oidc/actions';
import type { ActionsJob } from '@meshpass/lab/oidc/admin-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthorCheck, type PolicyAuthorResolver, PolicyAuthors } from '../../src/admin/policy/author.ts';
import { labOnlyPlainHttpIssuers } from '../../src/issuers/issuer-http.ts';
import { createIssuerKeys } from '../../src/issuers/oidc/issuer-keys.ts';

const WORKFLOW = 'acme/platform/.github/workflows/policy.yml@refs/heads/main';
const REPOSITORY = { name: 'platform', id: 77 };
const GOOD: ActionsJob = { repository: REPOSITORY, workflow: 'policy.yml' };
const OWNER = { name: 'acme', id: 9919001 };

let actions: RunningActions;
let authorOf: (more?: Partial<PolicyAuthors>) => PolicyAuthorResolver;

beforeAll(async () => {
  actions = await startActions({ listen: '127.0.0.1:0' });
  const asking = { fetch, timeoutMs: 5_000, clock: Date.now, [labOnlyPlainHttpIssuers]: true as const };
  const keys = createIssuerKeys(asking);
  const fixed = { issuer: actions.issuer, audience: 'meshpass-policy', ref: 'refs/heads/main' };
  authorOf = (more = {}) =>
    createAuthorCheck(
      { ...fixed, repositoryId: REPOSITORY.id, workflow: WORKFLOW, ...more },
      { keys, clock: Date.now },
    );
});
afterAll(() => actions?.close());

const token = (job: ActionsJob, claims: Record<string, unknown> = {}) =>
  actions.admin.idToken({ audience: 'meshpass-policy', job, claims });
const applies = async (job: ActionsJob, more: Partial<PolicyAuthors> = {}, claims: Record<string, unknown> = {}) =>
  (await authorOf(more)(await token(job, claims), 'apply')).by;
const refused = { code: 'plan_unauthorized', status: 403 };

describe('a job applies', () => {
  it.each(['push', 'workflow_dispatch', 'schedule'] as const)('of the workflow, by %s', async (event) => {
    expect(await applies({ ...GOOD, event })).toContain(`of ${event} on refs/heads/main`);
  });

  it('of a reusable workflow that is named, in whichever workflow of the repository calls it', async () => {
    const workflow = 'acme/workflows/.github/workflows/apply.yml@0123456789abcdef0123456789abcdef01234567';
    const job = { ...GOOD, workflow: 'release.yml', reusableWorkflowRef: workflow };
    expect(await applies(job, { workflow })).toMatch(/platform/);
    // Its caller is not it.
    const caller = 'acme/platform/.github/workflows/release.yml@refs/heads/main';
    await expect(applies(job, { workflow: caller })).rejects.toMatchObject(refused);
  });

  it('in the environment that is demanded', async () => {
    expect(await applies({ ...GOOD, environment: 'mesh' }, { environment: 'mesh' })).toMatch(/platform/);
  });

  it('regardless of a customized sub', async () => {
    expect(await applies(GOOD, {}, { sub: 'repo:mallory/own:ref:refs/heads/x' })).toMatch(/platform/);
  });
});

describe('a job does not apply', () => {
  it.each([
    ['a line break', 'refs/heads/main\n'],
    ['an override of direction', 'refs/heads/\u202eniam'],
  ])('nor plans with %s in a claim, which would be logged', async (_, ref) => {
    const author = authorOf()(await token(GOOD, { ref }), 'plan');
    await expect(author).rejects.toMatchObject({ code: 'proof_unprintable', status: 400 });
  });

  it.each<[string, ActionsJob, Partial<PolicyAuthors>?, Record<string, unknown>?]>([
    ['of another workflow on the same ref', { ...GOOD, workflow: 'deploy.yml' }],
    ['of the same file on another ref', { ...GOOD, ref: 'refs/heads/feature' }],
    [
      'on the ref, by the workflow as it is on another',
      { ...GOOD, reusableWorkflowRef: WORKFLOW.replace('main', 'feature') },
    ],
    ['of a workflow whose name only begins so', { ...GOOD, reusableWorkflowRef: `${WORKFLOW}2` }],
    ['of a workflow in another case', { ...GOOD, reusableWorkflowRef: WORKFLOW.replace('acme', 'Acme') }],
    ['that names no workflow', GOOD, {}, { job_workflow_ref: null }],
    ['that names a list of workflows', GOOD, {}, { job_workflow_ref: [WORKFLOW] }],
    ['that runs again', { ...GOOD, runAttempt: 2 }],
    ['of pull_request_target', { ...GOOD, event: 'pull_request_target' as 'push' }],
    ['of workflow_run', { ...GOOD, event: 'workflow_run' as 'push' }],
    ['of a comment', { ...GOOD, event: 'issue_comment' as 'push' }],
    ['of a repository that has the name now', { ...GOOD, repository: { name: 'platform', id: 78 } }],
    ['of a fork', { ...GOOD, repository: { name: 'platform-fork', id: 79 } }],
    [
      'after the repository went to another owner',
      { ...GOOD, repositoryOwner: { name: 'acme', id: 5 } },
      { ownerId: OWNER.id },
    ],
    ['outside of the environment that is demanded', GOOD, { environment: 'mesh' }],
    ['in another environment', { ...GOOD, environment: 'Mesh' }, { environment: 'mesh' }],
    [
      'that calls the workflow from another repository',
      { repository: { name: 'own', id: 6 }, reusableWorkflowRef: WORKFLOW },
    ],
  ])('%s', async (_, job, more = {}, claims = {}) => {
    await expect(applies(job, more, claims)).rejects.toMatchObject(refused);
  });
});

it('any workflow of the repository plans, even of a pull request', async () => {
  const job = { ...GOOD, workflow: 'ci.yml', event: 'pull_request' as const, ref: 'refs/pull/7/merge' };
  expect((await authorOf({ environment: 'mesh' })(await token(job), 'plan')).by).toContain('of pull_request');
  await expect(authorOf({ ownerId: 5 })(await token(job), 'plan')).rejects.toMatchObject(refused);
});

it.each([
  undefined,
  '',
  'policy.yml',
  'acme/platform/.github/workflows/policy.yml',
  'acme/platform/.github/workflows/policy.yml@main',
])('a broker is not configured with the workflow %s', (workflow) => {
  expect(PolicyAuthors.safeParse({ repositoryId: 77, workflow }).success).toBe(false);
  expect(PolicyAuthors.safeParse({ repositoryId: 77, workflow: WORKFLOW }).success).toBe(true);
});
