/** Serves `POST /kubernetes/token`, which issues the token that kubectl in a workspace presents to the API server. */
import { MeshpassError } from '@meshpass/identity';
import { KubernetesTokenRequest } from '@meshpass/identity/kubernetes';
import { annotateEvent, recordAllowed } from '../../audit/index.ts';
import { createRateAllowance, toUnixSeconds } from '../../base/index.ts';
import { type Authentication, type Route, route } from '../../http/index.ts';
import type { SessionContext } from '../session/context.ts';
import { type Live, sessionClosedError } from '../session/live.ts';
import { type Principal, principalUnder } from '../session/session.ts';
import type { SessionCaller } from './authenticate.ts';

/**
 * The rate limit for each session and grant. An agent reuses a token for most of its lifetime, so it only requests one
 * or two every ten minutes.
 */
const BURST = 10;
const PER_SECOND = 1 / 30;
const MAX_BODY = 1024;

/**
 * Creates the route `POST /kubernetes/token`.
 * @param session authenticates requests by the session's token and key
 */
export function kubernetesRoutes(context: SessionContext, session: Authentication<SessionCaller>): readonly Route[] {
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
        const principal = requirePrincipal(context, live, grant);
        const { namespace, serviceAccount } = principal;
        // Now that the grant is known to exist, move it from the details to its own column in the audit log.
        const target = `system:serviceaccount:${namespace}:${serviceAccount}`;
        annotateEvent(event, { grant, target, detail: { grant: undefined } });
        if (!allowance.take(`${live.session.id} ${grant}`)) {
          const message =
            'This session has requested too many API server tokens. Wait 30 seconds before you try again.';
          const retryAfter = Math.ceil(1 / PER_SECOND);
          throw new MeshpassError('too_many_attempts', message, { retryAfter });
        }
        const { token, expiresAt, credentialId } = await kubernetesTokens!.request(principal, live.abort.signal);
        // While the broker was waiting for Kubernetes, the session may have ended, or it may have lost the grant or its
        // roles. In that case, its ServiceAccount is deleted.
        requirePrincipal(context, live, grant);
        annotateEvent(event, {
          reason: 'API server token: the grant has Kubernetes roles.',
          detail: { exp: expiresAt, ...(credentialId !== undefined && { credentialId }) },
        });
        await recordAllowed(audit, event);
        if (live.ended) throw sessionClosedError(live.ended.cause);
        return { token, expires_at: expiresAt };
      },
    }),
  ];
}

/**
 * Returns the session's principal for a grant that has Kubernetes roles.
 * @throws MeshpassError `session_closed`, `grant_unknown`, `kubernetes_off`, `kubernetes_not_granted`
 */
function requirePrincipal({ mesh, clock, kubernetesTokens }: SessionContext, live: Live, grant: string): Principal {
  if (live.ended) throw sessionClosedError(live.ended.cause);
  const principal = principalUnder(live.session, grant, toUnixSeconds(clock));
  if (!principal) throw new MeshpassError('grant_unknown', 'The session does not have this grant.');
  if (!kubernetesTokens)
    throw new MeshpassError(
      'kubernetes_off',
      'kubectl access is disabled on this broker, regardless of the access file. The operator must set --kubernetes-audience.',
    );
  if (mesh.kubernetes().has(grant)) return principal;
  throw new MeshpassError(
    'kubernetes_not_granted',
    `The grant ${grant} has no Kubernetes role. The access file does not assign one, or an assigned role now allows too much.`,
  );
}
