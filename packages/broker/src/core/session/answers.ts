/** Builds the broker's responses to agents that ask about their session and the mesh. */
import type { MeshInfo, ServicesResponse, SessionGrantInfo, SessionInfo } from '@meshpass/identity';
import type { StatementKey } from '@meshpass/identity/channel/statement';
import { sha256Base64url } from '@meshpass/identity/hash';
import { type KubernetesAccess, MAX_ROLE_NAMESPACES } from '@meshpass/identity/kubernetes/wire';
import type { MeshState } from '../../mesh/index.ts';
import { grantsOf, type Session, sessionExpiry } from './session.ts';

/** The part of the broker's configuration that is sent to agents. */
export interface ResponseConfig {
  readonly trustDomain: string;
  readonly edge: MeshInfo['edge'];
  readonly tokenHeader: string;
  readonly leaseSeconds: number;
  readonly heartbeatSeconds: number;
}

/** The data sources that the broker's responses to agents are built from. */
export interface ResponseSources {
  readonly config: ResponseConfig;
  /** Returns the keys that agents use to verify the broker's statements. */
  readonly statementKeys: () => readonly StatementKey[];
  readonly mesh: MeshState;
  /** The CA bundle (PEM) for verifying the Kubernetes API server. Defaults to the system roots. */
  readonly kubernetesCa?: string | undefined;
}

/** Returns the description of a session that is sent to its agent. */
export function sessionInfo({ config }: ResponseSources, session: Session): SessionInfo {
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
export function meshInfo({ config, mesh, statementKeys }: ResponseSources): MeshInfo {
  const contact = mesh.inForce() ? mesh.access().contact : undefined;
  return {
    trust_domain: config.trustDomain,
    roots: [...mesh.roots()],
    edge: config.edge,
    token_header: config.tokenHeader,
    statement_keys: [...statementKeys()],
    ...(contact !== undefined && { contact }),
  };
}

/** Returns the session's access to the Kubernetes API, or undefined if none of its grants include it. */
export function kubernetesAccess(
  { mesh, kubernetesCa }: ResponseSources,
  session: Session,
): KubernetesAccess | undefined {
  const roles = mesh.kubernetes();
  const grants = grantsOf(session).flatMap((grant) => {
    const namespaces = roles.get(grant);
    return namespaces ? [{ grant, namespaces: namespaces.slice(0, MAX_ROLE_NAMESPACES) }] : [];
  });
  if (grants.length === 0) return undefined;
  return { ...(kubernetesCa !== undefined && { certificate_authority: kubernetesCa }), grants };
}

/** Returns a version string that changes whenever the response to `GET /services` changes. */
export function servicesVersion({ mesh }: Pick<ResponseSources, 'mesh'>, session: Session): string {
  // Sort the principals, because their order may change when a session is restored.
  const principals = session.principals.toSorted((a, b) => (a.grant < b.grant ? -1 : 1));
  return `${mesh.version()}/${sha256Base64url(JSON.stringify(principals)).slice(0, 16)}`;
}

/**
 * Builds the response to `GET /services`. If a grant or service is missing from it, agents assume that it is no longer
 * granted.
 * @throws MeshpassError `kubernetes_unavailable` if no access file is in effect
 */
export function buildServicesResponse(answers: ResponseSources, session: Session): ServicesResponse {
  answers.mesh.access();
  const kubernetes = kubernetesAccess(answers, session);
  return {
    services_version: servicesVersion(answers, session),
    mesh: meshInfo(answers),
    held: held(session),
    services: [...answers.mesh.services(grantsOf(session))],
    ...(kubernetes && { kubernetes }),
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
