/** Can this identity make this call: yes or no, by which rule, in which file and line. */

import type { MeshView } from '@meshpass/istio';
import type { Call, HttpCall } from './call.ts';
import { type Caller, callOf } from './caller.ts';
import { type Endpoint, findEndpoints } from './target.ts';
import { combineVerdicts, type Evaluation, evaluate, type Verdict } from './verdict.ts';

export interface Answer extends Evaluation {
  readonly endpoint: Endpoint;
  /** On a port that declares no protocol the client chooses between rules for HTTP and for TCP. */
  readonly chosenByClient: boolean;
}

export interface CanI {
  /** `some`: workloads behind the name, or what the client announces, differ. `unknown`: of one of them nothing can be said. */
  readonly allowed: Verdict | 'some';
  readonly answers: readonly Answer[];
}

/**
 * @param target `orders.shop:80`, or `shop/orders:8080`
 * @param http absent: bytes that are no HTTP
 * @throws MeshpassError `usage` for a target that is not there
 * @example
 * ```ts
 * import { canI, parseCaller } from '@meshpass/analysis/evaluate';
 * import { loadManifests, viewMesh } from '@meshpass/istio';
 * const orders = `{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop},
 *   spec: {selector: {app: orders}, ports: [{port: 80, name: http}]}}`;
 * const policy = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: orders, namespace: shop},
 *   spec: {rules: [{from: [{source: {namespaces: [web]}}]}]}}`;
 * const view = viewMesh(loadManifests(`${orders}\n---\n${policy}`, 'shop.yaml').resources);
 * const get = { method: 'GET', path: '/orders' };
 * canI(view, parseCaller('web/shop', 'cluster.local'), 'orders.shop:80', get).allowed; // => 'yes'
 * canI(view, parseCaller('dev/shell', 'cluster.local'), 'orders.shop:80', get).allowed; // => 'no'
 * ```
 */
export function canI(
  view: MeshView,
  caller: Caller,
  target: string,
  http: (Omit<HttpCall, 'authority'> & { readonly authority?: string }) | undefined,
  more: Partial<Call> = {},
): CanI {
  const answers = findEndpoints(view, target).flatMap((endpoint) => {
    const full = http && { ...http, authority: http.authority ?? endpoint.authority };
    const call = callOf(endpoint, caller, full, more);
    const chosenByClient =
      call.principal !== undefined && endpoint.authorizer.protocolOf(endpoint.port) === 'undeclared';
    const ways: readonly Call[] = chosenByClient && full ? [call, { ...call, announces: 'tcp' }] : [call];
    return ways.map((one) => ({ endpoint, ...evaluate(endpoint, one), chosenByClient }));
  });
  return { allowed: combineVerdicts(answers.map(({ verdict }) => verdict)), answers };
}
