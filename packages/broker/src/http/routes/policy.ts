/**
 * Plans of the access file over HTTP, on the public listener for CI by its OIDC token.
 * docs/policy.md is their prose.
 */
import { type Plan, refusals } from '@meshpass/analysis/plan';
import { MeshpassError } from '@meshpass/identity';
import { z } from 'zod';
import { granted, type Outcome, refused } from '../../audit/log/decision.ts';
import type { Author, AuthorOf } from '../../policy/author.ts';
import type { PolicyChanges } from '../../policy/change.ts';
import { Files, listVersions } from '../../policy/history.ts';
import type { Store } from '../../store/open.ts';
import { Reason } from '../operator-route.ts';
import { type Authentication, type Route, type RouteContext, route } from '../route.ts';

export interface PolicyContext extends RouteContext {
  readonly changes: PolicyChanges;
  readonly store: Store;
  /** Whose job a token is of. */
  readonly authorOf?: AuthorOf | undefined;
}

export const MAX_BODY = 8 * 1024 * 1024;
const main = z.string().min(1).max(255).default('access.yaml');
export const PlanOrder = z.strictObject({ files: Files, main });
export const accept_unknown = z.boolean().default(false);
export const ApplyOrder = z.strictObject({
  files: Files,
  main,
  plan: z.string().regex(/^[0-9a-f]{64}$/),
  accept_unknown,
  /** For the audit log and the history; an operator has to say one. */
  reason: Reason.optional(),
});
/** `POST /policy/plan`, `/policy/apply` and `GET /policy/history`, for jobs; those of operators are in operator-policy.ts. */
export function policyRoutes(context: PolicyContext): readonly Route[] {
  const { changes, store } = context;
  return [
    // What is only looked at leaves no row, as everywhere.
    route({
      method: 'POST',
      path: '/policy/plan',
      action: 'policy.plan',
      authentication: authorAuthentication(context, 'plan'),
      schema: PlanOrder,
      limit: MAX_BODY,
      handler: async ({ body, event }) => described(granted(event, await changes.plan(body))),
    }),
    route({
      method: 'GET',
      path: '/policy/history',
      action: 'policy.plan',
      authentication: authorAuthentication(context, 'plan'),
      handler: async ({ event }) => granted(event, { versions: await listVersions(store.db) }),
    }),
    route({
      method: 'POST',
      path: '/policy/apply',
      action: 'policy.apply',
      authentication: authorAuthentication(context, 'apply'),
      schema: ApplyOrder,
      limit: MAX_BODY,
      auditMembers: ({ main: file, plan }) => ({ target: `${file} plan ${plan}` }),
      handler: async ({ caller: author, body, event }) => {
        const { plan, accept_unknown: acceptUnknown, reason, ...kept } = body;
        const asked = reason === undefined ? event : { ...event, reason: `Applied by ${author.by}: ${reason}` };
        return described(await changes.apply(kept, plan, author, asked, { acceptUnknown }));
      },
    }),
  ];
}

/** A job by its OIDC token. */
function authorAuthentication({ authorOf }: PolicyContext, wants: 'plan' | 'apply'): Authentication<Author> {
  return async ({ request, event }) => {
    const token = /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
    if (!token || !authorOf)
      return refused(
        event,
        new MeshpassError('operator_unauthorized', 'The token of a job that may plan is required.'),
      );
    const author = await authorOf(token, wants);
    return granted({ ...event, subject: author.by }, author);
  };
}

export function described(planned: Outcome<Plan>): Outcome<unknown> {
  if (!planned.granted) return planned;
  const { id, state, resources, reach, people, trust, findings, assumed } = planned.value;
  const members = { id, state, resources, reach, people, trust, findings, assumed };
  return granted(planned.event, { ...members, refused: refusals(planned.value).length > 0 });
}
