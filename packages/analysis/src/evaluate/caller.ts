/** Defines who makes a call: a ServiceAccount in the mesh, the holder of a token, or an unauthenticated client. */
import { MeshpassError } from '@meshpass/identity';
import type { JwtRule } from '@meshpass/istio';
import type { Call, HttpCall, HttpRequest } from './call.ts';
import type { Endpoint } from './target.ts';

export interface Caller {
  /** The caller's principal. Undefined if the caller uses plain text. */
  readonly principal?: string;
  /** The payload of the caller's token, if it has one. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

/**
 * Parses the name of a caller: `shop/client` is a ServiceAccount, `cluster.local/ns/shop/sa/client` is its full
 * principal, and `nobody` is a client without mutual TLS.
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
    `${JSON.stringify(text)}: expected NAMESPACE/SERVICEACCOUNT, a complete principal, or nobody.`,
  );
}

/**
 * Builds the call that a caller makes to an endpoint. The caller's token is placed where the workload's
 * RequestAuthentication expects it.
 * @param request the HTTP request, or undefined for a TCP connection
 * @param more any members of the call that the caller and the endpoint do not determine
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
export function callOf(
  endpoint: Endpoint,
  caller: Caller,
  request: HttpRequest | undefined,
  more: Partial<Call> = {},
): Call {
  const http = request && { ...request, authority: request.authority ?? endpoint.authority };
  const token = caller.claims && { text: 'caller-token', claims: caller.claims };
  return {
    ...more,
    port: endpoint.port,
    ...(caller.principal !== undefined && { principal: caller.principal }),
    ...(http && { http: token ? carrying(http, token.text, endpoint, caller.claims!) : http }),
    ...(token && { tokens: [token] }),
  };
}

/**
 * Adds a token to a request, in the place where the workload's rules expect tokens from its issuer. If the rules do not
 * mention the issuer, the token is sent as a bearer token.
 */
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
