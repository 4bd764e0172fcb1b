/**
 * Decides whether the guard and the rules of a single grant allow a call. To do so, it compiles the grant and runs the
 * evaluator that `meshpass policy can-i` uses.
 */
import type { Access, Grant, GrantTarget } from '@meshpass/access';
import type { ExplainResponse } from '@meshpass/agent/explain/answer';
import { applyAccess, type CanI, canI } from '@meshpass/analysis/evaluate';
import { formatSni } from '@meshpass/identity/spiffe';
import type { ReachableService } from '@meshpass/identity/wire';
import { viewMesh } from '@meshpass/istio';
import { PLACEHOLDER_JWKS } from '../input/policy-input.ts';
import type { WantedCall } from './call.ts';
import { sessionMesh } from './session-access.ts';

/** The caller, as described by the agent for its session. */
export type ExplainCaller = Pick<ExplainResponse, 'claims' | 'principals' | 'trustDomain' | 'tokenHeader' | 'session'>;

/** The destination of the call. */
export type CallDestination = Pick<ReachableService, 'host' | 'port' | 'protocol' | 'spiffe_ids'>;

/** Returns the default shape of a mesh with the given domains. */
export const defaultMeshShape = (trustDomain: string, clusterDomain: string) => ({
  trustDomain,
  clusterDomain,
  rootNamespace: 'istio-system',
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15_443 },
});

/** Extracts the cluster domain from a host name of the form `NAME.NAMESPACE.svc.DOMAIN`. */
export function clusterDomainOf(host: string): string {
  return host.split('.').slice(3).join('.') || 'cluster.local';
}

/** Returns the settings that sidecars use to recognize the session's identity token. */
export function toIdentityTokens({ claims, tokenHeader }: Pick<ExplainCaller, 'claims' | 'tokenHeader'>) {
  const { iss, aud } = claims;
  const [audience] = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  return {
    issuer: typeof iss === 'string' ? iss : 'https://broker.invalid',
    audience: typeof audience === 'string' ? audience : 'meshpass',
    header: tokenHeader,
    jwks: PLACEHOLDER_JWKS,
  };
}

/**
 * Evaluates a call by a holder of `grant` in `access`. Other policies in the mesh are not considered.
 * @throws MeshpassError `access_*` if the grant cannot be compiled
 */
export function evaluateForCaller(
  access: Access,
  grant: string,
  to: CallDestination,
  call: WantedCall,
  asking: ExplainCaller,
): CanI {
  const { trustDomain, claims, principals, session } = asking;
  const only = { ...access, grants: access.grants.flatMap((one) => (one.name === grant ? [narrowed(one, to)] : [])) };
  const tokens = toIdentityTokens(asking);
  const shape = defaultMeshShape(trustDomain, clusterDomainOf(to.host));
  const { resources } = applyAccess(only, sessionMesh([to]), shape, tokens);
  const [service, namespace] = to.host.split('.');
  const principal = principals[grant]?.replace(/^spiffe:\/\//, '') ?? `${trustDomain}/ns/meshpass-${grant}/sa/holder`;
  const token =
    typeof claims.iss === 'string'
      ? claims
      : { iss: tokens.issuer, sub: session.subject, aud: tokens.audience, grants: [grant] };
  const { method, path, headers } = call;
  const http = call.protocol === 'tcp' || to.protocol === 'tcp' ? undefined : { method, path, headers };
  const target = `${service}.${namespace}:${to.port}`;
  return canI(viewMesh(resources), { principal, claims: token }, target, http, { sni: formatSni(to) });
}

/**
 * Reduces a grant to a single port, because its other entries may refer to services that are unknown in this workspace.
 */
function narrowed(grant: Grant, to: CallDestination): Grant {
  const targets = findTargets(grant, to).map((one) => ({ ...one, port: to.port }));
  return { ...grant, to: targets, kubernetesRoles: [] };
}

/** Returns the entries for this service and port. If there is more than one, the first one decides. */
export function findTargets({ to }: Pick<Grant, 'to'>, { host, port }: Pick<CallDestination, 'host' | 'port'>) {
  const [service, namespace] = host.split('.');
  const named = to.filter(
    (one) =>
      one.labels === undefined && (one.host === host || (one.service === service && one.namespace === namespace)),
  );
  const exact = named.filter((one) => one.port === port);
  // Only the mesh knows the number of a named port. If there is a single entry for the service, it must be for this
  // port.
  return exact.length > 0 || named.length !== 1 || typeof named[0]!.port === 'number' ? exact : named;
}

/** Removes required claims from all grants, because Envoy chooses the grant for a call only by its method and path. */
export function withoutClaims(access: Access): Access {
  const bare = (target: GrantTarget): GrantTarget => {
    const { require: _, allow, ...rest } = target;
    return { ...rest, ...(allow && { allow: allow.map(({ require: __, ...operation }) => operation) }) };
  };
  return { ...access, grants: access.grants.map((grant) => ({ ...grant, to: grant.to.map(bare) })) };
}
