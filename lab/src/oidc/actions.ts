/** The issuer of GitHub Actions: its discovery document, keys, real claim set, and the endpoint that jobs ask. */
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import type { JWTPayload } from 'jose';
import { type Listening, listen, type TlsFiles } from '../stand-in/listen.ts';
import { type ActionsAdmin, type ActionsJob, type ActionsTokenRequest, actionsAdmin } from './admin-client.ts';
import { forgeToken } from './forge.ts';
import { openKeys } from './keys.ts';

export interface ActionsOptions {
  /** `HOST:PORT`, port 0 for any free one. */
  readonly listen: string;
  /** Issuer URL, or by default its listen address. */
  readonly issuer?: string;
  readonly tls?: TlsFiles;
  /** Directory in which the keys survive a restart. */
  readonly state?: string;
}

export interface RunningActions extends Listening {
  readonly issuer: string;
  readonly admin: ActionsAdmin;
}

const ADMIN_PATH = '/_lab_only_admin';
const JOB_PATH = '/_apis/jobs/:id/idtoken';
const API_VERSION = '2.0';
/** Lifetime as in real tokens: valid from ten minutes ago until five minutes ahead. */
const BACK_SECONDS = 600;
const AHEAD_SECONDS = 300;

/** Claims of a real token, with the defaults of a push to `main` of acme/payments-api by alice. */
export function actionsClaims(job: ActionsJob): Record<string, string> {
  const owner = job.repositoryOwner ?? { name: 'acme', id: 9919001 };
  const repo = job.repository ?? { name: 'payments-api', id: 7001 };
  const actor = job.actor ?? { login: 'alice', id: 583231 };
  const ref = job.ref ?? 'refs/heads/main';
  const event = job.event ?? 'push';
  const full = `${owner.name}/${repo.name}`;
  const sha = createHash('sha1').update(`${full}@${ref}`).digest('hex');
  const workflow = `${full}/.github/workflows/${job.workflow ?? 'ci.yml'}@${ref}`;
  const place = job.immutableSubject ? `${owner.name}@${owner.id}/${repo.name}@${repo.id}` : full;
  const context = job.environment
    ? `environment:${job.environment.replaceAll(':', '%3A')}`
    : event === 'pull_request'
      ? 'pull_request'
      : `ref:${ref}`;
  return {
    sub: `repo:${place}:${context}`,
    ...(job.environment ? { environment: job.environment } : {}),
    ref,
    sha,
    repository: full,
    repository_owner: owner.name,
    repository_owner_id: String(owner.id),
    run_id: String(job.runId ?? 9200000001),
    run_number: '10',
    run_attempt: String(job.runAttempt ?? 1),
    repository_visibility: 'private',
    repository_id: String(repo.id),
    actor_id: String(actor.id),
    actor: actor.login,
    workflow: 'CI',
    head_ref: event === 'pull_request' ? 'change' : '',
    base_ref: event === 'pull_request' ? 'main' : '',
    event_name: event,
    ref_protected: 'true',
    ref_type: ref.startsWith('refs/tags/') ? 'tag' : 'branch',
    workflow_ref: workflow,
    workflow_sha: sha,
    job_workflow_ref: job.reusableWorkflowRef ?? workflow,
    job_workflow_sha: sha,
    runner_environment: 'github-hosted',
    ...(job.checkRunId === null ? {} : { check_run_id: String(job.checkRunId ?? 41000000001) }),
  };
}

export async function startActions(options: ActionsOptions): Promise<RunningActions> {
  const keys = await openKeys(options.state && join(options.state, 'actions-keys.json'));
  let handler: RequestListener = (_request, response) => response.writeHead(503).end();
  const listening = await listen(options.listen, (request, response) => handler(request, response), options.tls);
  const issuer = options.issuer ?? listening.url;
  const jobs = new Map<string, { readonly job: ActionsJob; readonly token: string }>();

  const payload = (job: ActionsJob, audience: string): JWTPayload => {
    const now = Math.floor(Date.now() / 1000);
    const times = { nbf: now - BACK_SECONDS, exp: now + AHEAD_SECONDS, iat: now };
    return { jti: randomUUID(), ...actionsClaims(job), aud: audience, iss: issuer, ...times };
  };

  const web = new Hono();
  web.get('/.well-known/openid-configuration', (c) =>
    c.json({
      issuer,
      jwks_uri: `${issuer}/.well-known/jwks`,
      subject_types_supported: ['public', 'pairwise'],
      response_types_supported: ['id_token'],
      claims_supported: ['aud', 'exp', 'iat', 'iss', 'jti', 'nbf', ...Object.keys(actionsClaims({ environment: 'x' }))],
      id_token_signing_alg_values_supported: ['RS256'],
      scopes_supported: ['openid'],
    }),
  );
  // Actions signs with RS256 and publishes only such keys.
  web.get('/.well-known/jwks', (c) => c.json({ keys: keys.published().keys.filter(({ alg }) => alg === 'RS256') }));
  web.get(JOB_PATH, async (c) => {
    const entry = jobs.get(c.req.param('id'));
    const given = c.req.header('authorization')?.replace(/^bearer /i, '') ?? '';
    if (!entry || !same(given, entry.token)) return c.json({ message: 'Unauthorized' }, 401);
    const owner = actionsClaims(entry.job).repository_owner;
    const audience = c.req.query('audience') ?? `https://github.com/${owner}`;
    const value = await keys.sign(payload(entry.job, audience));
    return c.json({ count: value.length, value });
  });

  const admin = web.basePath(ADMIN_PATH);
  admin.post('/jobs', async (c) => {
    const id = randomUUID();
    const token = randomBytes(32).toString('base64url');
    jobs.set(id, { job: await c.req.json<ActionsJob>(), token });
    return c.json({
      ACTIONS_ID_TOKEN_REQUEST_URL: `${issuer}${JOB_PATH.replace(':id', id)}?api-version=${API_VERSION}`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: token,
    });
  });
  admin.post('/id-token', async (c) => {
    const { job = {}, audience, claims = {}, forgery, attackerUrl } = await c.req.json<ActionsTokenRequest>();
    const good = { ...payload(job, audience), ...claims };
    return c.json({ token: await (forgery ? forgeToken(forgery, good, keys, attackerUrl) : keys.sign(good)) });
  });
  admin.post('/rotate', async (c) => {
    await keys.rotate((await c.req.json<{ keepOld: boolean }>()).keepOld);
    return c.json({});
  });

  handler = getRequestListener((request, env) => web.fetch(request, env as HttpBindings));
  return { ...listening, issuer, admin: actionsAdmin(listening.url) };
}

function same(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
