/**
 * Orders of CI jobs to apply access files that the broker must refuse. Tokens come from the stand-in for GitHub Actions. The control is
 * the first attempt of a new run of the configured workflow, which applies the same file.
 */
import { type Access, parseAccess } from '@meshpass/access';
import { createAuthorCheck } from '@meshpass/broker/admin/policy/author';
import { labOnlyPlainHttpIssuers } from '@meshpass/broker/issuers/issuer-http';
import { createIssuerKeys } from '@meshpass/broker/issuers/oidc/issuer-keys';
import { type RunningActions, startActions } from '@meshpass/lab/oidc/actions';
import type { ActionsJob } from '@meshpass/lab/oidc/admin-client';
import { type Answer, type Harness, startHarness } from '../../../packages/broker/test/harness/broker.ts';
import { playPolicyMesh } from '../../../packages/broker/test/harness/policy-mesh.ts';
import type { HostileArea, HostileInput, Outcome } from '../area.ts';

const AUDIENCE = 'meshpass-policy';
const WORKFLOW = 'acme/platform/.github/workflows/policy.yml@refs/heads/main';
const REPOSITORY = { name: 'platform', id: 77 };
const ENVIRONMENT = 'mesh';

export interface JobWorld {
  readonly harness: Harness;
  readonly actions: RunningActions;
  /** The last run that applied a file, and its token. */
  run: number;
  token: string;
  /** Id of the plan that the last run applied. */
  plan: string;
  /** Holders of the grant differ in every file, so that no plan is the same. */
  holders: number;
  readonly inForce: () => Access;
}

async function open(): Promise<JobWorld> {
  let inForce = parseAccess(fileFor(0), 'access.yaml');
  const mesh = playPolicyMesh({
    take: async (access) => {
      inForce = access;
    },
    inForce: () => inForce,
  });
  const actions = await startActions({ listen: '127.0.0.1:0' });
  const keys = createIssuerKeys({ fetch, timeoutMs: 5_000, clock: Date.now, [labOnlyPlainHttpIssuers]: true });
  const authorOf = createAuthorCheck(
    {
      issuer: actions.issuer,
      audience: AUDIENCE,
      repositoryId: REPOSITORY.id,
      ownerId: 9919001,
      ref: 'refs/heads/main',
      workflow: WORKFLOW,
      environment: ENVIRONMENT,
    },
    { keys, clock: Date.now },
  );
  const harness = await startHarness({ parts: () => ({ policy: { mesh, authorOf } }) });
  return { harness, actions, run: 9_300_000_000, token: '', plan: '', holders: 0, inForce: () => inForce };
}

function fileFor(holder: number): string {
  return `trust: {codespaces: {organization: acme}}\ngrants:\n  dev: {who: [{user_id: ${holder + 1}}], to: [{service: orders.shop, port: 8080}]}\n`;
}

const GOOD: ActionsJob = { repository: REPOSITORY, workflow: 'policy.yml', environment: ENVIRONMENT };

interface Token {
  readonly job?: ActionsJob;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly audience?: string;
}

const tokenOf = ({ actions }: JobWorld, { job, claims, audience = AUDIENCE }: Token) =>
  actions.admin.idToken({ audience, job: { ...GOOD, ...job }, ...(claims && { claims }) });

/** Posts a request, and repeats it while the broker answers 503 because the process that proves files is still starting. */
const post = async ({ harness }: JobWorld, path: string, token: string, body: object): Promise<Answer> => {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const call = { method: 'POST', path, body: JSON.stringify(body), headers };
  let answer = await harness.call(call);
  while (answer.status === 503) answer = await harness.call(call);
  return answer;
};

/** Parts of the hostile order that differ from the honest one. */
interface Fault {
  readonly token?: (world: JobWorld) => Promise<string>;
  readonly order?: (world: JobWorld) => object;
}

/** Plans a file by an honest job of a new run, and sends the order to apply it. */
async function applyNew(world: JobWorld, fault: Fault = {}): Promise<Outcome> {
  world.holders++;
  const run = world.run + 1;
  const honest = await tokenOf(world, { job: { runId: run } });
  const files = { main: 'access.yaml', files: { 'access.yaml': fileFor(world.holders) } };
  const planned = await post(world, '/policy/plan', honest, files);
  if (planned.status !== 200) throw new Error(`the plan was refused: ${planned.text}`);
  const before = world.inForce();
  const token = (await fault.token?.(world)) ?? honest;
  const answer = await post(world, '/policy/apply', token, {
    ...files,
    plan: planned.json.id,
    ...fault.order?.(world),
  });
  const isInForce = world.inForce() !== before;
  if (isInForce) Object.assign(world, { run, token, plan: planned.json.id });
  return { accepted: isInForce, answer: `${answer.status} ${answer.text}` };
}

const hostile = (fault: string, code: string, how: Fault): HostileInput<JobWorld> => ({
  fault,
  code,
  attack: (world) => applyNew(world, how),
  control: (world) => applyNew(world),
});
const byToken = (fault: string, code: string, token: (world: JobWorld) => Promise<string>) =>
  hostile(fault, code, { token });
/** Sends the order by a job of a new run with one fault. */
const byJob = (
  fault: string,
  job: ActionsJob,
  claims?: Readonly<Record<string, unknown>>,
  code = 'plan_unauthorized',
) =>
  byToken(fault, code, (world) => tokenOf(world, { job: { runId: world.run + 1, ...job }, ...(claims && { claims }) }));
const byRun = (fault: string, run_id: (last: number) => unknown, code: string) =>
  byToken(fault, code, (world) => tokenOf(world, { claims: { run_id: run_id(world.run) } }));
const byOrder = (fault: string, code: string, order: (world: JobWorld) => object) => hostile(fault, code, { order });

const STALE = 'plan_stale';
const inputs: readonly HostileInput<JobWorld>[] = [
  // Replayed and outdated runs.
  byToken('the token of the run that applied last', STALE, async ({ token }) => token),
  byRun('another token of the run that applied last', (last) => String(last), STALE),
  byRun('a run before the one that applied last', (last) => String(last - 1), STALE),
  byRun('the first run of the repository', () => '1', STALE),
  byJob('a second attempt of a new run', { runAttempt: 2 }),
  byToken('a second attempt of the run that applied last', 'plan_unauthorized', (world) =>
    tokenOf(world, { job: { runId: world.run, runAttempt: 2 } }),
  ),
  byJob('a first attempt that is written otherwise', {}, { run_attempt: '01' }, 'proof_malformed'),
  byJob('an attempt that is a number', {}, { run_attempt: 1 }, 'proof_malformed'),
  byJob('no attempt', {}, { run_attempt: null }, 'proof_malformed'),
  byJob('a list of attempts', {}, { run_attempt: ['1'] }, 'proof_malformed'),
  byRun('a run beyond what numbers hold', () => '9007199254740993', 'proof_malformed'),
  byRun('a run in exponential notation', () => '9e15', 'proof_malformed'),
  byRun('a run with a sign', (last) => `+${last + 1}`, 'proof_malformed'),
  byRun('a run with a zero in front', (last) => `0${last + 1}`, 'proof_malformed'),
  byRun('a run in two lines', (last) => `${last + 1}\n`, 'proof_unprintable'),
  byRun('a run that is a number', (last) => last + 1, 'proof_malformed'),
  byRun('no run', () => null, 'proof_malformed'),

  // Plans of another state, and members that a job may not send.
  byOrder('the plan that the last run applied', STALE, ({ plan }) => ({ plan })),
  byOrder('a plan that does not exist', STALE, () => ({ plan: '0'.repeat(64) })),
  byOrder('no plan', 'request_malformed', () => ({ plan: undefined })),
  byOrder('a list of plans', 'request_malformed', ({ plan }) => ({ plan: [plan] })),
  byOrder('another file than the one that was planned', STALE, ({ holders }) => ({
    files: { 'access.yaml': fileFor(holders + 1) },
  })),
  byOrder('another main file', 'request_malformed', () => ({ main: 'other.yaml' })),
  byOrder('what is unknown, accepted', 'request_malformed', () => ({ accept_unknown: true })),
  byOrder('what is unknown, not accepted', 'request_malformed', () => ({ accept_unknown: false })),
  byOrder('another author', 'request_malformed', () => ({ author: { by: 'acme/platform' } })),

  // Jobs that may run a stranger's code, and jobs of other repositories.
  byJob('a pull request', { event: 'pull_request', ref: 'refs/pull/7/merge' }),
  byJob('a pull request with the files of the base', { event: 'pull_request_target' as 'push' }),
  byJob('a comment', { event: 'issue_comment' as 'push' }),
  byJob('a run after another workflow', { event: 'workflow_run' as 'push' }),
  byJob('another branch', { ref: 'refs/heads/feature' }),
  byJob('a tag with the name of the branch', { ref: 'refs/tags/main' }),
  byJob('another workflow', { workflow: 'deploy.yml' }),
  byJob('a workflow whose name begins alike', { reusableWorkflowRef: `${WORKFLOW}2` }),
  byJob('another environment', { environment: 'Mesh' }),
  byJob('no environment', {}, { environment: null }),
  byJob('a fork', { repository: { name: 'platform', id: 79 } }),
  byJob('the repository at another owner', { repositoryOwner: { name: 'acme', id: 5 } }),
  byToken('a token for sessions', 'proof_audience', (world) =>
    tokenOf(world, { job: { runId: world.run + 1 }, audience: 'meshpass' }),
  ),
  byToken('no token that could be read', 'proof_malformed', async () => 'garbage'),
];

export const ordersOfJobs: HostileArea<JobWorld> = {
  name: 'broker: access files of jobs',
  open,
  close: async ({ harness, actions }) => {
    await harness.stop();
    await actions.close();
  },
  inputs,
};
