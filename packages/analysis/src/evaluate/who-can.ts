/** Who reaches an endpoint with a call: of the identities that the mesh knows, and of one of each kind that it does not. */

import type { MeshView } from '@meshpass/istio';
import type { Call, Decision, HttpCall } from './call.ts';
import { callOf } from './caller.ts';
import { knownPeers, knownTokens } from './known-callers.ts';
import { type Endpoint, findEndpoints } from './target.ts';
import { evaluate } from './verdict.ts';

export interface Reacher {
  readonly endpoint: Endpoint;
  readonly who: string;
  /** Absent: no token is needed. */
  readonly token?: string;
  readonly decision: Decision;
}

export interface WhoCan {
  /** Whoever is allowed; those who need no token are not listed with one. */
  readonly reachers: readonly Reacher[];
  /** Of whom nothing can be said, for a reason each; of an endpoint as a whole there is nobody named. */
  readonly unknown: readonly { readonly endpoint: Endpoint; readonly who?: string; readonly why: string }[];
}

/**
 * @param http absent: bytes that are no HTTP
 * @throws MeshpassError `usage` for a target that is not there
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
  http: (Omit<HttpCall, 'authority'> & { readonly authority?: string }) | undefined,
  more: Partial<Call> = {},
): WhoCan {
  const unknown: { endpoint: Endpoint; who?: string; why: string }[] = [];
  const reachers = findEndpoints(view, target).flatMap((endpoint) => {
    if (endpoint.unknown !== undefined) {
      unknown.push({ endpoint, why: endpoint.unknown });
      return [];
    }
    const full = http && { ...http, authority: http.authority ?? endpoint.authority };
    const tokens = full ? knownTokens(endpoint) : [];
    return knownPeers(view).flatMap((peer): Reacher[] => {
      const bare = evaluate(endpoint, callOf(endpoint, peer, full, more));
      if (bare.unknown !== undefined) {
        unknown.push({ endpoint, who: peer.name, why: bare.unknown });
        return [];
      }
      if (bare.verdict === 'yes') return [{ endpoint, who: peer.name, decision: bare.decision }];
      return tokens.flatMap(({ name, claims }) => {
        const {
          verdict,
          decision,
          unknown: why,
        } = evaluate(endpoint, callOf(endpoint, { ...peer, claims }, full, more));
        if (why !== undefined) unknown.push({ endpoint, who: `${peer.name} with ${name}`, why });
        return verdict === 'yes' ? [{ endpoint, who: peer.name, token: name, decision }] : [];
      });
    });
  });
  return { reachers, unknown };
}
