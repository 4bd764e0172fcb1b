/**
 * ID tokens and the forms that carry them: unsigned, of another signer, for another audience, of another time, of a job that is not
 * meant; and requests that a lenient reader would understand in two ways. Real broker, real OIDC provider.
 */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ActionsJob, IdTokenRequest } from '@meshpass/lab/oidc/admin-client';
import { FORGERIES, type Forgery } from '@meshpass/lab/oidc/forge';
import { FORGERY_CODES } from '../../packages/broker/test/attest/oidc/forgery-codes.ts';
import { idTokenProof, openDataPath, until } from '../mesh.ts';
import type { HostileArea, Outcome } from './area.ts';
import { BOB, type Input, type Issuers, outcomeOf, unique } from './issuers.ts';
import { FORMS } from './token-forms.ts';

const WORKFLOW = 'acme/payments-api/.github/workflows/ci.yml@refs/heads/main';
/** Access file that distinguishes jobs by all of GitHub's claims, and denies some people. */
const ACTIONS_ENTRY = `{ issuer: actions, repository_id: 7001, ref: refs/heads/main, claims: { event_name: push, job_workflow_ref: "${WORKFLOW}" } }`;
const DENY = `deny:
  - { user_id: 666013, reason: an adversary }
  - { issuer: okta, claims: { groups: [banned] } }
grants:`;
const present = async ({ adversary }: Issuers, token: string) =>
  outcomeOf(await adversary.as(randomUUID()).enrol(idTokenProof(token)));

/** A token of the company's provider. */
async function ofPerson(world: Issuers, request: Partial<IdTokenRequest> = {}): Promise<Outcome> {
  const attackerUrl = 'https://idp.test:8443/attacker';
  const claims = { ...unique(), ...request.claims };
  return await present(world, await world.dataPath.idp.idToken({ subject: BOB, attackerUrl, ...request, claims }));
}

const person = (fault: string, request: Partial<IdTokenRequest>, code: string): Input => ({
  fault: `an ID token ${fault}`,
  code,
  attack: (world) => ofPerson(world, request),
  control: (world) => ofPerson(world),
});

interface JobFault {
  readonly job?: ActionsJob;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly audience?: string;
  readonly forgery?: Forgery;
}

/** A token of GitHub Actions; each of a run of its own. */
async function ofJob(
  { dataPath, adversary }: Issuers,
  { job, claims = {}, audience = 'meshpass', forgery }: JobFault = {},
) {
  const runId = 1 + Math.floor(Math.random() * 1e12);
  const token = await dataPath.actions.idToken({
    audience,
    claims,
    job: { runId, ...job },
    ...(forgery && { forgery }),
  });
  return outcomeOf(await adversary.as(randomUUID()).enrol(idTokenProof(token)));
}

const job = (fault: string, what: JobFault, code = 'access_none'): Input => ({
  fault: `a job's token ${fault}`,
  code,
  attack: (world) => ofJob(world, what),
  control: (world) => ofJob(world),
});

const now = () => Math.floor(Date.now() / 1000);
/** A huge token is refused before it is read. */
const CODES = { ...FORGERY_CODES, huge: 'request_too_large' };

const PERSONS: readonly Input[] = [
  ...FORGERIES.map((forgery) => person(`that is bad by ${forgery}`, { forgery }, CODES[forgery])),
  person(
    'for two audiences, issued to another',
    { claims: { aud: ['meshpass', 'crm'], azp: 'crm' } },
    'proof_audience',
  ),
  person('for a list of audiences without ours', { audience: ['crm', 'Meshpass', 'meshpass '] }, 'proof_audience'),
  person('for an audience that ours begins', { audience: 'meshpass.example' }, 'proof_audience'),
  person('whose audience is an object', { claims: { aud: { meshpass: true } } }, 'proof_audience'),
  person('whose expiry is just past the skew', { claims: { iat: now() - 600, exp: now() - 60 } }, 'proof_expired'),
  person('whose expiry is beyond a day', { claims: { exp: now() + 90_000 } }, 'proof_rejected'),
  person('whose expiry is no finite number', { claims: { exp: 1e300 } }, 'proof_rejected'),
  person('whose subject is empty', { claims: { sub: '' } }, 'proof_malformed'),
  person('whose subject is a list', { claims: { sub: [BOB] } }, 'proof_malformed'),
  person('whose subject is too long', { claims: { sub: 'b'.repeat(256) } }, 'proof_malformed'),
  person('whose issuer is a list', { claims: { iss: ['https://idp.test:8443'] } }, 'proof_malformed'),
  person('whose issuer has another case', { claims: { iss: 'https://IDP.test:8443' } }, 'proof_issuer_unknown'),
  person(
    'whose issuer is another that is trusted',
    { claims: { iss: 'https://token.actions.test:9443' } },
    'proof_key_unknown',
  ),
  person('with a line end in its name', { claims: { preferred_username: 'bob\nadmin: true' } }, 'proof_unprintable'),
  person('with a NUL in its subject', { claims: { sub: `${BOB}\u0000admin` } }, 'proof_unprintable'),
  person('with a C1 character in a list', { claims: { groups: ['sre', 'a\u0085b'] } }, 'proof_unprintable'),
  person('of a person on the deny list', { claims: { groups: ['sre', 'banned'] } }, 'access_none'),
  person('of a person without a grant', { subject: '00u1alice' }, 'access_none'),
  {
    fault: 'an ID token that was used before',
    code: 'proof_replayed',
    control: (world) => ofPerson(world),
    attack: async (world) => {
      const token = await world.dataPath.idp.idToken({ subject: BOB, claims: unique() });
      await present(world, token);
      return await present(world, token);
    },
  },
  {
    fault: 'an ID token with the id of one that was used before',
    code: 'proof_replayed',
    control: (world) => ofPerson(world, { claims: { jti: randomUUID() } }),
    attack: async (world) => {
      const jti = randomUUID();
      await ofPerson(world, { claims: { jti } });
      return await ofPerson(world, { claims: { jti, n: 2 } });
    },
  },
  {
    fault: 'an ID token signed with a key that its issuer has withdrawn',
    code: 'proof_key_unknown',
    control: async (world) => {
      world.withdrawn = await world.dataPath.idp.idToken({ subject: BOB, claims: unique() });
      await world.dataPath.idp.rotateKeys(false);
      // The broker refetches keys if one is unknown, but at most every few seconds.
      return await until(
        () => ofPerson(world),
        ({ accepted }) => accepted,
        30,
      );
    },
    attack: (world) => present(world, world.withdrawn!),
  },
];

const MALLORY = { login: 'mallory', id: 666013 };
const JOBS: readonly Input[] = [
  job('of a repository that has the name now', { job: { repository: { name: 'payments-api', id: 8001 } } }),
  job('of a repository of the same name and another owner', {
    job: { repositoryOwner: { name: 'mallory', id: 666013 }, repository: { name: 'payments-api', id: 6660 } },
  }),
  // One fault each: the other members are those of the honest job.
  job('with the id of a fork', { claims: { repository_id: '8002' } }),
  job('of a pull request', { claims: { event_name: 'pull_request' } }),
  job('of the ref of a pull request', { claims: { ref: 'refs/pull/7/merge' } }),
  job('of pull_request_target', { claims: { event_name: 'pull_request_target' } }),
  job('of a comment', { claims: { event_name: 'issue_comment' } }),
  job('of another branch', { claims: { ref: 'refs/heads/feature' } }),
  job('of a tag with the name of the branch', { claims: { ref: 'refs/tags/main' } }),
  job('of another workflow', { job: { workflow: 'deploy.yml' } }),
  job('of a reusable workflow of strangers', {
    job: { reusableWorkflowRef: 'mallory/own/.github/workflows/ci.yml@refs/heads/main' },
  }),
  job('of the workflow as another branch has it', { job: { reusableWorkflowRef: WORKFLOW.replace('/main', '/x') } }),
  job('that a person on the deny list started', { job: { actor: MALLORY } }),
  job('that names its repository only in sub', {
    job: { repository: { name: 'own', id: 6661 }, repositoryOwner: { name: 'mallory', id: 666013 } },
    claims: { sub: 'repo:acme/payments-api:ref:refs/heads/main' },
  }),
  job(
    'of a prebuild',
    {
      claims: { workflow_ref: 'acme/payments-api/dynamic/codespaces/create_codespaces_prebuilds@refs/heads/main' },
    },
    'proof_prebuild',
  ),
  job('whose repository id is no number', { claims: { repository_id: '7001 or 1=1' } }, 'proof_malformed'),
  job('whose repository id begins with a zero', { claims: { repository_id: '07001' } }, 'proof_malformed'),
  job('whose repository id is missing', { claims: { repository_id: null } }, 'proof_malformed'),
  job('for the audience of a cloud', { audience: 'sts.amazonaws.com' }, 'proof_audience'),
  job('for the planning of policies', { audience: 'meshpass-policy' }, 'proof_audience'),
  job('without a signature', { forgery: 'alg-none' }, 'proof_algorithm'),
  job('signed with another key', { forgery: 'other-key-known-kid' }, 'proof_signature'),
  job('with its repository twice in it', { forgery: 'member-twice' }, 'proof_malformed'),
  job('with a line end in its ref', { claims: { ref: 'refs/heads/main\n' } }, 'proof_unprintable'),
];

export const idTokens: HostileArea<Issuers> = {
  name: 'broker: ID tokens and token exchange',
  async open() {
    const dir = mkdtempSync(join(tmpdir(), 'meshpass-id-tokens-'));
    const accessFile = join(dir, 'access.yaml');
    const text = readFileSync(new URL('../../lab/src/access.yaml', import.meta.url), 'utf8')
      .replace('grants:', DENY)
      .replace('{ issuer: actions, repository: acme/payments-api }', ACTIONS_ENTRY);
    writeFileSync(accessFile, text);
    const dataPath = await openDataPath({ accessFile });
    return { dataPath, adversary: dataPath.adversary(), dir };
  },
  async close({ dataPath, dir }) {
    await dataPath.close();
    rmSync(dir, { recursive: true });
  },
  inputs: [...PERSONS, ...JOBS, ...FORMS],
};
