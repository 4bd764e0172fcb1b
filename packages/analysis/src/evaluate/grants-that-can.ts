/** Which grants of an access file open a call: the mesh as it is once the file is applied, asked for the holders of each. */

import {
  type Access,
  ATTESTED_CLAIMS,
  type ClaimValues,
  compile,
  describeApproval,
  describeWho,
  type Grant,
  type GrantTarget,
  type IdentityTokens,
  isOurs,
  type MeshShape,
  meshOf,
  type ResolvedTarget,
  resolveAccess,
  SOURCE_ANNOTATION,
} from '@meshpass/access/compile';
import { grantNamespace } from '@meshpass/identity';
import { loadObject, type Mesh, type MeshView, type Resource } from '@meshpass/istio';
import type { Call, Decision, HttpCall } from './call.ts';
import { callOf } from './caller.ts';
import { type Endpoint, findEndpoints } from './target.ts';
import { type Evaluation, evaluate } from './verdict.ts';

export interface GrantReach {
  readonly endpoint: Endpoint;
  readonly grant: Grant;
  /** Who may hold it, an alternative each. */
  readonly people: readonly string[];
  /** Who may not hold it all the same, of the grant and of every grant. */
  readonly except: readonly string[];
  /** Why not all of them do at any time: its time windows, an approval. */
  readonly conditions: readonly string[];
  /** Claims that the proof must have for this call; empty where it needs none. */
  readonly claims: ClaimValues;
  readonly decision: Decision;
  /** Why it is not known whether it opens the call; absent where it does. */
  readonly unknown?: string;
}

export interface GrantedMesh {
  /** What is in the mesh once the file is applied, without what Meshpass wrote there before. */
  readonly resources: readonly Resource[];
  readonly mesh: Mesh;
}

/**
 * The mesh as it will be once an access file is applied.
 * @param cluster what is there now; what Meshpass wrote before is replaced
 * @throws MeshpassError `access_service_unknown` and others of `compile`
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
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   ...{ issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token' },
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
  // Named by the line of the access file that asks for it, so that a decision by it leads there.
  const compiled = compile(access, mesh, tokens).flatMap(
    (one) => loadObject(one, one.metadata.annotations?.[SOURCE_ANNOTATION] ?? access.file).resources,
  );
  return { resources: [...others, ...compiled], mesh };
}

/**
 * Asks for a holder of each grant, who comes as holders do: by the name of a granted port, with an identity token of the grant.
 * @param view of the mesh to which `access` is applied (`applyAccess`)
 * @param target,http,more as `whoCan` takes them
 * @returns grants by which the call is let in, and those of which that is not known
 * @throws MeshpassError `usage` for a target that is not there
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
 *   ...{ trustDomain: 'cluster.local', rootNamespace: 'istio-system', clusterDomain: 'cluster.local' },
 *   gateway: { namespace: 'meshpass-system', labels: { istio: 'meshpass-gateway' }, port: 15443 },
 * };
 * const tokens = {
 *   ...{ issuer: 'https://broker.example', audience: 'mesh', header: 'x-meshpass-token' },
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
  http: (Omit<HttpCall, 'authority'> & { readonly authority?: string }) | undefined,
  more: Partial<Call> = {},
): readonly GrantReach[] {
  const endpoints = findEndpoints(view, target);
  return resolveAccess(access, mesh).grants.flatMap(({ grant, targets }) => {
    const leading = targets.map((one) => ({ one, to: findEndpoints(view, serviceName(one)) }));
    return endpoints.flatMap((endpoint): GrantReach[] => {
      const full = http && { ...http, authority: http.authority ?? endpoint.authority };
      // A port may be granted under the names of several Services.
      for (const { one, to } of leading) {
        if (!to.some((other) => isSame(other, endpoint))) continue;
        // Workspaces always come by mutual TLS.
        if (endpoint.authorizer.peerMode(endpoint.port).mode === 'DISABLE') continue;
        const asHolder = (claims: ClaimValues): Evaluation =>
          evaluate(
            endpoint,
            callOf(endpoint, { principal: principalOf(grant, mesh), claims: tokenOf(grant, tokens, claims) }, full, {
              ...more,
              sni: one.sni,
            }),
          );
        const needed = claimsNeeded(one.target);
        for (const claims of Object.keys(needed).length > 0 ? [{}, needed] : [{}]) {
          const { verdict, decision, unknown } = asHolder(claims);
          const found = { endpoint, ...describeHolders(access, grant), claims, decision };
          if (unknown !== undefined) return [{ ...found, unknown }];
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

/** Sessions have accounts of their own in the grant's namespace; policies go by the namespace. */
function principalOf({ name }: Grant, { trustDomain }: Mesh): string {
  return `${trustDomain}/ns/${grantNamespace(name)}/sa/holder`;
}

function tokenOf({ name }: Grant, { issuer, audience }: IdentityTokens, claims: ClaimValues) {
  return { iss: issuer, sub: 'holder', aud: audience, grants: [name], [ATTESTED_CLAIMS]: claims };
}

/** Every value of every claim that some call of this port is asked for. */
function claimsNeeded({ require, allow }: GrantTarget): ClaimValues {
  const wanted = new Map<string, Set<string>>();
  for (const some of [require, ...(allow ?? []).map((operation) => operation.require)]) {
    for (const [name, values] of Object.entries(some ?? {}))
      wanted.set(name, new Set([...(wanted.get(name) ?? []), ...values]));
  }
  return Object.fromEntries([...wanted].map(([name, values]) => [name, [...values].sort()]));
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
