/** Who calls: a service account of the mesh, somebody with a token, or nobody. */
import { MeshpassError } from '@meshpass/identity';
import type { JwtRule } from '@meshpass/istio';
import type { Call, HttpCall } from './call.ts';
import type { Endpoint } from './target.ts';

export interface Caller {
  /** Absent: plain text, nobody. */
  readonly principal?: string;
  /** Payload of the token that is carried. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

/**
 * `shop/client` is a service account, `cluster.local/ns/shop/sa/client` its whole principal, `nobody` plain text.
 * @throws MeshpassError `usage`
 * @example
 * ```ts
 * import { parseCaller } from '@meshpass/analysis/evaluate';
 * parseCaller('web/shop', 'cluster.local'); // => { principal: 'cluster.local/ns/web/sa/shop' }
 * parseCaller('nobody', 'cluster.local'); // => {}
 * ```
 */
export function parseCaller(text: string, trustDomain: string): Caller {
  if (text === 'nobody') return {};
  const parts = text.replace(/^spiffe:\/\//, '').split('/');
  if (parts.length === 2 && parts.every(Boolean)) return { principal: `${trustDomain}/ns/${parts[0]}/sa/${parts[1]}` };
  if (parts.length >= 5 && parts[1] === 'ns') return { principal: parts.join('/') };
  throw new MeshpassError(
    'usage',
    `${JSON.stringify(text)}: write NAMESPACE/SERVICEACCOUNT, a whole principal, or nobody.`,
  );
}

/**
 * The call that a caller makes to an endpoint. A token is carried where the workload's own RequestAuthentication looks for one.
 * @param http undefined: a TCP connection without HTTP
 * @param more members of the call that do not follow from caller and endpoint
 * @example
 * ```ts
 * import { callOf, findEndpoints } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const [endpoint] = findEndpoints(view, 'orders.shop:80');
 * const call = callOf(endpoint!, { principal: 'cluster.local/ns/web/sa/shop' }, undefined);
 * call; // => { port: 80, principal: 'cluster.local/ns/web/sa/shop' }
 * ```
 */
export function callOf(endpoint: Endpoint, caller: Caller, http: HttpCall | undefined, more: Partial<Call> = {}): Call {
  const token = caller.claims && { text: 'caller-token', claims: caller.claims };
  return {
    ...more,
    port: endpoint.port,
    ...(caller.principal !== undefined && { principal: caller.principal }),
    ...(http && { http: token ? carrying(http, token.text, endpoint, caller.claims!) : http }),
    ...(token && { tokens: [token] }),
  };
}

/** Where the workload's own rules look for a token of that issuer; else as a bearer token. */
function carrying(
  http: HttpCall,
  text: string,
  { authorizer }: Endpoint,
  claims: Readonly<Record<string, unknown>>,
): HttpCall {
  const rule: JwtRule = authorizer.tokenRules.find(({ issuer }) => issuer === claims.iss) ?? {};
  const [header] = rule.fromHeaders ?? [];
  const [parameter] = rule.fromParams ?? [];
  const [cookie] = rule.fromCookies ?? [];
  const withHeader = (name: string, value: string): HttpCall => ({
    ...http,
    headers: { ...http.headers, [name]: value },
  });
  if (header) return withHeader(header.name.toLowerCase(), `${header.prefix ?? ''}${text}`);
  if (parameter !== undefined)
    return { ...http, path: `${http.path}${http.path.includes('?') ? '&' : '?'}${parameter}=${text}` };
  if (cookie !== undefined) return withHeader('cookie', `${cookie}=${text}`);
  return withHeader('authorization', `Bearer ${text}`);
}
