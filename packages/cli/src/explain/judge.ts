/** What guard and rules of one grant decide about one call: by the evaluator of `meshpass policy can-i`, on what the grant compiles to. */
import type { Access, Grant, GrantTarget } from '@meshpass/access';
import type { ExplainAnswer } from '@meshpass/agent/explain/answer';
import { applyAccess, type CanI, canI } from '@meshpass/analysis/evaluate';
import { formatSni } from '@meshpass/identity/spiffe';
import type { ReachableService } from '@meshpass/identity/wire';
import { viewMesh } from '@meshpass/istio';
import type { WantedCall } from './call.ts';
import { sessionMesh } from './session-access.ts';

/** Who asks: what the agent says of its session. */
export type Asking = Pick<ExplainAnswer, 'claims' | 'principals' | 'trustDomain' | 'tokenHeader' | 'session'>;

/** Where the call arrives. */
export type Destination = Pick<ReachableService, 'host' | 'port' | 'protocol' | 'spiffe_ids'>;

export const shapeOf = (trustDomain: string, clusterDomain: string) => ({
  ...{ trustDomain, clusterDomain, rootNamespace: 'istio-system' },
  gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15_443 },
});

/** The rest of `NAME.NAMESPACE.svc.DOMAIN`. */
export function clusterDomainOf(host: string): string {
  return host.split('.').slice(3).join('.') || 'cluster.local';
}

/** How sidecars recognise the session's identity token. */
export function tokensOf({ claims, tokenHeader }: Pick<Asking, 'claims' | 'tokenHeader'>) {
  const { iss, aud } = claims;
  const [audience] = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  return {
    issuer: typeof iss === 'string' ? iss : 'https://broker.invalid',
    audience: typeof audience === 'string' ? audience : 'meshpass',
    header: tokenHeader,
    jwks: JSON.stringify({ keys: [{ kty: 'RSA', kid: 'not-known-here', n: 'AQAB', e: 'AQAB' }] }),
  };
}

/**
 * Decides for the holder of `grant` in `access`, and for nothing else that the mesh has.
 * @throws MeshpassError `access_*` where the grant cannot be compiled
 */
export function judge(access: Access, grant: string, to: Destination, call: WantedCall, asking: Asking): CanI {
  const { trustDomain, claims, principals, session } = asking;
  const only = { ...access, grants: access.grants.flatMap((one) => (one.name === grant ? [narrowed(one, to)] : [])) };
  const tokens = tokensOf(asking);
  const shape = shapeOf(trustDomain, clusterDomainOf(to.host));
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

/** Of a grant, only what it gives at one port: the rest may name services that are not known here. */
function narrowed(grant: Grant, to: Destination): Grant {
  const targets = targetsNaming(grant, to).map((one) => ({ ...one, port: to.port }));
  return { ...grant, to: targets, kubernetesRoles: [] };
}

/** The entries that name this service and port; of several, the first decides. */
export function targetsNaming({ to }: Pick<Grant, 'to'>, { host, port }: Pick<Destination, 'host' | 'port'>) {
  const [service, namespace] = host.split('.');
  const named = to.filter(
    (one) =>
      one.labels === undefined && (one.host === host || (one.service === service && one.namespace === namespace)),
  );
  const exact = named.filter((one) => one.port === port);
  // A port by its name: which number that is, only the mesh knows. One entry alone can mean no other.
  return exact.length > 0 || named.length !== 1 || typeof named[0]!.port === 'number' ? exact : named;
}

/** The grant without demands on claims: which grant a call is given to, Envoy chooses by method and path. */
export function withoutClaims(access: Access): Access {
  const bare = (target: GrantTarget): GrantTarget => {
    const { require: _, allow, ...rest } = target;
    return { ...rest, ...(allow && { allow: allow.map(({ require: __, ...operation }) => operation) }) };
  };
  return { ...access, grants: access.grants.map((grant) => ({ ...grant, to: grant.to.map(bare) })) };
}
