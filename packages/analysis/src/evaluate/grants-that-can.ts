/**
 * Finds the grants in an access file that allow a call. To do this, it applies the file to the mesh and evaluates the
 * call for a holder of each grant.
 */

import {
  type Access,
  ATTESTED_CLAIMS,
  type ClaimValues,
  claimsDemanded,
  compile,
  describeApproval,
  describeWho,
  type Grant,
  type IdentityTokens,
  isOurs,
  type MeshShape,
  meshOf,
  type ResolvedTarget,
  resolveAccess,
  sourceOf,
} from '@meshpass/access/compile';
import { grantNamespace } from '@meshpass/identity';
import { loadObject, type Mesh, type MeshView, type Resource } from '@meshpass/istio';
import type { Call, Decision, HttpRequest } from './call.ts';
import { type Caller, callOf } from './caller.ts';
import { whyNotGrantable } from './grantable.ts';
import { type Endpoint, findEndpoints } from './target.ts';
import { evaluate } from './verdict.ts';

export interface GrantReach {
  readonly endpoint: Endpoint;
  readonly grant: Grant;
  /** Descriptions of the people who can hold the grant, one for each alternative. */
  readonly people: readonly string[];
  /** Descriptions of the people who are excluded, either from this grant or from all grants. */
  readonly except: readonly string[];
  /** Additional conditions for holding the grant, such as time windows or an approval. */
  readonly conditions: readonly string[];
  /** The claims that a holder's proof must contain for this call. Empty if none are required. */
  readonly claims: ClaimValues;
  readonly decision: Decision;
  /** The reason why the result is unknown. Undefined if the grant is known to allow the call. */
  readonly unknown?: string;
}

export interface GrantedMesh {
  /**
   * All objects in the mesh after the access file has been applied, except for the ones that Meshpass wrote previously.
   */
  readonly resources: readonly Resource[];
  readonly mesh: Mesh;
}

/**
 * Builds the mesh that results from applying an access file.
 * @param cluster the objects that are currently in the cluster; those that Meshpass wrote are replaced
 * @throws MeshpassError `access_service_unknown` and other codes of `compile`
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { applyAccess } from '@meshpass/analysis/evaluate';
 * import { loadManifests } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const { resources } = applyAccess(access, loadManifests(orders, 'cluster.yaml').resources, shape, tokens);
 * resources.map(({ kind }) => kind).includes('AuthorizationPolicy'); // => true
 * ```
 */
export function applyAccess(
  access: Access,
  cluster: readonly Resource[],
  shape: MeshShape,
  tokens: IdentityTokens,
): GrantedMesh {
  const others = cluster.filter((one) => !isOurs(one));
  const mesh = meshOf(others, shape);
  // Use each object's line in the access file as its source, so that decisions refer to that line.
  const compiled = compile(access, mesh, tokens).flatMap((one) => loadObject(one, sourceOf(access, one)).resources);
  return { resources: [...others, ...compiled], mesh };
}

/**
 * Evaluates a call for a holder of each grant. Holders call a granted port by its name and send an identity token for
 * the grant.
 * @param view a view of the mesh after `applyAccess` has applied `access` to it
 * @param target,http,more the same as for `whoCan`
 * @returns the grants that allow the call, and the grants whose result is unknown
 * @throws MeshpassError `usage` if the target does not exist
 * @example
 * ```ts
 * import { parseAccess } from '@meshpass/access';
 * import { applyAccess, grantsThatCan } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const access = parseAccess(`
 * trust: {codespaces: {organization: acme}}
 * grants:
 *   dev: {who: [{user: alice}], to: [{service: orders.shop, port: 80}]}`, 'access.yaml');
 * const shape = {
 *   trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local',
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token',
 *   jwks: '{"keys":[{"kty":"RSA","kid":"1","n":"AQAB","e":"AQAB"}]}',
 * };
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const applied = applyAccess(access, loadManifests(orders, 'cluster.yaml').resources, shape, tokens);
 * const get = { method: 'GET', path: '/orders' };
 * const found = grantsThatCan(access, applied, viewMesh(applied.resources), tokens, 'orders.shop:80', get);
 * found.map(({ grant, people }) => [grant.name, people]); // => [['dev', ['user alice']]]
 * ```
 */
export function grantsThatCan(
  access: Access,
  { mesh }: Pick<GrantedMesh, 'mesh'>,
  view: MeshView,
  tokens: IdentityTokens,
  target: string,
  http: HttpRequest | undefined,
  more: Partial<Call> = {},
): readonly GrantReach[] {
  const endpoints = findEndpoints(view, target);
  return resolveAccess(access, mesh).grants.flatMap(({ grant, targets }) => {
    const leading = targets.map((one) => ({ one, to: findEndpoints(view, serviceName(one)) }));
    return endpoints.flatMap((endpoint): GrantReach[] => {
      // The same port may be granted through more than one Service.
      for (const { one, to } of leading) {
        if (!to.some((other) => isSame(other, endpoint))) continue;
        // Workspaces always use mutual TLS, so they cannot call this port.
        if (endpoint.authorizer.peerMode(endpoint.port).mode === 'DISABLE') continue;
        const needed = claimsDemanded([one.target]);
        for (const claims of Object.keys(needed).length > 0 ? [{}, needed] : [{}]) {
          const call = callOf(endpoint, holderOf(grant.name, mesh, tokens, claims), http, { ...more, sni: one.sni });
          const { verdict, decision, unknown } = evaluate(endpoint, call);
          const found = { endpoint, ...describeHolders(access, grant), claims, decision };
          const why = whyNotGrantable(view, endpoint.authorizer.workload) ?? unknown;
          if (why !== undefined) return [{ ...found, unknown: why }];
          if (verdict === 'yes') return [found];
        }
      }
      return [];
    });
  });
}

function serviceName({ service, port }: ResolvedTarget): string {
  return `${service.name}.${service.namespace}:${port.port}`;
}

function isSame(a: Endpoint, b: Endpoint): boolean {
  const [one, other] = [a.authorizer.workload, b.authorizer.workload];
  return a.port === b.port && one.namespace === other.namespace && one.name === other.name;
}

/**
 * Builds a caller that holds a grant. Every session has its own ServiceAccount in the grant's namespace, so policies
 * match the namespace instead.
 * @param attested the claims of the proof that its identity token contains
 */
export function holderOf(
  grant: string,
  { trustDomain }: Pick<Mesh, 'trustDomain'>,
  { issuer, audience }: IdentityTokens,
  attested: ClaimValues,
): Required<Caller> {
  return {
    principal: `${trustDomain}/ns/${grantNamespace(grant)}/sa/holder`,
    claims: { iss: issuer, sub: 'holder', aud: audience, grants: [grant], [ATTESTED_CLAIMS]: attested },
  };
}

function describeHolders(access: Access, grant: Grant): Pick<GrantReach, 'grant' | 'people' | 'except' | 'conditions'> {
  return {
    grant,
    people: grant.who.map(describeWho),
    except: [...(grant.except ?? []), ...(access.deny ?? [])].map(describeWho),
    conditions: [
      ...(grant.during ? ['only in its time windows'] : []),
      ...(grant.approval ? [`with ${describeApproval(grant.approval)}`] : []),
    ],
  };
}
