/** Serves `POST /kubernetes/token`, which issues the token that kubectl in a workspace presents to the API server. */
import { MeshpassError } from '@meshpass/identity';
import { KubernetesTokenRequest } from '@meshpass/identity/kubernetes/wire';
import { grantedOutcome, recordGrant, refusedOutcome } from '../../audit/index.ts';
import { createRateAllowance, toUnixSeconds } from '../../base/index.ts';
import { type Authentication, type Route, route } from '../../http/index.ts';
import type { KubernetesTokens } from '../../mesh/index.ts';
import type { SessionContext } from '../session/context.ts';
import { type Live, sessionClosedError } from '../session/live.ts';
import { type Principal, principalUnder } from '../session/session.ts';
import type { SessionCaller } from './authenticate.ts';

export interface KubernetesRoutesContext extends SessionContext {
  /** Issues tokens for the API server. Undefined if workspaces have no access to it. */
  readonly kubernetesTokens: KubernetesTokens | undefined;
}

/**
 * Rate limits per session and grant. An agent reuses a token for most of its lifetime, so it requests only one or two
 * every ten minutes.
 */
const BURST = 10;
const PER_SECOND = 1 / 30;
const MAX_BODY = 1024;

/**
 * Creates the route `POST /kubernetes/token`.
 * @param session authenticates requests by the session's token and key
 */
export function kubernetesRoutes(
  context: KubernetesRoutesContext,
  session: Authentication<SessionCaller>,
): readonly Route[] {
  const { audit, clock, kubernetesTokens } = context;
  const allowance = createRateAllowance({ burst: BURST, perSecond: PER_SECOND, clock });
  return [
    route({
      at: 'POST /kubernetes/token',
      action: 'kubernetes.token',
      authentication: session,
      schema: KubernetesTokenRequest,
      limit: MAX_BODY,
      auditMembers: ({ grant }) => ({ detail: { grant: grant.slice(0, 63) } }),
      handler: async ({ caller: { live }, body: { grant }, event }) => {
        const principal = holder(context, live, grant);
        if (principal instanceof MeshpassError) return refusedOutcome(event, principal);
        const { namespace, serviceAccount } = principal;
        const named = { ...event, grant, target: `system:serviceaccount:${namespace}:${serviceAccount}` };
        if (!allowance.take(`${live.session.id} ${grant}`)) {
          const message =
            'This session has requested too many API server tokens. Wait 30 seconds before you try again.';
          const retryAfter = Math.ceil(1 / PER_SECOND);
          return refusedOutcome(named, new MeshpassError('too_many_attempts', message, { retryAfter }));
        }
        const { token, expiresAt, credentialId } = await kubernetesTokens!.request(principal, live.abort.signal);
        // While waiting for Kubernetes, the session may have ended, or lost the grant or its roles. Its ServiceAccount
        // is then deleted.
        const lost = holder(context, live, grant);
        if (lost instanceof MeshpassError) return refusedOutcome(named, lost);
        const written = await recordGrant(audit, {
          ...named,
          reason: 'API server token: the grant has Kubernetes roles.',
          detail: { exp: expiresAt, ...(credentialId !== undefined && { credentialId }) },
        });
        if (!written.granted) return written;
        if (live.ended) return refusedOutcome(written.event, sessionClosedError(live.ended.cause));
        return grantedOutcome(written.event, { token, expires_at: expiresAt });
      },
    }),
  ];
}

/** Returns the session's principal under a grant that has Kubernetes roles, or an error if there is none. */
function holder(
  { mesh, clock, kubernetesTokens }: KubernetesRoutesContext,
  live: Live,
  grant: string,
): Principal | MeshpassError {
  if (live.ended) return sessionClosedError(live.ended.cause);
  const principal = principalUnder(live.session, grant, toUnixSeconds(clock));
  if (!principal) return new MeshpassError('grant_unknown', 'The session does not have this grant.');
  if (!kubernetesTokens)
    return new MeshpassError(
      'kubernetes_off',
      'kubectl access is disabled on this broker, regardless of the access file. The operator must set --kubernetes-audience.',
    );
  if (mesh.kubernetes().has(grant)) return principal;
  return new MeshpassError(
    'kubernetes_not_granted',
    `The grant ${grant} has no Kubernetes role. The access file does not assign one, or an assigned role now allows too much.`,
  );
}
