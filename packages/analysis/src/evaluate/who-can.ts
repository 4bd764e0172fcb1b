/**
 * Lists the identities that can make a call. Considers all identities that are known in the mesh, and one example of
 * every kind that is not.
 */

import type { MeshView } from '@meshpass/istio';
import type { Call, Decision, HttpRequest } from './call.ts';
import { callOf } from './caller.ts';
import { knownPeers, knownTokens } from './known-callers.ts';
import { type Endpoint, findEndpoints } from './target.ts';
import { evaluate } from './verdict.ts';

export interface Reacher {
  readonly endpoint: Endpoint;
  readonly who: string;
  /** The token that the identity has to send. Undefined if it does not need one. */
  readonly token?: string;
  readonly decision: Decision;
}

export interface WhoCan {
  /** The identities that can make the call. A token is only included if the identity needs one. */
  readonly reachers: readonly Reacher[];
  /**
   * The identities whose result is unknown, with the reason. An entry without an identity applies to the endpoint as a
   * whole.
   */
  readonly unknown: readonly { readonly endpoint: Endpoint; readonly who?: string; readonly why: string }[];
}

/**
 * Evaluates a call for every identity that is known in the mesh.
 * @param http the HTTP request, or undefined for a connection that does not use HTTP
 * @throws MeshpassError `usage` if the target does not exist
 * @example
 * ```ts
 * import { whoCan } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const { reachers } = whoCan(view, 'orders.shop:80', { method: 'GET', path: '/' });
 * reachers.map(({ who }) => who); // => []
 * ```
 */
export function whoCan(
  view: MeshView,
  target: string,
  http: HttpRequest | undefined,
  more: Partial<Call> = {},
): WhoCan {
  const unknown: { endpoint: Endpoint; who?: string; why: string }[] = [];
  const reachers = findEndpoints(view, target).flatMap((endpoint) => {
    if (endpoint.unknown !== undefined) {
      unknown.push({ endpoint, why: endpoint.unknown });
      return [];
    }
    const tokens = http ? knownTokens(endpoint) : [];
    return knownPeers(view).flatMap((peer): Reacher[] => {
      const bare = evaluate(endpoint, callOf(endpoint, peer, http, more));
      if (bare.unknown !== undefined) {
        unknown.push({ endpoint, who: peer.name, why: bare.unknown });
        return [];
      }
      if (bare.verdict === 'yes') return [{ endpoint, who: peer.name, decision: bare.decision }];
      return tokens.flatMap(({ name, claims }) => {
        const found = evaluate(endpoint, callOf(endpoint, { ...peer, claims }, http, more));
        if (found.unknown !== undefined)
          unknown.push({ endpoint, who: `${peer.name} with ${name}`, why: found.unknown });
        return found.verdict === 'yes' ? [{ endpoint, who: peer.name, token: name, decision: found.decision }] : [];
      });
    });
  });
  return { reachers, unknown };
}
