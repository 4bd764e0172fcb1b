/** Answers whether an identity can make a call, citing the file and line of the rule that decides. */

import type { MeshView } from '@meshpass/istio';
import type { Call, HttpRequest } from './call.ts';
import { type Caller, callOf } from './caller.ts';
import { type Endpoint, findEndpoints } from './target.ts';
import { combineVerdicts, type Evaluation, evaluate, type Verdict } from './verdict.ts';

export interface Answer extends Evaluation {
  readonly endpoint: Endpoint;
  /**
   * Whether the port's protocol is undeclared. If it is, the client chooses whether the rules for HTTP or those for TCP
   * apply.
   */
  readonly chosenByClient: boolean;
}

export interface CanI {
  /**
   * `some` if the result depends on which workload receives the call or which protocol is announced. `unknown` if any
   * of the individual results is unknown.
   */
  readonly allowed: Verdict | 'some';
  readonly answers: readonly Answer[];
}

/**
 * Evaluates a call to each of the workloads behind a target.
 * @param target the target, such as `orders.shop:80` for a Service or `shop/orders:8080` for a workload
 * @param http the HTTP request, or undefined for a connection that does not use HTTP
 * @throws MeshpassError `usage` if the target does not exist
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
  http: HttpRequest | undefined,
  more: Partial<Call> = {},
): CanI {
  const answers = findEndpoints(view, target).flatMap((endpoint) => {
    const call = callOf(endpoint, caller, http, more);
    const chosenByClient =
      call.principal !== undefined && endpoint.authorizer.protocolOf(endpoint.port) === 'undeclared';
    const ways: readonly Call[] = chosenByClient && http ? [call, { ...call, announces: 'tcp' }] : [call];
    return ways.map((one) => ({ endpoint, ...evaluate(endpoint, one), chosenByClient }));
  });
  return { allowed: combineVerdicts(answers.map(({ verdict }) => verdict)), answers };
}
