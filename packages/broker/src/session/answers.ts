/** What an agent is told of its session and of the mesh. */
import type { HeldGrantInfo, MeshInfo, ServicesResponse, SessionInfo } from '@meshpass/identity';
import type { StatementKey } from '@meshpass/identity/channel/statement';
import { sha256Base64url } from '@meshpass/identity/hash';
import { type KubernetesAccess, MAX_ROLE_NAMESPACES } from '@meshpass/identity/kubernetes/wire';
import type { MeshState } from '../reconcile/contract.ts';
import type { Session } from './session.ts';

/** The part of the broker's configuration that agents are told. */
export interface AnswersConfig {
  readonly trustDomain: string;
  readonly edge: MeshInfo['edge'];
  readonly tokenHeader: string;
  readonly leaseSeconds: number;
  readonly heartbeatSeconds: number;
}

export interface Answers {
  readonly config: AnswersConfig;
  /** Keys of the statements that agents get through an edge; absent: there are none. */
  readonly statementKeys?: (() => readonly StatementKey[]) | undefined;
  readonly mesh: MeshState;
  /** PEM with which the API server of Kubernetes is verified; absent: the roots of the system. */
  readonly kubernetesCa?: string | undefined;
}

export function sessionInfo({ config }: Answers, session: Session): SessionInfo {
  return {
    id: session.id,
    subject: session.attestation.subject,
    login: session.attestation.login,
    workspace: session.attestation.workspace.name,
    expires_at: session.expiresAt,
    lease_seconds: config.leaseSeconds,
    heartbeat_seconds: config.heartbeatSeconds,
    grants: session.grants.map((grant) => grant.name),
    held: held(session),
  };
}

export function meshInfo({ config, mesh, statementKeys }: Answers): MeshInfo {
  return {
    trust_domain: config.trustDomain,
    roots: [...mesh.roots()],
    edge: config.edge,
    token_header: config.tokenHeader,
    ...(statementKeys && { statement_keys: [...statementKeys()] }),
  };
}

/** What of Kubernetes the session may use; undefined where that is nothing. */
export function kubernetesAccess({ mesh, kubernetesCa }: Answers, session: Session): KubernetesAccess | undefined {
  const roles = mesh.kubernetes();
  const grants = session.grants.flatMap(({ name }) => {
    const namespaces = roles.get(name);
    return namespaces ? [{ grant: name, namespaces: namespaces.slice(0, MAX_ROLE_NAMESPACES) }] : [];
  });
  if (grants.length === 0) return undefined;
  return { ...(kubernetesCa !== undefined && { certificate_authority: kubernetesCa }), grants };
}

/** Changes when the answer of `GET /services` would. */
export function servicesVersion({ mesh }: Answers, session: Session): string {
  return `${mesh.version()}/${sha256Base64url(JSON.stringify([session.grants, session.principals])).slice(0, 16)}`;
}

/**
 * Agents take what is missing here for what is granted no more.
 * @throws MeshpassError `kubernetes_unavailable` while no access file is in force
 */
export function servicesAnswer(answers: Answers, session: Session): ServicesResponse {
  answers.mesh.access();
  const kubernetes = kubernetesAccess(answers, session);
  return {
    services_version: servicesVersion(answers, session),
    mesh: meshInfo(answers),
    held: held(session),
    services: [...answers.mesh.services(session.grants.map((grant) => grant.name))],
    ...(kubernetes && { kubernetes }),
  };
}

function held({ grants, principals }: Session): HeldGrantInfo[] {
  const spiffeIds = new Map(principals.map(({ grant, spiffeId }) => [grant, spiffeId]));
  return grants.flatMap(({ name, until, gained }) => {
    const spiffe_id = spiffeIds.get(name);
    return spiffe_id === undefined ? [] : [{ grant: name, spiffe_id, until, ...(gained && { gained: gained.cause }) }];
  });
}
