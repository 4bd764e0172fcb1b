/** Builds the broker's responses to agents that ask about their session and the mesh. */

import { type KubernetesAccess, MAX_ROLE_NAMESPACES } from '@meshpass/identity/kubernetes';
import type { MeshInfo, ServicesResponse, SessionGrantInfo, SessionInfo } from '@meshpass/identity/wire';
import type { SessionContext } from './context.ts';
import { grantsOf, type Session, servicesVersion, sessionExpiry } from './session.ts';

/** Returns the description of a session that is sent to its agent. */
export function sessionInfo({ config }: SessionContext, session: Session): SessionInfo {
  return {
    id: session.id,
    subject: session.attestation.subject,
    login: session.attestation.login,
    workspace: session.attestation.workspace.name,
    expires_at: sessionExpiry(session),
    heartbeat_seconds: config.heartbeatSeconds,
    grants: [...grantsOf(session)],
    held: held(session),
  };
}

/**
 * Returns the mesh's trust domain, roots, edge address and statement keys, as well as the contact for access requests.
 */
function meshInfo({ config, mesh, control }: SessionContext): MeshInfo {
  const contact = mesh.inForce() ? mesh.access().contact : undefined;
  return {
    trust_domain: config.trustDomain,
    roots: [...mesh.roots()],
    edge: config.edge,
    token_header: config.tokenHeader,
    statement_keys: [...control.keys.published()],
    ...(contact !== undefined && { contact }),
  };
}

/** Returns the session's access to the Kubernetes API, or undefined if none of its grants include it. */
function kubernetesAccess({ mesh, kubernetesTokens }: SessionContext, session: Session): KubernetesAccess | undefined {
  const roles = mesh.kubernetes();
  const grants = grantsOf(session).flatMap((grant) => {
    const namespaces = roles.get(grant);
    return namespaces ? [{ grant, namespaces: namespaces.slice(0, MAX_ROLE_NAMESPACES) }] : [];
  });
  if (grants.length === 0) return undefined;
  const certificateAuthority = kubernetesTokens?.certificateAuthority;
  return { ...(certificateAuthority !== undefined && { certificate_authority: certificateAuthority }), grants };
}

/**
 * Returns what a session can reach: the mesh, the services of its grants, and the Kubernetes API if they include it.
 */
export function meshAccess(context: SessionContext, session: Session) {
  const kubernetes = kubernetesAccess(context, session);
  return {
    mesh: meshInfo(context),
    services: [...context.mesh.services(grantsOf(session))],
    ...(kubernetes && { kubernetes }),
  };
}

/**
 * Builds the response to `GET /services`. If a grant or service is missing from it, agents assume that it is no longer
 * granted.
 * @throws MeshpassError `kubernetes_unavailable` if no access file is in effect
 */
export function buildServicesResponse(context: SessionContext, session: Session): ServicesResponse {
  context.mesh.access();
  return {
    services_version: servicesVersion(context.mesh, session),
    held: held(session),
    ...meshAccess(context, session),
  };
}

function held({ principals }: Session): SessionGrantInfo[] {
  return principals.map(({ grant, spiffeId, until, gained }) => ({
    grant,
    spiffe_id: spiffeId,
    until,
    ...(gained && { gained: gained.cause }),
  }));
}
