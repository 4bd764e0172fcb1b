/**
 * Routes for planning and applying access files (docs/policy.md). CI jobs use the public routes with an OIDC token.
 * Operators have their own routes, and may also roll back to an earlier version.
 */
import { type Plan, refusals } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { annotateEvent } from '../../audit/index.ts';
import { type KeyedMutex, runExclusive } from '../../base/index.ts';
import { type Authentication, createSlots, type Route, route } from '../../http/index.ts';
import type { Store } from '../../store/index.ts';
import { nameOf } from '../operator/caller.ts';
import { type AuthorizedRoute, Reason } from '../operator/operator-route.ts';
import type { PolicyAuthor, PolicyAuthorResolver } from '../policy/author.ts';
import type { PolicyChanges } from '../policy/change.ts';
import { listVersions, PolicyFiles } from '../policy/stored-access.ts';
import type { AdminContext } from '../process.ts';

/** The maximum body size in bytes, which is enough for an access file of 1 MiB as JSON. */
const MAX_BODY = 2 * 1024 * 1024;
const main = z.string().min(1).max(255).default('access.yaml');
/** The body of `POST /policy/plan`. */
export const PolicyPlanBody = z.strictObject({ files: PolicyFiles, main });
/** Whether the operator accepts changes whose effect could not be proved. */
const accept_unknown = z.boolean().default(false);
/** The body of `POST /policy/apply` when sent by a job. Jobs cannot accept changes whose effect could not be proved. */
const JobApplyOrder = z.strictObject({
  files: PolicyFiles,
  main,
  /** The id of the plan. It also identifies the access file that the plan replaces. */
  plan: z.string().regex(/^[0-9a-f]{64}$/),
  /** The reason to record in the audit log and the history. Operators are required to give one. */
  reason: Reason.optional(),
});
/** The body of `POST /policy/apply` when sent by an operator. */
export const PolicyApplyBody = JobApplyOrder.extend({ accept_unknown });
/**
 * The route settings that jobs and operators have in common. Plans are only audited if they are refused, because they
 * do not change anything.
 */
const PLAN = { action: 'policy.plan', schema: PolicyPlanBody, limit: MAX_BODY } as const;
const APPLY = {
  action: 'policy.apply',
  limit: MAX_BODY,
  auditMembers: ({ main: file, plan }: z.infer<typeof JobApplyOrder>) => ({ target: `${file} plan ${plan}` }),
} as const;
/** The maximum number of waiting and running jobs, in total and per author. */
const JOBS = { total: 4, perAuthor: 2 };

/**
 * Returns the routes for jobs: `POST /policy/plan`, `POST /policy/apply` and `GET /policy/history`.
 * @param authorOf authorizes a job by its token and returns the author
 */
export function policyRoutes(changes: PolicyChanges, store: Store, authorOf: PolicyAuthorResolver): readonly Route[] {
  const slots = createSlots(JOBS.total, JOBS.perAuthor);
  const mutex: KeyedMutex = new Map();
  // Only one job uses the prover at a time, so an operator never waits for more than one job.
  const alone = async <T>(author: PolicyAuthor, act: () => Promise<T>): Promise<T> => {
    const leave = slots.take(author.by);
    return await runExclusive(mutex, 'job', act).finally(leave);
  };
  return [
    route({
      ...PLAN,
      at: 'POST /policy/plan',
      authentication: authorAuthentication(authorOf, 'plan'),
      handler: async ({ caller, body }) => described(await alone(caller, () => changes.plan(body))),
    }),
    route({
      at: 'GET /policy/history',
      action: 'policy.plan',
      authentication: authorAuthentication(authorOf, 'plan'),
      handler: async () => ({ versions: await listVersions(store.db) }),
    }),
    route({
      ...APPLY,
      at: 'POST /policy/apply',
      authentication: authorAuthentication(authorOf, 'apply'),
      schema: JobApplyOrder,
      handler: async ({ caller: author, body, event }) => {
        const { plan, reason, ...kept } = body;
        if (reason !== undefined) annotateEvent(event, { reason: `Applied by ${author.by}: ${reason}` });
        return described(await alone(author, () => changes.apply(kept, plan, author, event)));
      },
    }),
  ];
}

/** The body of `POST /policy/rollback`. Version 0 is the file on disk. */
export const PolicyRollbackBody = z.strictObject({
  version: z.number().int().nonnegative(),
  reason: Reason,
  accept_unknown,
});

/**
 * Returns the routes for operators: `POST /policy/plan`, `POST /policy/apply`, `POST /policy/rollback`,
 * `GET /policy/history` and `GET /policy/versions/VERSION`.
 */
export function operatorPolicyRoutes(
  changes: PolicyChanges,
  { store, on }: Pick<AdminContext, 'store' | 'on'>,
): readonly AuthorizedRoute[] {
  return [
    on('POST /policy/plan', { ...PLAN, does: 'policy.plan' }, async ({ body }) => described(await changes.plan(body))),
    on('GET /policy/history', { does: 'policy.history', action: 'policy.plan' }, async () => ({
      versions: await listVersions(store.db),
    })),
    on('GET /policy/versions/:version', { does: 'policy.version', action: 'policy.plan' }, ({ params }) =>
      changes.fileOf(Number(params.version)),
    ),
    on<z.infer<typeof PolicyApplyBody>>(
      'POST /policy/apply',
      { ...APPLY, does: 'policy.apply', schema: PolicyApplyBody },
      async ({ caller, body, event, because }) => {
        const { plan, accept_unknown: acceptUnknown, reason: _, ...kept } = body;
        const by = nameOf(caller);
        annotateEvent(event, { reason: `Applied by ${by}: ${because}` });
        return described(await changes.apply(kept, plan, { by, acceptUnknown }, event));
      },
    ),
    on(
      'POST /policy/rollback',
      {
        does: 'policy.rollback',
        action: 'policy.apply',
        schema: PolicyRollbackBody,
        auditMembers: ({ version }) => ({ target: `version ${version}` }),
      },
      async ({ caller, body, event }) => {
        const { version, reason, accept_unknown: acceptUnknown } = body;
        return described(await changes.rollBack(version, reason, { by: nameOf(caller), acceptUnknown }, event));
      },
    ),
  ];
}

/** Authenticates a job by its OIDC token. */
function authorAuthentication(authorOf: PolicyAuthorResolver, wants: 'plan' | 'apply'): Authentication<PolicyAuthor> {
  return async ({ request, event }) => {
    const token = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (!token) throw new MeshpassError('operator_unauthorized', 'A token from a job that may plan is required.');
    const author = await authorOf(token, wants);
    annotateEvent(event, { subject: author.by });
    return author;
  };
}

/** Builds the response body for a plan. */
function described(plan: Plan) {
  const { id, state, resources, reach, changes, findings, assumed } = plan;
  return { id, state, resources, reach, changes, findings, assumed, refused: refusals(plan).length > 0 };
}
